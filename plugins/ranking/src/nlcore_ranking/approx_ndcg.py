"""ApproxNDCG: NDCG with positions as sums of sigmoids."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._gains import discounts, ideal, scaled_gains, shortfall
from nlcore_ranking._lists import Lists
from nlcore_ranking.config import ApproxNDCGConfig, Gain

__all__ = ["ApproxNDCG"]


@final
class ApproxNDCG(ListLoss, id="ranking/approx_ndcg-v1", config=ApproxNDCGConfig, traits=SMOOTH):
    r"""One minus NDCG with smooth positions.

    With scores $s$, relevance $r$, the logistic sigmoid $\sigma$ and steepness $\alpha$,

    $$
    \ell(s, r) = 1 - \frac{1}{\text{ideal}} \sum_i \frac{G_i}{\log_2 (1 + \pi_i)}, \qquad
    \pi_i = 1 + \sum_{j \ne i} \sigma(\alpha (s_j - s_i)),
    $$

    where $\pi_i$ is the smooth position of item $i$, and $G_i$ the gain of its relevance $r_i$. The sum is the
    discounted cumulative gain (DCG) of the list, and "ideal" the DCG of the best order. Their ratio is the normalised
    DCG, NDCG.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0.
        - mask: `[batch, n]` bool, True at padded items.
        - value: between 0 and 1. A list without relevant items has loss 0 and gradient 0, as has a list of one item.

    Cost:
        Time and memory O(n²) per list. The Hessian is computed by automatic differentiation.

    When it fails:
        If α times the gaps between scores is large, the sigmoids saturate, and the gradient vanishes even for a list in
        the wrong order. This happens when scores grow during training; lower α then. The loss is smooth but not convex,
        so its Hessian may be indefinite.

    Args:
        alpha: Steepness α > 0, in inverse units of the scores.
        gain: `"exponential"`, 2^r − 1, or `"linear"`, r.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Qin, Liu, Li: [A General Approximation Framework for Direct Optimization of Information Retrieval
        Measures](https://doi.org/10.1007/s10791-009-9124-x), Information Retrieval 13, 2010.

    Example:
        >>> import torch
        >>> ApproxNDCG(alpha=100.0)(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))  # 1 − 1/log₂(3)
        tensor([0.3691])
    """

    alpha: float = 10.0
    gain: Gain = "exponential"

    def _loss(self, lists: Lists) -> Tensor:
        n = lists.scores.shape[1]
        others = lists.valid.unsqueeze(1) & ~torch.eye(n, dtype=torch.bool, device=lists.scores.device)
        ahead = (self.alpha * (lists.scores.unsqueeze(1) - lists.scores.unsqueeze(2))).sigmoid()
        before = torch.where(others, ahead, 0.0).sum(dim=2)
        gains = scaled_gains(lists.relevance, self.gain)
        dcg = (gains * math.log(2) / (before + 1).log1p()).sum(dim=1)
        return shortfall(dcg, ideal(gains, discounts(n, None, gains)))

    def _slope(self) -> float:
        return self.alpha
