"""The exact solver in torch alone: Bellman–Ford on many maps at once, batch last, on any device.

The least distance of a cell's neighbourhood is the least of three rows of the least of three columns, so a sweep over
all maps of a chunk is four minima and one sum on contiguous memory. The source is held fixed and sends its distance out
anew in every sweep; after k sweeps a cell knows the best way of at most k steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import NumericalError
from nlcore_shortest_paths._grid import Grid

__all__ = ["solve", "trace"]

_CHUNK = 1 << 16
"""Cells in a chunk: its arrays stay in the cache of one core."""


def solve(costs: Tensor, grid: Grid) -> Tensor:
    """Return the 0/1 masks of the shortest paths.

    Args:
        costs: [N, H, W], positive, float32 or float64.
        grid: The graph.

    Returns:
        [N, H, W], dtype and device of `costs`.
    """
    size = max(1, _CHUNK // (grid.height * grid.width))
    if costs.shape[0] <= size:
        return trace(distances(costs, grid), grid)
    return torch.cat([trace(distances(piece, grid), grid) for piece in torch.split(costs, size)])


def distances(costs: Tensor, grid: Grid) -> Tensor:
    """Return the distance of every cell from the source, both ends counted, in a frame of infinity.

    Returns:
        [H + 2, W + 2, N].
    """
    c = costs.permute(1, 2, 0).contiguous()
    height, width, batch = c.shape
    d = c.new_full((height + 2, width + 2, batch), torch.inf)
    inner = d[1:-1, 1:-1]
    row, column = grid.source
    inner[row, column] = c[row, column]
    sweep = _Sweep(d, c, grid)
    reach = max(row, height - 1 - row, column, width - 1 - column)
    for _ in range(reach):
        sweep()
    before = torch.empty_like(inner)
    for _ in range(height * width):  # a shortest path visits no cell twice, so this is never used up
        before.copy_(inner)
        sweep()
        if torch.equal(before, inner):
            break
        sweep()
        sweep()
    return d


class _Sweep:
    """One sweep over a chunk, in place and without an allocation."""

    def __init__(self, d: Tensor, c: Tensor, grid: Grid) -> None:
        self.d, self.c, self.inner = d, c, d[1:-1, 1:-1]
        self.diagonal = grid.neighbours == 8
        self.start = self.inner[grid.source]
        self.held = c[grid.source]
        self.low = torch.empty_like(c)
        self.rows = c.new_empty(d.shape[0], *c.shape[1:]) if self.diagonal else self.low

    def __call__(self) -> None:
        d, low, rows = self.d, self.low, self.rows
        if self.diagonal:
            torch.minimum(d[:, :-2], d[:, 2:], out=rows)
            torch.minimum(rows, d[:, 1:-1], out=rows)
            torch.minimum(rows[:-2], rows[2:], out=low)
            torch.minimum(low, rows[1:-1], out=low)
        else:
            torch.minimum(d[:-2, 1:-1], d[2:, 1:-1], out=low)
            torch.minimum(low, d[1:-1, :-2], out=low)
            torch.minimum(low, d[1:-1, 2:], out=low)
        torch.add(low, self.c, out=self.inner)
        self.start.copy_(self.held)


def trace(d: Tensor, grid: Grid) -> Tensor:
    """Return the masks of the paths that lead back from the goal, always to the nearest neighbour of least distance.

    Args:
        d: [H + 2, W + 2, N], as `distances` returns it.
        grid: The graph.

    Raises:
        NumericalError: A way back does not arrive: the costs differ by more than the precision resolves.
    """
    wide, batch = grid.width + 2, d.shape[2]
    flat = d.reshape(-1, batch)
    steps = torch.tensor([i * wide + j for i, j in grid.directions], device=d.device)
    source, goal = ((row + 1) * wide + column + 1 for row, column in (grid.source, grid.goal))
    place = torch.full((batch,), goal, device=d.device)
    visited = [place]
    least = max(abs(a - b) for a, b in zip(grid.source, grid.goal, strict=True))
    for count in range(1, grid.height * grid.width + 1):
        if count > least and bool((place == source).all()):
            break
        around = flat.gather(0, place + steps[:, None])
        place = torch.where(place == source, place, place + steps[around.argmin(0)])
        visited.append(place)
    lost = (place != source).nonzero()[:, 0].tolist()
    if lost:
        raise NumericalError(
            f"shortest_path: the costs of map {lost[0]} differ by more than {d.dtype} resolves, so that a step no "
            "longer changes the sum. Use costs.double(), or limit their range."
        )
    mask = torch.zeros_like(flat).scatter_(0, torch.stack(visited), 1.0)
    return mask.reshape(d.shape)[1:-1, 1:-1].permute(2, 0, 1).contiguous()
