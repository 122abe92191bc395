"""The exact solver compiled by numba, for maps on the CPU: sweeps over small maps, Dijkstra's heap for large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlcore.errors import NumericalError
from nlcore_shortest_paths._grid import Grid

__all__ = ["solve"]

_LARGE = 48 * 48
"""Cells from which on a heap costs less than sweeps."""

_F = TypeVar("_F", bound=Callable[..., Any])
_Array = NDArray[Any]


def _compiled(function: _F) -> _F:
    # Not parallel: threads of its own would fight with those of torch and of data loaders.
    return cast(_F, numba.njit(cache=True, nogil=True)(function))


def _inlined(function: _F) -> _F:
    return cast(_F, numba.njit(inline="always")(function))


def solve(costs: Tensor, grid: Grid) -> Tensor:
    """Return the 0/1 masks of the shortest paths.

    Args:
        costs: [N, H, W] on the CPU, positive, float32 or float64.
        grid: The graph.

    Raises:
        NumericalError: The costs of a map differ by more than the precision resolves.
    """
    values = costs.detach().contiguous().numpy()
    masks = np.zeros_like(values)
    steps = np.array(grid.directions, dtype=np.int64)
    wide = grid.width + 2
    ends = [(row + 1) * wide + column + 1 for row, column in (grid.source, grid.goal)]
    lost = _solve_all(values, masks, steps, ends[0], ends[1], grid.height * grid.width >= _LARGE)
    if lost >= 0:
        raise NumericalError(
            f"shortest_path: the costs of map {lost} differ by more than {costs.dtype} resolves, so that a step no "
            "longer changes the sum. Use costs.double(), or limit their range."
        )
    return torch.from_numpy(masks)


@_compiled
def _solve_all(  # noqa: PLR0917 - compiled functions take positional arguments
    costs: _Array, masks: _Array, steps: _Array, source: int, goal: int, large: bool
) -> int:
    """Solve map by map; return the first whose way back does not arrive, or −1."""
    count, height, width = costs.shape
    wide = width + 2
    offsets = steps[:, 0] * wide + steps[:, 1]
    c = np.zeros((height + 2) * wide, dtype=costs.dtype)
    d = np.empty_like(c)
    heap = np.empty(len(offsets) * height * width + 1 if large else 1, dtype=np.int64)
    keys = np.empty(len(heap), dtype=costs.dtype)
    for n in range(count):
        for i in range(height):
            for j in range(width):
                c[(i + 1) * wide + j + 1] = costs[n, i, j]
        d[:] = np.inf
        d[source] = c[source]
        if large:
            _dijkstra(c, d, offsets, source, goal, heap, keys)
        else:
            _sweeps(c, d, len(offsets) == 8, height, width)
        place = goal
        masks[n, place // wide - 1, place % wide - 1] = 1
        left = height * width
        while place != source and left > 0:
            best = place + offsets[0]
            for k in range(1, len(offsets)):
                if d[place + offsets[k]] < d[best]:
                    best = place + offsets[k]
            place = best
            masks[n, place // wide - 1, place % wide - 1] = 1
            left -= 1
        if place != source:
            return n
    return -1


@_compiled
def _sweeps(c: _Array, d: _Array, diagonal: bool, height: int, width: int) -> None:
    """Relax all cells forwards and backwards until nothing changes."""
    wide = width + 2
    changed = True
    while changed:
        changed = False
        for row in range(1, height + 1):
            for v in range(row * wide + 1, row * wide + width + 1):
                changed |= _relax(c, d, v, wide, diagonal)
        if not changed:
            break
        changed = False
        for row in range(height, 0, -1):
            for v in range(row * wide + width, row * wide, -1):
                changed |= _relax(c, d, v, wide, diagonal)


@_inlined
def _relax(c: _Array, d: _Array, v: int, wide: int, diagonal: bool) -> bool:
    """Let a cell know its neighbours' distances; return whether it came closer."""
    up, down = v - wide, v + wide
    low = min(d[v - 1], d[v + 1], d[up], d[down])
    if diagonal:
        low = min(low, d[up - 1], d[up + 1], d[down - 1], d[down + 1])
    reached = low + c[v]
    if reached < d[v]:
        d[v] = reached
        return True
    return False


@_compiled
def _dijkstra(  # noqa: PLR0917 - compiled functions take positional arguments
    c: _Array, d: _Array, offsets: _Array, source: int, goal: int, heap: _Array, keys: _Array
) -> None:
    """Settle cells in the order of their distance, up to all that are no farther than the goal.

    The frame around the map has cost 0, by which it is told from cells.
    """
    heap[0], keys[0], size = source, d[source], 1
    while size > 0:
        v, key = heap[0], keys[0]
        size -= 1
        if size > 0:
            _sink(heap, keys, heap[size], keys[size], size)
        if key > d[v]:
            continue
        if key > d[goal]:
            return
        for k in range(len(offsets)):
            u = v + offsets[k]
            reached = key + c[u]
            if c[u] > 0 and reached < d[u]:
                d[u] = reached
                place = size
                size += 1
                while place > 0 and keys[(place - 1) // 2] > reached:
                    heap[place], keys[place] = heap[(place - 1) // 2], keys[(place - 1) // 2]
                    place = (place - 1) // 2
                heap[place], keys[place] = u, reached


@_compiled
def _sink(heap: _Array, keys: _Array, item: int, key: float, size: int) -> None:
    """Put an item at the root of a heap of `size` and let it sink to its place."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        heap[place], keys[place] = heap[child], keys[child]
        place = child
    heap[place], keys[place] = item, key
