"""Monotone paths through a grid with costs on its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.errors import ConfigError
from nlcore.evaluation import full_precision
from nlcore_decisions.solvers.base import Solver
from nlcore_decisions.solvers.dag_path import DagPath

__all__ = ["GridEdges"]

_MANY = 1000
"""Number of paths up to which all of them are listed: 924 on 7×7."""


@dataclass(frozen=True)
class GridEdges(Solver):
    r"""The shortest path from the top-left to the bottom-right node of a grid, which moves right and down only.

    Costs of any sign are on the edges, row by row: for each row its width − 1 horizontal edges from left to right, then
    the width vertical ones to the next row. That is the order of PyEPO's `shortestPathModel((height, width))`. Of
    several shortest paths the one is returned that, walked back from the goal, moves up wherever it can.

    Cost:
        O(height · width) per instance, by dynamic programming. Without numba, or with costs on a GPU, a grid with
        up to 1 000 paths (70 on 5×5) is solved by one matrix product with the listed paths, which sums in the dtype of
        the costs; a larger one by anti-diagonals.

    Args:
        height: Rows of nodes.
        width: Columns of nodes.

    Raises:
        ConfigError: The numbers are not whole numbers ≥ 1, or both are 1.

    Example:
        >>> import torch
        >>> grid = GridEdges(2, 2)  # its edges lead right at the top, down left, down right, right at the bottom
        >>> grid(torch.tensor([[1.0, 2.0, 1.0, 2.0], [3.0, -2.0, 1.0, 5.0]]))
        tensor([[1., 0., 1., 0.],
                [0., 1., 0., 1.]])
    """

    binary: ClassVar[bool] = True

    height: int
    width: int

    def __post_init__(self) -> None:
        for name, size in (("height", self.height), ("width", self.width)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ConfigError(f"GridEdges: {name} was given {size!r}; a whole number ≥ 1 is needed.")
        if self.height == self.width == 1:
            raise ConfigError("GridEdges: a grid of 1×1 has no edges; at least two nodes are needed.")

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for each edge: height · (width − 1) + (height − 1) · width."""
        return (self.height * (self.width - 1) + (self.height - 1) * self.width,)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges as pairs of nodes, which are numbered row by row."""
        return tuple(self._edges())

    @cached_property
    def _path(self) -> DagPath:
        return DagPath(self.edges, source=0, goal=self.height * self.width - 1)

    @cached_property
    def _listed(self) -> Tensor:
        """All paths, [P, E], in the order of preference."""
        number = {edge: index for index, edge in enumerate(self.edges)}
        paths = torch.zeros(comb(self.height + self.width - 2, self.height - 1), *self.shape)
        for path, walk in zip(paths, self._walks(self.height * self.width - 1), strict=True):
            path[[number[edge] for edge in walk]] = 1
        return paths

    @cached_property
    def _copies(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        """The listed paths by dtype and device."""
        return {}

    def _edges(self) -> Iterator[tuple[int, int]]:
        for row in range(self.height):
            nodes = range(row * self.width, (row + 1) * self.width)
            yield from ((node, node + 1) for node in nodes[:-1])
            if row < self.height - 1:
                yield from ((node, node + self.width) for node in nodes)

    def _walks(self, node: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the paths to a node, those that enter it from above first."""
        if node == 0:
            yield []
        if node >= self.width:
            yield from ([*walk, (node - self.width, node)] for walk in self._walks(node - self.width))
        if node % self.width:
            yield from ([*walk, (node - 1, node)] for walk in self._walks(node - 1))

    def _solve(self, costs: Tensor) -> Tensor:
        compiled = costs.device.type == "cpu" and has_numba()
        if compiled or comb(self.height + self.width - 2, self.height - 1) > _MANY:
            return self._path._solve(costs)
        where = costs.dtype, costs.device
        paths = self._copies.get(where)
        if paths is None:
            paths = self._copies[where] = self._listed.to(costs)
        with full_precision(costs.device):
            best = (costs @ paths.mT).argmin(1)
        return paths.index_select(0, best)

    def _feasible(self, solutions: Tensor) -> Tensor:
        return self._path._feasible(solutions)

    def _dearer(self, solution: Tensor) -> Tensor:
        return solution  # no path contains another
