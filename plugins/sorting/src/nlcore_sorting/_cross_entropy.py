"""Cross-entropies between a relaxed and a true permutation matrix, from logarithms alone."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting._lists import log_of_zero

__all__ = ["LEAST", "entry_cross_entropy", "log_complement", "row_cross_entropy"]

LEAST = 1e-280
"""A probability below this has lost digits: paths through a network that float64 rounds to 0 contribute nothing."""


def row_cross_entropy(log_permutation: Tensor, ranks: Tensor, length: Tensor | None = None) -> Tensor:
    """Return −(1/n) Σ_j log P[ranks_j, j], the cross-entropy of the rows.

    Args:
        log_permutation: [..., n, n], log P.
        ranks: [..., n], int64; the rank of every item.
        length: [..., 1], the number n of real items, where others are padding with an exact log P; `None` for all.

    Returns:
        [...].
    """
    logs = log_permutation.gather(-2, ranks.unsqueeze(-2)).squeeze(-2)
    return -logs.mean(dim=-1) if length is None else -logs.sum(dim=-1) / length.squeeze(-1).clamp(min=1)


def entry_cross_entropy(log_permutation: Tensor, ranks: Tensor, length: Tensor | None = None) -> Tensor:
    """Return the binary cross-entropy of the entries, averaged over n².

    Args:
        log_permutation: [..., n, n], log P, the rows of P adding up to 1.
        ranks: [..., n], int64; the rank of every item.
        length: [..., 1], the number n of real items, where others are padding with an exact log P; `None` for all.

    Returns:
        [...].
    """
    places = torch.arange(ranks.shape[-1], device=ranks.device)
    true = ranks.unsqueeze(-2) == places.unsqueeze(-1)
    logs = torch.where(true, log_permutation, log_complement(log_permutation))
    if length is None:
        return -logs.mean(dim=-1).mean(dim=-1)
    return -logs.sum(dim=-1).sum(dim=-1) / length.squeeze(-1).clamp(min=1) ** 2


def log_complement(log_rows: Tensor) -> Tensor:
    """Return log(1 − P) for rows P that add up to 1, to full relative precision.

    An entry other than the largest of its row is at most ½, where log1p(−P) is exact. For the largest the
    complement is the sum of the other entries; subtracting it from 1 would round to 0 where the row is sharp.

    Args:
        log_rows: [..., n], log P.

    Returns:
        [..., n]; a huge negative number in place of −∞ when n = 1.
    """
    largest = torch.zeros_like(log_rows, dtype=torch.bool).scatter(-1, log_rows.argmax(dim=-1, keepdim=True), True)
    others = log_rows.masked_fill(largest, log_of_zero(log_rows.dtype))
    return torch.where(largest, others.logsumexp(dim=-1, keepdim=True), torch.log1p(-others.exp()))
