"""Exact ranking metrics of scores against relevance; no gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.inputs import working
from nlcore_ranking._gains import discounts, ideal, scaled_gains
from nlcore_ranking._lists import Lists
from nlcore_ranking.config import Gain

__all__ = ["ndcg", "pair_accuracy"]


@torch.no_grad()
def ndcg(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: int | None = None,
    mask: Tensor | None = None,
    gain: Gain = "exponential",
    empty: float = 0.0,
) -> Tensor:
    """Return the normalised discounted cumulative gain of each list.

    Equal scores share the mean discount of their positions: the value is the mean over all orders of them, so that
    a constant model gains nothing from the order of the file.

    Args:
        scores: [batch, n].
        relevance: [batch, n], ≥ 0.
        k: Positions that count, from the first; `None` for all.
        mask: [batch, n] bool, True at padded items.
        gain: `"exponential"` for 2^r − 1, `"linear"` for r.
        empty: The value of a list without relevant items, or without items.

    Returns:
        [batch], from 0 to 1, the dtype of the scores.

    Raises:
        ConfigError: `k` or `gain` is out of range.
        ContractError: Shapes, dtypes, devices or values do not fit.
        NonFiniteError: A score or grade is NaN or infinite.

    References:
        Järvelin, Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques, 2002; McSherry, Najork: Computing
        Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores, 2008.

    Example:
        >>> import torch
        >>> ndcg(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0]]), k=2)  # 1/log₂(3)
        tensor([0.6309])
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ConfigError(f"ndcg: k={k!r}; give a whole number of positions from 1 on, or None for all.")
    if gain not in ("exponential", "linear"):
        raise ConfigError(f"ndcg: gain={gain!r}; choose 'exponential' or 'linear'.")
    lists = _read("ndcg", scores, relevance, mask)
    gains = scaled_gains(lists.relevance, gain)
    worth = discounts(gains.shape[1], k, gains)
    ordered, order = lists.lowered.sort(dim=1, descending=True, stable=True)
    dcg = (gains.gather(1, order) * _shared(ordered, worth)).sum(dim=1)
    best = ideal(gains, worth)
    return torch.where(best > 0, dcg / best.clamp_min(1.0), empty).to(scores.dtype)


@torch.no_grad()
def pair_accuracy(scores: Tensor, relevance: Tensor, *, mask: Tensor | None = None, empty: float = torch.nan) -> Tensor:
    """Return the share of pairs with different relevance that the scores put in the right order.

    A pair of equal scores counts one half. For two grades this is the area under the ROC curve.

    Args:
        scores: [batch, n].
        relevance: [batch, n], ≥ 0.
        mask: [batch, n] bool, True at padded items.
        empty: The value of a list without such pairs.

    Returns:
        [batch], from 0 to 1, the dtype of the scores.

    Raises:
        ContractError: Shapes, dtypes, devices or values do not fit.
        NonFiniteError: A score or grade is NaN or infinite.

    Example:
        >>> import torch
        >>> pair_accuracy(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]]))
        tensor([0.6667])
    """
    lists = _read("pair_accuracy", scores, relevance, mask)
    pairs = lists.preferred()
    mine, theirs = lists.scores.unsqueeze(2), lists.scores.unsqueeze(1)
    right = ((mine > theirs).to(lists.scores.dtype) + (mine >= theirs).to(lists.scores.dtype)) / 2
    count = pairs.sum(dim=(1, 2))
    share = torch.where(pairs, right, 0.0).sum(dim=(1, 2)) / count.clamp_min(1)
    return torch.where(count > 0, share, empty).to(scores.dtype)


def _read(name: str, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Lists:
    Lists.check(name, scores, relevance, mask)
    return Lists.of(name, scores, relevance, mask, limit=torch.finfo(working(scores).dtype).max / 4)


def _shared(ordered: Tensor, worth: Tensor) -> Tensor:
    """Return the discount of every position, averaged over the positions of equal scores.

    Args:
        ordered: [batch, n], scores, largest first.
        worth: [n], the discounts.

    Returns:
        [batch, n].
    """
    fresh = torch.ones_like(ordered, dtype=torch.int64)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = fresh.cumsum(dim=1) - 1
    total = torch.zeros_like(ordered).scatter_add(1, group, worth.expand_as(ordered))
    count = torch.zeros_like(ordered).scatter_add(1, group, torch.ones_like(ordered))
    return (total / count.clamp_min(1)).gather(1, group)
