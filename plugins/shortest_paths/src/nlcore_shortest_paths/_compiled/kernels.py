"""Kernels on maps in a frame of one cell, flat in memory: sweeps over many maps at once, and Dijkstra with a heap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel
from nlcore_decisions._compiled.heaps import pop, push
from nlcore_shortest_paths._compiled.lanes import LANES, relax

__all__ = ["solve_by_heap", "solve_by_sweeps"]

_Array = NDArray[Any]


@kernel()
def solve_by_sweeps(costs: _Array, masks: _Array, offsets: _Array, source: int, goal: int) -> int:
    """Solve `LANES` maps at a time; return the index of the first whose path does not reach the source, or −1."""
    count, height, width = costs.shape
    c = np.zeros((height + 2) * (width + 2) * LANES, dtype=costs.dtype)
    d = np.empty_like(c)
    for first in range(0, count, LANES):
        for lane in range(LANES):
            _frame(costs[min(first + lane, count - 1)], c, LANES, lane)  # spare lanes repeat the last map
        d[:] = np.inf
        for k in range(source * LANES, (source + 1) * LANES):
            d[k] = c[k]
        _sweeps(c, d, len(offsets) == 8, height, width)
        for lane in range(min(LANES, count - first)):
            if not _trace(d, masks[first + lane], offsets, source, goal, LANES, lane):
                return first + lane
    return -1


@kernel()
def solve_by_heap(costs: _Array, masks: _Array, offsets: _Array, source: int, goal: int) -> int:
    """Solve one map after the other; return the index of the first whose path does not reach the source, or −1."""
    count, height, width = costs.shape
    c = np.zeros((height + 2) * (width + 2), dtype=costs.dtype)
    d = np.empty_like(c)
    heap = np.empty(len(offsets) * height * width + 1, dtype=np.int64)
    keys = np.empty(len(heap), dtype=costs.dtype)
    for n in range(count):
        _frame(costs[n], c, 1, 0)
        d[:] = np.inf
        d[source] = c[source]
        _dijkstra(c, d, offsets, source, goal, heap, keys)
        if not _trace(d, masks[n], offsets, source, goal, 1, 0):
            return n
    return -1


@kernel()
def _frame(costs: _Array, c: _Array, lanes: int, lane: int) -> None:
    """Write a map into its lane, in a frame of one cell."""
    height, width = costs.shape
    for i in range(height):
        start = ((i + 1) * (width + 2) + 1) * lanes + lane
        for j in range(width):
            c[start + j * lanes] = costs[i, j]


@kernel()
def _sweeps(c: _Array, d: _Array, diagonal: bool, height: int, width: int) -> None:
    """Sweep the rows downwards and upwards, each in both directions, until nothing changes."""
    row = (width + 2) * LANES
    closer, rounds = 1, 0
    while closer != 0 or rounds < 2:
        closer = 0
        step = row if rounds % 2 == 0 else -row
        start = row if rounds % 2 == 0 else height * row
        for _ in range(height):
            for v in range(start + LANES, start + row - LANES, LANES):
                behind, left = v - step, v - LANES
                if diagonal:
                    closer |= relax(d, c, v, behind - LANES, behind, behind + LANES, left)
                else:
                    closer |= relax(d, c, v, behind, behind, left, left)
            for v in range(start + row - 3 * LANES, start, -LANES):
                right = v + LANES
                closer |= relax(d, c, v, right, right, right, right)
            start += step
        rounds += 1


@kernel()
def _trace(d: _Array, mask: _Array, offsets: _Array, source: int, goal: int, lanes: int, lane: int) -> bool:
    """Trace the path back from the goal, always to the nearest neighbour; return whether it reaches the source."""
    height, width = mask.shape
    if d[goal * lanes + lane] == np.inf:
        return False
    place = goal
    for _ in range(height * width):
        mask[place // (width + 2) - 1, place % (width + 2) - 1] = 1
        if place == source:
            return True
        best = place + offsets[0]
        for k in range(1, len(offsets)):
            other = place + offsets[k]
            if d[other * lanes + lane] < d[best * lanes + lane]:
                best = other
        place = best
    return False


@kernel()
def _dijkstra(c: _Array, d: _Array, offsets: _Array, source: int, goal: int, heap: _Array, keys: _Array) -> None:
    """Settle cells in the order of their distance, up to that of the goal; a cost of 0 marks the frame."""
    size = push(heap, keys, 0, source, d[source])
    while size > 0:
        v, key = heap[0], keys[0]
        size = pop(heap, keys, size)
        if key > d[v]:
            continue
        if key > d[goal]:
            return
        for k in range(len(offsets)):
            u = v + offsets[k]
            reached = key + c[u]
            if c[u] > 0 and reached < d[u]:
                d[u] = reached
                size = push(heap, keys, size, u, reached)
