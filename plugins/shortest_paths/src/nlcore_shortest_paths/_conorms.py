"""T-conorms: how the trace of a path that is spread over many cells adds up to at most 1 in each."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nlcore_shortest_paths.config import TConorm

__all__ = ["Conorm", "conorm"]


class Conorm(Protocol):
    """A t-conorm ⊥ on [0, 1] with its partial derivatives."""

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        """Return x ⊥ q."""
        ...

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives by x and by q, two new tensors."""
        ...


class _Probabilistic:
    """x + q − xq."""

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return x + q - x * q

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - q, 1 - x


class _Hamacher:
    """(x + q + (p − 2)xq) / (1 + (p − 1)xq); the probabilistic one for p = 1."""

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


class _Yager:
    """min(1, x + q), Yager's family at exponent 1."""

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return 1 - torch.relu(1 - x - q)

    def slopes(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        below = (x + q < 1).to(x.dtype)
        return below, below.clone()


def conorm(name: TConorm, p: float) -> Conorm:
    """Return a t-conorm by its name; `p` is read by Hamacher's alone."""
    if name == "probabilistic":
        return _Probabilistic()
    return _Hamacher(p) if name == "hamacher" else _Yager()
