"""Shortest paths in Python, in AlgoVision and in PyEPO; the libraries are imported on first use."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["algovision_path", "array_heap_path", "heap_path", "pyepo_model"]

_STEPS = [step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0)]
_FAR = 1e12


def heap_path(costs: Any, *, stop: bool = True) -> list[list[float]]:
    """Return the mask of the shortest path of one map by Dijkstra's algorithm with Python's heap.

    Args:
        costs: H rows of W costs: lists, or an array, whose single numbers are slower to read.
        stop: Whether to stop at the goal, or to settle all cells.
    """
    height, width = len(costs), len(costs[0])
    goal = (height - 1, width - 1)
    distance = {(0, 0): costs[0][0]}
    before: dict[tuple[int, int], tuple[int, int]] = {}
    settled = set()
    heap = [(costs[0][0], (0, 0))]
    while heap:
        d, cell = heapq.heappop(heap)
        if cell in settled:
            continue
        if stop and cell == goal:
            break
        settled.add(cell)
        for i, j in _STEPS:
            row, column = cell[0] + i, cell[1] + j
            if 0 <= row < height and 0 <= column < width and (row, column) not in settled:
                reached = d + costs[row][column]
                if reached < distance.get((row, column), _FAR):
                    distance[row, column] = reached
                    before[row, column] = cell
                    heapq.heappush(heap, (reached, (row, column)))
    mask = [[0.0] * width for _ in range(height)]
    cell = goal
    mask[cell[0]][cell[1]] = 1.0
    while cell in before:
        cell = before[cell]
        mask[cell[0]][cell[1]] = 1.0
    return mask


def array_heap_path(costs: Any) -> Any:
    """Return the mask of the shortest path of one map, in the manner of the code of the black-box paper.

    Costs, distances and mask are arrays that are read row first, the neighbours come from a generator, all cells are
    settled, a cell that is in the heap twice is visited twice, and the paths of equal cost are counted.

    Args:
        costs: [H, W], an array.
    """
    distance, ways = np.full_like(costs, _FAR), np.zeros_like(costs)
    distance[0][0], ways[0][0] = costs[0][0], 1
    before: dict[tuple[int, int], tuple[int, int]] = {}
    settled = set()
    heap = [(costs[0][0], (0, 0))]
    while heap:
        _, (i, j) = heapq.heappop(heap)
        for row, column in _around(i, j, *costs.shape):
            if (row, column) not in settled:
                reached = costs[row][column] + distance[i][j]
                if reached < distance[row][column]:
                    distance[row][column] = reached
                    before[row, column] = i, j
                    ways[row, column] = ways[i, j]
                    heapq.heappush(heap, (reached, (row, column)))
                elif reached == distance[row][column]:
                    ways[row, column] += 1
        settled.add((i, j))
    mask = np.zeros_like(costs)
    cell = (costs.shape[0] - 1, costs.shape[1] - 1)
    mask[cell] = 1
    while cell in before:
        cell = before[cell]
        mask[cell] = 1
    return mask


def _around(i: int, j: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    for down, right in _STEPS:
        if 0 <= i + down < height and 0 <= j + right < width:
            yield i + down, j + right


def algovision_path(loop: Literal["for", "while"], rounds: int) -> Callable[[Tensor], Tensor]:
    """Return relaxed Bellman–Ford in AlgoVision's language: Hamacher with p = 5, β = 10."""
    import algovision as av

    def sweep(d: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        height, width = c.shape[1:]
        near = F.unfold(d.unsqueeze(1), kernel_size=3).reshape(len(c), 9, height, width)
        near = torch.cat([near[:, :4], near[:, 5:]], dim=1).movedim(1, 3)
        weights = torch.softmax(-10 * near, dim=3)
        return F.pad((weights * near).sum(3) + c, (1, 1, 1, 1), value=_FAR), weights

    def walk(q: Tensor, w: Tensor) -> Tensor:
        height, width = q.shape[1:]
        flow = F.pad(q.unsqueeze(3) * w, (0, 0, 1, 1, 1, 1))
        parts = [flow[:, 1 - i : 1 - i + height, 1 - j : 1 - j + width, k] for k, (i, j) in enumerate(_STEPS)]
        return torch.stack(parts).sum(0)

    body = (
        av.Let("x", lambda x, q: (x + q + 3 * x * q) / (1 + 4 * x * q)),
        av.Let("q", walk),
    )
    found: Callable[[Tensor], Tensor] = av.Algorithm(
        av.Input("c"),
        av.Var("d", lambda c: torch.full((c.shape[1] + 2, c.shape[2] + 2), _FAR)),
        av.Var("w", lambda c: torch.zeros(c.shape[1], c.shape[2], 8)),
        av.Var("q", lambda c: torch.zeros(c.shape[1], c.shape[2])),
        av.Var("x", lambda c: torch.zeros(c.shape[1], c.shape[2])),
        av.Let("d", [1, 1], 0.0),
        av.Let("q", [-1, -1], 1.0),
        av.For("sweep", rounds, av.Let(["d", "w"], sweep), av.Let("d", [1, 1], 0.0)),
        av.For("round", rounds, *body) if loop == "for" else av.While(av.LEq(lambda x: x[:, 0, 0], 1.0), *body),
        av.Output("x"),
        beta=10.0,
    )
    return found


def pyepo_model(size: int, *, lists: bool) -> Any:
    """Return an optimisation model of PyEPO for square maps, solved by a heap in Python.

    Args:
        size: Height and width of the maps.
        lists: Whether by `heap_path` on lists, up to the goal, or by `array_heap_path`.
    """
    from pyepo.model.opt import optModel

    class GridModel(optModel):  # type: ignore[misc,unused-ignore]
        """Shortest paths between the corners of a map."""

        def _getModel(self) -> tuple[None, list[int]]:  # noqa: N802 - a name of the peer
            return None, list(range(size * size))

        def setObj(self, c: Any) -> None:  # noqa: N802
            self._costs = torch.as_tensor(c).clamp(min=1e-3).reshape(size, size).numpy()

        def solve(self) -> tuple[Any, float]:
            mask = np.array(heap_path(self._costs.tolist())) if lists else array_heap_path(self._costs)
            return mask.ravel(), float((mask * self._costs).sum())

    return GridModel()
