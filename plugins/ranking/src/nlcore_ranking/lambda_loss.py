"""LambdaLoss: pairwise logistic losses weighted by NDCG."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from nlcore_ranking._gains import discounts, ideal, scaled_gains
from nlcore_ranking._lists import Lists, descending_positions
from nlcore_ranking.config import Gain, LambdaLossConfig, Weighting
from nlcore_ranking.ranknet import PairLoss

__all__ = ["LambdaLoss"]


@final
class LambdaLoss(PairLoss, id="ranking/lambda_loss-v1", config=LambdaLossConfig):
    r"""Pairwise logistic losses weighted by NDCG.

    Let $s_i$ be the score and $r_i$ the relevance of item $i$, and $\sigma$ a steepness:

    $$
    \ell(s, r) = \sum_{r_i > r_j} w_{ij} \log_2 \left( 1 + e^{-\sigma (s_i - s_j)} \right).
    $$

    The items are numbered from 1 in descending order of their scores, so that $i$ and $j$ are also their positions.
    Let $G_i$ be the gain of item $i$, divided by the DCG of the best order, and $D(i) = \log_2 (1 + i)$ the discount of
    position $i$. The weight $w_{ij}$ is $|G_i - G_j|$ times

    - `"lambdarank"`: $|1/D(i) - 1/D(j)|$, so that the weight is the change of NDCG when the two items are swapped;
    - `"ndcg2"`: $1/D(|i - j|) - 1/D(|i - j| + 1)$, from the bound NDCG-Loss2 of the LambdaLoss paper;
    - `"ndcg2++"`: the first plus μ times the second.

    With the option `k`, `"lambdarank"` uses the weights of NDCG@k, and `"ndcg2"` only the pairs with an item among the
    first k. Items of equal score are ordered by index. The weights are constant as long as the order of the scores
    does not change. The derivative of the loss with respect to the scores is therefore that of logistic losses with
    constant weights: with `"lambdarank"`, the λ of LambdaRank (Burges, 2010) divided by log 2. The Hessian is supplied,
    and is positive semi-definite wherever it exists.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0.
        - mask: `[batch, n]` bool, True at padded items.
        - value: a weighted sum of logistic losses. A list without relevant items has loss 0 and gradient 0.

    Cost:
        Time and memory O(n²) per list, including the Hessian.

    When it fails:
        The value jumps where the order of the scores changes, so the loss as a whole is neither continuous nor convex.
        To follow training, compare NDCG, not values.

    Args:
        weighting: `"lambdarank"`, `"ndcg2"` or `"ndcg2++"`.
        k: Number of positions that count; `None` for all.
        sigma: σ > 0, in inverse units of the scores.
        mu: μ of `"ndcg2++"`.
        gain: `"exponential"` or `"linear"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Wang, Li, Golbandi, Bendersky, Najork: [The LambdaLoss Framework for Ranking Metric
        Optimization](https://doi.org/10.1145/3269206.3271784), CIKM 2018.
        Burges: From RankNet to LambdaRank to LambdaMART, 2010.

    Example:
        >>> import torch
        >>> loss = LambdaLoss(weighting="lambdarank")
        >>> loss(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0]]))  # 1 − 1/log₂(3), the gain of a swap
        tensor([0.3691])
    """

    weighting: Weighting = "ndcg2++"
    k: int | None = None
    sigma: float = 1.0
    mu: float = 10.0
    gain: Gain = "exponential"

    def _weights(self, lists: Lists) -> Tensor:
        n = lists.scores.shape[1]
        gains = scaled_gains(lists.relevance, self.gain)
        worth = discounts(n, self.k, gains)
        gains = gains / ideal(gains, worth).unsqueeze(1).clamp_min(1.0)
        positions = descending_positions(lists)
        weights = self._position_weights(positions, worth) * (gains.unsqueeze(2) - gains.unsqueeze(1)).abs()
        return torch.where(lists.preferred(), weights / math.log(2), 0.0)

    def _position_weights(self, positions: Tensor, worth: Tensor) -> Tensor:
        """Return the factor of the weights that depends on the positions only, [batch, n, n]."""
        total = torch.zeros((), dtype=worth.dtype, device=worth.device)
        if self.weighting != "ndcg2":
            own = worth[positions]
            total = (own.unsqueeze(2) - own.unsqueeze(1)).abs()
        if self.weighting != "lambdarank":
            full = discounts(len(worth) + 1, None, worth)
            steps = torch.cat([full[:1] * 0, full[:-1] - full[1:]])  # steps[d] of two positions at a distance of d
            bound = steps[(positions.unsqueeze(2) - positions.unsqueeze(1)).abs()]
            if self.k is not None:
                bound = torch.where(torch.minimum(positions.unsqueeze(2), positions.unsqueeze(1)) < self.k, bound, 0.0)
            total = total + (bound if self.weighting == "ndcg2" else self.mu * bound)
        return total

    def _slope(self) -> float:
        return self.sigma * max(1.0, self.mu)
