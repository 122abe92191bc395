"""One minus Spearman's rho between scores and target, by relaxed ranks."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._lists import Lists
from nlcore_ranking._relaxation import ranker
from nlcore_ranking.config import SoftRank, SpearmanConfig

__all__ = ["Spearman"]


@final
class Spearman(ListLoss, id="ranking/spearman-v1", config=SpearmanConfig):
    r"""One minus Spearman's rho by relaxed ranks.

    $$
    \ell(s, r) = \frac{6 \lVert R(s) - R^* \rVert^2}{n (n^2 - 1)}.
    $$

    Here $s$ are the scores of the $n$ items of a list, and $r$ the target. $R(s)$ are the relaxed ranks of the scores,
    and $R^*$ the true ranks, those of the target. Items with equal targets share the mean of their ranks.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, a value for every item, of either sign, of which only the order counts.
        - mask: `[batch, n]` bool, True at padded items.
        - value: without ties and for τ towards 0 it is one minus Spearman's correlation, from 0 to 2. A list of one
          item has loss 0. If all items have the same target, the loss is 0 at equal scores.

    Cost:
        Time and memory O(n²) per list with any relaxation: even where the relaxed ranks take O(n log n), the true ranks
        are found by comparing all pairs. The Hessian is taken by differentiation.

    When it fails:
        All ranks have equal weight, so it is not a loss for the top of a list. Relaxed ranks lie closer together than
        true ones unless τ is small compared with the gaps between the scores. With SoftSort, the gradient is 0 where
        all scores are equal. With `"diffsort"`, the value depends on the order in which the items are given, the more
        so the larger τ is. With FastSoftSort, the gradient is 0 where all gaps are larger than τ; with LapSum,
        it decays exponentially with the gaps. The loss is not convex, so its Hessian may be indefinite. It is twice
        differentiable wherever no two scores are equal, except with `"fast_soft_sort"`: there the ranks are piecewise
        linear, and only first derivatives of the loss are used.

    Args:
        temperature: τ > 0, in units of the scores.
        relaxation: `"neuralsort"`, `"softsort"`, `"diffsort"`, `"fast_soft_sort"` or `"lapsum"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Blondel, Teboul, Berthet, Djolonga: [Fast Differentiable Sorting and Ranking](https://arxiv.org/abs/2002.08871),
        ICML 2020 (the loss, with `"fast_soft_sort"`). Spearman: [The Proof and Measurement of Association between Two
        Things](https://doi.org/10.2307/1412159), 1904 (rho).

    Example:
        >>> import torch
        >>> Spearman(temperature=0.01)(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]]))
        tensor([2.])
    """

    _lowest: ClassVar[float] = -math.inf

    temperature: float = 1.0
    relaxation: SoftRank = "neuralsort"

    @property
    def traits(self) -> Traits:
        """Of order 1 with `"fast_soft_sort"`, whose ranks are piecewise linear, of order 2 otherwise."""
        return _FIRST_ORDER if self.relaxation == "fast_soft_sort" else SMOOTH

    def _loss(self, lists: Lists) -> Tensor:
        n = lists.lengths
        positions = ranker(self.relaxation, self.temperature).rank(lists.scores, mask=lists.mask)
        errors = torch.where(lists.valid, positions - _true_positions(lists), 0.0)
        return 6 * errors.square().sum(dim=1) / (n * (n**2 - 1)).clamp_min(1.0)

    def _slope(self) -> float:
        return 1 / self.temperature


_FIRST_ORDER = Traits(order=1, takes_mask=True)


def _true_positions(lists: Lists) -> Tensor:
    """Return the mean ascending position of every item among those of its grade, [batch, n]; undefined at padding."""
    mine, theirs, real = lists.relevance.unsqueeze(2), lists.relevance.unsqueeze(1), lists.valid.unsqueeze(1)
    lower = ((theirs < mine) & real).sum(dim=2)
    equal = ((theirs == mine) & real).sum(dim=2)
    return lower + (equal - 1).to(lists.scores.dtype) / 2
