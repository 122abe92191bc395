"""The exact solver by scipy's compiled Dijkstra, for large maps where numba is not installed."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from nlcore_shortest_paths._bellman_ford import trace
from nlcore_shortest_paths._grid import Grid

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
    first = shift[:, 0] + grid.source[0] * width + grid.source[1]
    rows = np.concatenate([(starts + shift).ravel(), np.full(count, root)])
    columns = np.concatenate([(ends + shift).ravel(), first])
    weights = np.concatenate([values[:, ends].ravel(), values.ravel()[first]])
    graph = csr_array((weights, (rows, columns)), shape=(root + 1, root + 1))
    found = dijkstra(graph, indices=root)[:root].reshape(count, height, width)
    d = costs.new_full((height + 2, width + 2, count), torch.inf)
    d[1:-1, 1:-1] = torch.from_numpy(found).permute(1, 2, 0)
    return trace(d, grid)


def _edges(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of every directed edge of one map."""
    index = np.arange(grid.height * grid.width).reshape(grid.height, grid.width)
    starts, ends = [], []
    for i, j in grid.directions:
        rows = slice(max(0, -i), grid.height - max(0, i)), slice(max(0, i), grid.height - max(0, -i))
        columns = slice(max(0, -j), grid.width - max(0, j)), slice(max(0, j), grid.width - max(0, -j))
        starts.append(index[rows[0], columns[0]].ravel())
        ends.append(index[rows[1], columns[1]].ravel())
    return np.concatenate(starts), np.concatenate(ends)
