"""Subsets of k elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_decisions.solvers.base import Solver

__all__ = ["TopK"]


@dataclass(frozen=True)
class TopK(Solver):
    r"""The k cheapest of n elements.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in \{0, 1\}^n,\; \sum_i y_i = k} \langle c, y \rangle.
    $$

    Of equal costs the first are taken.

    Shape:
        costs and solutions `[..., n]`, any n ≥ k; 1 on the elements that are taken.

    Cost:
        One stable sort, O(n log n), on any device.

    Args:
        k: Number of elements, at least 1.

    Raises:
        ConfigError: k is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> TopK(2)(torch.tensor([0.5, -1.0, 3.0, 0.1]))
        tensor([0., 1., 0., 1.])
    """

    binary: ClassVar[bool] = True

    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise ConfigError(f"TopK: k was given {self.k!r}; give a whole number of at least 1.")

    def _event(self, what: str, tensor: Tensor, dtype: str) -> tuple[int, ...]:
        shape = super()._event(what, tensor, dtype)
        if shape[0] < self.k:
            raise self._shape_error(
                f"{what} of shape {list(tensor.shape)} have {shape[0]} elements, of which {self.k} cannot be taken. "
                f"Give at least {self.k}, or a smaller k."
            )
        return shape

    def _solve(self, costs: Tensor) -> Tensor:
        cheapest = costs.sort(dim=1, stable=True).indices[:, : self.k]
        return torch.zeros_like(costs).scatter_(1, cheapest, 1)

    def _tied(self, costs: Tensor, found: Tensor) -> Tensor:
        ordered = costs.sort(dim=1).values
        if costs.shape[1] == self.k:
            return torch.zeros(len(costs), dtype=torch.bool, device=costs.device)
        return ordered[:, self.k - 1] == ordered[:, self.k]

    def _feasible(self, solutions: Tensor) -> Tensor:
        binary = ((solutions == 0) | (solutions == 1)).all(1)
        return binary & (solutions.sum(1) == self.k)
