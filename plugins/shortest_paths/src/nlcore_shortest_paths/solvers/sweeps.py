"""Exact shortest paths on grids by sweeps of Bellman–Ford in torch, many maps at once, on any device.

A sweep is d(v) ← min_k d(v + k) + c(v) for every cell v. The minimum over a 3×3 neighbourhood is the minimum over three
rows of the minimum over three columns, so a sweep over all maps of a chunk, batch last, is four minima and one sum on
contiguous memory. A cell's own distance may be among those of its neighbours, since it is never the least, except at
the source, where a cost of 0 keeps it. After k sweeps the distances of all paths of at most k steps are exact, so the
first sweeps are restricted to the cells around the source.

The path is traced back along pointers: the nearest neighbour is computed once for all cells, and a step is then one
look-up for all maps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import NumericalError
from nlcore_shortest_paths.solvers.grid import Grid

__all__ = ["lost", "solve", "trace"]

_CHUNK = 1 << 16
"""Number of cells in a chunk, such that its arrays fit in the cache of one core."""


def solve(costs: Tensor, grid: Grid) -> Tensor:
    """Return the 0/1 masks of the shortest paths.

    Args:
        costs: [N, H, W], positive, float32 or float64.
        grid: The graph.

    Returns:
        [N, H, W], dtype and device of `costs`.

    Raises:
        NumericalError: The costs of a map differ by more than the precision resolves.
    """
    size = max(1, _CHUNK // (grid.height * grid.width))
    masks = torch.empty_like(costs, memory_format=torch.contiguous_format)
    for start in range(0, len(costs), size):
        piece = slice(start, start + size)
        masks[piece] = trace(distances(costs[piece], grid), grid, first=start)
    return masks


def distances(costs: Tensor, grid: Grid) -> Tensor:
    """Return the distance of every cell from the source, including both ends, in a frame of infinity.

    Returns:
        [H + 2, W + 2, N].
    """
    height, width = grid.height, grid.width
    c = costs.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    d = c.new_full((height + 2, width + 2, c.shape[2]), torch.inf)
    row, column = grid.source
    d[row + 1, column + 1] = c[row, column]
    c[row, column] = 0
    reach = max(row, height - 1 - row, column, width - 1 - column)
    near = reach // 2
    around = slice(max(0, row - near), row + near + 1), slice(max(0, column - near), column + near + 1)
    inner = _Sweep(d[around[0].start : around[0].stop + 2, around[1].start : around[1].stop + 2], c[around], grid)
    for _ in range(near):
        inner()
    sweep = _Sweep(d, c, grid)
    for _ in range(reach - near):
        sweep()
    for _ in range(height * width):  # a shortest path visits no cell twice, so this is never used up
        sweep()
        if sweep.idle():
            break
        sweep()
    return d


class _Sweep:
    """One sweep over a chunk, in place and without an allocation."""

    def __init__(self, d: Tensor, c: Tensor, grid: Grid) -> None:
        self.diagonal = grid.neighbours == 8
        self.left, self.middle, self.right = d[:, :-2], d[:, 1:-1], d[:, 2:]
        self.inner, self.c = d[1:-1, 1:-1], c
        self.rows = torch.empty_like(self.middle) if self.diagonal else self.middle
        self.up, self.here, self.down = self.rows[:-2], self.rows[1:-1], self.rows[2:]
        self.low, self.before = torch.empty_like(c), torch.full_like(c, torch.inf)

    def __call__(self) -> None:
        self.low, self.before = self.before, self.low
        low = self.low
        if self.diagonal:
            torch.minimum(self.left, self.right, out=self.rows)
            torch.minimum(self.rows, self.middle, out=self.rows)
        torch.minimum(self.up, self.down, out=low)
        torch.minimum(low, self.here, out=low)
        if not self.diagonal:
            torch.minimum(low, self.left[1:-1], out=low)
            torch.minimum(low, self.right[1:-1], out=low)
        torch.add(low, self.c, out=self.inner)

    def idle(self) -> bool:
        """Return whether the latest sweep changed nothing."""
        return torch.equal(self.low, self.before)


def trace(d: Tensor, grid: Grid, *, first: int = 0) -> Tensor:
    """Return the masks of the paths traced back from the goal, always to the first nearest neighbour.

    Args:
        d: [H + 2, W + 2, N], as `distances` returns it.
        grid: The graph.
        first: Index of the first map, for the message.

    Returns:
        [N, H, W].

    Raises:
        NumericalError: A path does not reach the source: the costs differ by more than the precision resolves.
    """
    height, width, batch = grid.height, grid.width, d.shape[2]
    far = d[grid.goal[0] + 1, grid.goal[1] + 1].isinf()
    if bool(far.any()):
        raise lost(first + int(far.nonzero()[0]), d.dtype)
    before = _pointers(d, grid)
    end, place = (
        torch.arange(batch, dtype=before.dtype, device=d.device).add_((row * width + column) * batch)
        for row, column in (grid.source, grid.goal)
    )
    visited = [place]
    steps = max(1, *(abs(a - b) for a, b in zip(grid.source, grid.goal, strict=True)))
    arrived = torch.equal(place, end)
    while not arrived and len(visited) <= height * width:
        for _ in range(steps):
            place = before.index_select(0, place)
            visited.append(place)
        arrived = torch.equal(place, end)
        steps = 2
    if not arrived:
        raise lost(first + int((place != end).nonzero()[0]), d.dtype)
    mask = d.new_zeros(height * width * batch).index_fill_(0, torch.cat(visited).long(), 1)
    return mask.view(height, width, batch).permute(2, 0, 1)


def lost(number: int, dtype: torch.dtype) -> NumericalError:
    """Return the error for a map whose path does not reach the source."""
    return NumericalError(
        f"shortest_path: the costs of map {number} differ by more than {dtype} resolves, so that a step no "
        "longer changes the sum, or their sum overflows. Use costs.double(), or limit their range."
    )


def _pointers(d: Tensor, grid: Grid) -> Tensor:
    """Return the index of every cell's first nearest neighbour, [H · W · N]; the source points to itself.

    The offsets of the neighbours rise in the order of the tie-break, so the first of the nearest is the minimum of the
    offsets of those, computed without comparisons, which are slow in torch.
    """
    height, width, batch = grid.height, grid.width, d.shape[2]
    views = [d[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in grid.directions]
    nearest = torch.minimum(views[0], views[1])
    for view in views[2:]:
        torch.minimum(nearest, view, out=nearest)
    beyond = width + 2  # makes all offsets negative
    step, gap = torch.zeros_like(nearest), torch.empty_like(nearest)
    for (i, j), view in zip(grid.directions, views, strict=True):
        torch.sub(view, nearest, out=gap)
        torch.threshold_(gap, 0, i * width + j - beyond)
        torch.minimum(step, gap, out=step)
    step[grid.source] = -beyond
    number = torch.int32 if step.numel() < 1 << 31 else torch.int64
    there = step.add_(beyond).to(number).mul_(batch).flatten()
    return there.add_(torch.arange(len(there), dtype=number, device=d.device))
