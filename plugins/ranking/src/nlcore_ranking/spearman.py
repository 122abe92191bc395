"""Spearman's rho between relevance and scores, by relaxed ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._lists import Lists
from nlcore_ranking._relaxation import operator
from nlcore_ranking.config import Relaxation, SpearmanConfig

__all__ = ["Spearman"]


@final
@dataclass(frozen=True, kw_only=True)
class Spearman(ListLoss):
    """One minus Spearman's rho by relaxed ranks: ℓ = 6‖R(s) − R*‖²/(n(n² − 1)).

    prediction: [batch, n], the scores; target: [batch, n], the relevance, of which the order alone counts. R(s) are the
    expected places under a relaxed sort, R* the true ones, equal grades sharing the mean of theirs. Without ties and
    for τ towards 0 the loss is 1 − ρ, from 0 to 2. A list of one item has loss 0; equal grades, all zero among them,
    ask for equal scores, whose loss is 0.

    Differentiable twice wherever no two scores are equal, not convex: the Hessian is taken by differentiation and may
    be indefinite. Time and memory O(n²) a list; a mask costs one call for every length in the batch.

    Where it fails: all places count alike, so this is no loss for the top of a list. Relaxed ranks lie closer together
    than true ones when τ is not small against the gaps, and SoftSort gives gradient 0 where all scores are equal. The
    value of a sorting network depends on the order of the list as far as its swaps are soft.

    Args:
        temperature: τ > 0, in units of the scores.
        relaxation: `"neuralsort"`, `"softsort"` or `"diffsort"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Blondel, Teboul, Berthet, Djolonga: Fast Differentiable Sorting and Ranking, ICML 2020 (the loss, with another
        relaxation).

    Example:
        >>> import torch
        >>> Spearman(temperature=0.01)(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]]))
        tensor([2.])
    """

    temperature: float = 1.0
    relaxation: Relaxation = "neuralsort"

    id: ClassVar[str] = "ranking/spearman-v1"
    _config: ClassVar = SpearmanConfig
    _traits: ClassVar = SMOOTH

    def _loss(self, lists: Lists) -> Tensor:
        return lists.each(self._whole)

    def _whole(self, scores: Tensor, relevance: Tensor) -> Tensor:
        n = scores.shape[1]
        places = operator(self.relaxation, self.temperature).rank(scores)
        lower = (relevance.unsqueeze(1) < relevance.unsqueeze(2)).sum(dim=2)
        equal = (relevance.unsqueeze(1) == relevance.unsqueeze(2)).sum(dim=2)
        true = lower + (equal - 1).to(scores.dtype) / 2
        return 6 * (places - true).square().sum(dim=1) / max(1, n * (n**2 - 1))

    def _slope(self) -> float:
        return 1 / self.temperature
