"""The parts of DCG: gains of items and discounts of positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore_ranking.config import Gain

__all__ = ["discounts", "ideal", "scaled_gains", "shortfall"]


def discounts(n: int, k: int | None, like: Tensor) -> Tensor:
    """Return 1/log₂(2 + i) for the positions i = 0 … n − 1, and 0 from position k on.

    Args:
        n: Number of positions.
        k: Positions that count; `None` for all.
        like: Gives dtype and device.

    Returns:
        [n].
    """
    positions = torch.arange(n, dtype=like.dtype, device=like.device)
    worth = 1 / (positions + 2).log2()
    return worth if k is None else torch.where(positions < k, worth, 0.0)


def scaled_gains(relevance: Tensor, kind: Gain) -> Tensor:
    """Return the gains of items, divided by the largest of their list.

    NDCG does not change with the scale of the gains; scaled ones cannot overflow, however high the grades.

    Args:
        relevance: [..., n], ≥ 0.
        kind: `"exponential"` for 2^r − 1, `"linear"` for r.

    Returns:
        [..., n], from 0 to 1; all 0 for a list without relevant items.
    """
    highest = relevance.amax(dim=-1, keepdim=True)
    if kind == "linear":
        gains = relevance
    else:  # (2^r − 1)/2^max, exact for tiny r too
        gains = -torch.expm1(-math.log(2) * relevance) * torch.exp2(relevance - highest)
    return gains / gains.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(gains.dtype).tiny)


def ideal(gains: Tensor, worth: Tensor) -> Tensor:
    """Return the DCG of the best order, [...].

    Args:
        gains: [..., n].
        worth: [n], the discounts.
    """
    return (gains.sort(dim=-1, descending=True).values * worth).sum(dim=-1)


def shortfall(dcg: Tensor, best: Tensor) -> Tensor:
    """Return 1 − DCG/best, and 0 where no item is relevant.

    Args:
        dcg: [...], of gains that are scaled.
        best: [...], of the ideal order; at least 1 where an item is relevant, else 0.
    """
    return torch.where(best > 0, 1 - dcg / best.clamp_min(1.0), 0.0)
