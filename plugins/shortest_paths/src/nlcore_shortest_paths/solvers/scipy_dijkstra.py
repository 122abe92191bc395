"""Exact shortest paths on grids by scipy's compiled Dijkstra, for large maps where numba is not installed."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from nlcore_shortest_paths.solvers.grid import Grid
from nlcore_shortest_paths.solvers.sweeps import trace

__all__ = ["solve"]


def solve(costs: Tensor, grid: Grid) -> Tensor:
    """Return the 0/1 masks of the shortest paths; all maps are one graph, with one more node that leads to each source.

    Args:
        costs: [N, H, W] on the CPU, positive, float64: scipy sums in float64, and other sums have other ties.
        grid: The graph.
    """
    count, height, width = costs.shape
    values = costs.detach().contiguous().numpy().reshape(count, -1)
    cells = height * width
    starts, ends = _edges(grid)
    shift = cells * np.arange(count)[:, None]
    root = count * cells
    sources = shift[:, 0] + grid.source[0] * width + grid.source[1]
    rows = np.concatenate([(starts + shift).ravel(), np.full(count, root)])
    columns = np.concatenate([(ends + shift).ravel(), sources])
    weights = np.concatenate([values[:, ends].ravel(), values.ravel()[sources]])
    graph = csr_array((weights, (rows, columns)), shape=(root + 1, root + 1))
    distances = dijkstra(graph, indices=root)[:root].reshape(count, height, width)
    d = costs.new_full((height + 2, width + 2, count), torch.inf)
    d[1:-1, 1:-1] = torch.from_numpy(distances).permute(1, 2, 0)
    return trace(d, grid)


def _edges(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of every directed edge of one map."""
    cell = np.arange(grid.height * grid.width)
    row, column = np.divmod(cell, grid.width)
    edges = []
    for i, j in grid.directions:
        inside = (0 <= row + i) & (row + i < grid.height) & (0 <= column + j) & (column + j < grid.width)
        edges.append((cell[inside], cell[inside] + i * grid.width + j))
    starts, ends = zip(*edges, strict=True)
    return np.concatenate(starts), np.concatenate(ends)
