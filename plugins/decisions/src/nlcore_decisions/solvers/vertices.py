"""A small set, listed: one matrix product and an argmin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_decisions.solvers.base import Solver, nested, precise

__all__ = ["Vertices"]


@dataclass(frozen=True)
class Vertices(Solver):
    r"""The cheapest of V listed points.

    $$
    y^*(c) = y_v, \quad v = \operatorname*{arg\,min}_{v} \langle c, y_v \rangle.
    $$

    For sets of up to some thousands of points: the vertices of a polytope, the plans that a solver has found so far.
    Of several points of least cost the first is taken; points that are listed twice count as one.

    Cost:
        Time and memory O(NV + NVm) on any device, as a matrix product, for N problems of m costs.

    Args:
        points: Nested lists of numbers, [V, *event], V ≥ 1.

    Raises:
        ConfigError: The points are ragged, none, or not finite.

    Example:
        >>> import torch
        >>> either = Vertices([[1, 0, 0], [0, 1, 1]])
        >>> either(torch.tensor([[3.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))
        tensor([[0., 1., 1.],
                [1., 0., 0.]])
    """

    points: Sequence[Any]

    def __post_init__(self) -> None:
        try:
            points = torch.as_tensor(nested(self.points), dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Vertices: points are not nested lists of numbers, [V, *event]: {error}.") from error
        if points.ndim < 2 or not points.numel():
            raise ConfigError(f"Vertices: points have shape {list(points.shape)}; [V, *event] with V ≥ 1 is needed.")
        if not bool(points.isfinite().all()):
            wrong = (~points.flatten(1).isfinite().all(1)).nonzero()[:, 0].tolist()
            raise ConfigError(f"Vertices: points {wrong} hold NaN or infinity.")
        self._store(points=nested(points))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a point."""
        return tuple(self._points.shape[1:])

    @cached_property
    def _points(self) -> Tensor:
        return torch.tensor(self.points, dtype=torch.float64)

    @cached_property
    def _same(self) -> Tensor:
        """Index of the first point equal to each, [V]."""
        inverse: Tensor = torch.unique(self._points.flatten(1), dim=0, return_inverse=True)[1]
        return (inverse[:, None] == inverse).int().argmax(1)

    def _solve(self, costs: Tensor) -> Tensor:
        cheapest: Tensor = self._points.to(costs)[self._products(costs).argmin(1)]
        return cheapest

    def _products(self, costs: Tensor) -> Tensor:
        products: Tensor = costs.flatten(1) @ self._points.flatten(1).to(costs).mT
        return products

    def _tied(self, costs: Tensor, found: Tensor) -> Tensor:
        exact = precise(costs)
        products = self._products(exact)
        least = products.amin(1, keepdim=True)
        scale = exact.abs().flatten(1) @ self._points.flatten(1).abs().to(exact).mT
        close = products <= least + self._resolution * torch.where(scale > 0, scale, 1.0)
        first = self._same.to(costs.device) == torch.arange(len(self.points), device=costs.device)
        count: Tensor = (close & first).sum(1)
        return count > 1

    def _feasible(self, solutions: Tensor) -> Tensor:
        points = self._points.flatten(1).to(solutions)
        distance = torch.cdist(solutions.flatten(1), points, p=torch.inf).amin(1)
        return distance <= 1e-5 * points.abs().amax().clamp(min=1)
