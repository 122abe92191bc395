"""T-conorms: sums bounded by 1, of the mass that visits a cell repeatedly."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from nlcore_shortest_paths.config import TConorm

__all__ = ["Conorm", "conorm"]


class _Probabilistic:
    """x + q − xq."""

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return x + q - x * q

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - q, 1 - x


class _Hamacher:
    """(x + q + (p − 2)xq) / (1 + (p − 1)xq) for p ≥ ½, where the denominator is far from 0; probabilistic for p = 1."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        both = x * q
        return (x + q).add_(both, alpha=self.p - 2) / both.mul_(self.p - 1).add_(1)

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        # The numerator of the quotient rule factors into terms of one variable.
        below = (x * q).mul_(self.p - 1).add_(1).square_()
        return self._above(q).div_(below), self._above(x).div_(below)

    def _above(self, x: Tensor) -> Tensor:
        return (x * (self.p - 1)).add_(1).mul_(1 - x)


class _HamacherNearZero:
    """The same for p < ½, exact where numerator and denominator vanish together: as x, q → 1 for p = 0.

    With x' = 1 − x and q' = 1 − q it is 1 − x'q'/(x' + x(q' + pq)), a quotient of sums without a difference. A p below
    the machine epsilon ε is raised to ε. That changes no value by more than ε/4, and slopes only where x' and q' are a
    few ε: at x = q = 1, where the slopes of p = 0 depend on the direction, they are those of p > 0, zero, and second
    derivatives, unbounded near there for p = 0, reach 1/ε.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        rest_x, rest_q, below, _ = self._parts(x, q)
        return 1 - rest_x * rest_q / below

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        rest_x, rest_q, below, p = self._parts(x, q)
        return (
            (rest_q + p * q).div_(below).mul_(rest_q.div(below)),
            (rest_x + p * x).div_(below).mul_(rest_x.div(below)),
        )

    def _parts(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """Return x', q', the denominator and p, raised to ε."""
        rest_x, rest_q, p = (1 - x).clamp(min=0), (1 - q).clamp(min=0), max(self.p, torch.finfo(x.dtype).eps)
        return rest_x, rest_q, rest_x + x * (rest_q + p * q), p


class _Yager:
    """min(1, x + q), Yager's family at exponent 1; its slopes at x + q = 1 are those beyond, zero."""

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return 1 - torch.relu(1 - x - q)

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        below = (1 - x - q > 0).to(x.dtype)
        return below, below.clone()


Conorm: TypeAlias = _Probabilistic | _Hamacher | _HamacherNearZero | _Yager
"""A t-conorm ⊥ on [0, 1]: x ⊥ q by a call, and by `slopes` its derivatives with respect to x and q, two new tensors."""


def conorm(name: TConorm, p: float) -> Conorm:
    """Return a t-conorm by its name; only Hamacher's reads `p`."""
    if name == "probabilistic":
        return _Probabilistic()
    if name == "yager":
        return _Yager()
    return _Hamacher(p) if p >= 0.5 else _HamacherNearZero(p)
