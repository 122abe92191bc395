"""Exact shortest paths on grids, compiled by numba for the CPU: the one way from torch to the kernels.

Maps are swept `LANES` at a time: the sums and minima of that many maps are one instruction each. Few maps are solved
one by one with Dijkstra's heap. Import this package only where numba is installed; see `available_backends`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nlcore_shortest_paths._compiled.kernels import solve_by_heap, solve_by_sweeps
from nlcore_shortest_paths._compiled.lanes import LANES
from nlcore_shortest_paths.solvers.grid import Grid
from nlcore_shortest_paths.solvers.sweeps import lost

__all__ = ["solve"]

_LARGE = 256 * 256
"""Number of cells from which the arrays of a sweep no longer fit in the cache."""


def solve(costs: Tensor, grid: Grid) -> Tensor:
    """Return the 0/1 masks of the shortest paths.

    Args:
        costs: [N, H, W] on the CPU, positive, float32 or float64.
        grid: The graph.

    Raises:
        NumericalError: The costs of a map differ by more than the precision resolves.
    """
    masks = torch.zeros_like(costs, memory_format=torch.contiguous_format)
    wide = grid.width + 2
    offsets = np.array([i * wide + j for i, j in grid.directions], dtype=np.int64)
    source, goal = ((row + 1) * wide + column + 1 for row, column in (grid.source, grid.goal))
    few = LANES // 2 if grid.height * grid.width >= _LARGE else LANES // 4  # a block of sweeps costs as much as these
    kernel = solve_by_heap if len(costs) < few else solve_by_sweeps
    failed = kernel(costs.detach().contiguous().numpy(), masks.numpy(), offsets, source, goal)
    if failed >= 0:
        raise lost(failed, costs.dtype)
    return masks
