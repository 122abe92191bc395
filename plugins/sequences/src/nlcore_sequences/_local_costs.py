"""Local costs: matrices of the distances of all time steps of two series."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["CostFunction", "absolute", "cosine_cost", "log_augmented", "squared_euclidean"]

CostFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes series [batch, n, channels] and [batch, m, channels] and returns costs [batch, n, m]."""

_FEW = 8
"""Channels up to which differences are formed one channel after the other, without cancellation."""


def squared_euclidean(x: Tensor, y: Tensor, weight: Tensor | None = None, other: Tensor | None = None) -> Tensor:
    """Return ‖x_i − y_j‖².

    Args:
        x: [batch, n, channels].
        y: [batch, m, channels].
        weight: [batch, n, channels], 0 for the channels of a time step of x that are left out, else 1.
        other: [batch, m, channels], the same for y.
    """
    if x.shape[-1] > _FEW:
        one, two = _all_ones(x, weight), _all_ones(y, other)
        product = (x * x * one) @ two.mT + one @ (y * y * two).mT - 2 * (x * one) @ (y * two).mT
        return product.clamp(min=0.0)
    total = x.new_zeros(())
    for k in range(x.shape[-1]):
        gaps = (x[..., k, None] - y[..., None, :, k]).square()
        gaps = gaps if weight is None else gaps * weight[..., k, None]
        total = total + (gaps if other is None else gaps * other[..., None, :, k])
    return total


def absolute(x: Tensor, y: Tensor, weight: Tensor | None = None, other: Tensor | None = None) -> Tensor:
    """Return Σ_k |x_ik − y_jk|; arguments are those of `squared_euclidean`."""
    gaps = (x.unsqueeze(-2) - y.unsqueeze(-3)).abs()
    gaps = gaps if weight is None else gaps * weight.unsqueeze(-2)
    return (gaps if other is None else gaps * other.unsqueeze(-3)).sum(-1)


def _all_ones(series: Tensor, weight: Tensor | None) -> Tensor:
    return torch.ones_like(series) if weight is None else weight


def log_augmented(costs: Tensor, gamma: float) -> Tensor:
    """Return c + γ log(2 − exp(−c/γ)) of costs c ≥ 0."""
    return costs + gamma * torch.log1p(-torch.expm1(-costs / gamma))


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 − cos(x_i, y_j), a local cost of series of embeddings: `SoftDTW(cost=cosine_cost, multivariate=True)`.

    Args:
        x: [batch, n, channels].
        y: [batch, m, channels].

    Returns:
        [batch, n, m], between 0 and 2; 1 where a time step is zero in all channels.
    """
    one, other = (torch.nn.functional.normalize(series, dim=-1) for series in (x, y))
    return 1 - one @ other.mT
