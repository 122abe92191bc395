"""Sums over all pairs of items, without the pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting._lists import real_items

__all__ = ["spread"]

_PAIRS_UP_TO = 48
"""Number of items below which all pairs are cheaper than a sort."""


def spread(scores: Tensor, length: Tensor | None = None) -> Tensor:
    """Return Σ_k |s_j − s_k| of every item, the derivative of |·| at 0 being 0.

    Args:
        scores: [..., n]; best without a large offset.
        length: [..., 1], the number of real items, which stand in front; `None` for all.

    Returns:
        [..., n]. Time O(n²) for few items, else O(n log n) with memory O(n).
    """
    n = scores.shape[-1]
    real = None if length is None else real_items(length, n)
    if n <= _PAIRS_UP_TO:
        distances = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
        if real is not None:
            distances = torch.where(real.unsqueeze(-2), distances, 0.0)
        return distances.sum(dim=-1)
    key = scores.detach() if real is None else torch.where(real, scores.detach(), torch.inf)
    order, below, upto = _neighbours(key)
    # Σ_k sign(s_j − s_k)(s_j − s_k), the signs counted and summed from the sorted list.
    counted = scores if real is None else torch.where(real, scores, 0.0)
    sums = torch.nn.functional.pad(counted.gather(-1, order).cumsum(dim=-1), (1, 0))
    total = n if length is None else length
    signs = (below + upto - total).to(scores.dtype)
    return scores * signs - (sums.gather(-1, below) + sums.gather(-1, upto) - sums[..., -1:])


def _neighbours(key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ascending order, and for every item how many are smaller, and how many are not larger."""
    ordered, order = key.sort(dim=-1, stable=True)
    n = key.shape[-1]
    places = torch.arange(n, device=key.device).expand(key.shape)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = torch.where(new, places, 0).cummax(dim=-1).values
    last = torch.where(new.roll(-1, dims=-1), places, n - 1).flip(-1).cummin(dim=-1).values.flip(-1)
    position = order.argsort(dim=-1)
    return order, first.gather(-1, position), last.gather(-1, position) + 1
