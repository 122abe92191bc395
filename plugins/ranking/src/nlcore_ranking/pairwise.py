"""RankNet and LambdaLoss: a logistic loss for every pair of items whose order is known."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from nlcore_ranking._base import CURVED, ListLoss
from nlcore_ranking._gains import discounts, ideal, scaled_gains
from nlcore_ranking._lists import Lists, descending_places, laplacian
from nlcore_ranking.config import Gain, LambdaLossConfig, RankNetConfig, Weighting

__all__ = ["LambdaLoss", "RankNet"]


class _PairLoss(ListLoss):
    """Σ w_ij log(1 + exp(−σ(s_i − s_j))) over the pairs in which item i is more relevant than item j."""

    sigma: float
    _traits: ClassVar = CURVED

    @abstractmethod
    def _weights(self, lists: Lists) -> Tensor:
        """Return w, [batch, n, n], constant where the order of the scores is; 0 at pairs without an order."""

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the Hessian of each list, [batch, n, n]: the Laplacian of a graph of the pairs.

        The edge between i and j weighs σ²·w_ij·p(1 − p) with p the probability that the model gives their order. Time
        and memory O(n²) a list. Positive semi-definite; rows add up to 0, and those of padded items are 0.

        Args:
            prediction: [batch, n].
            target: [batch, n], the relevance.
            mask: [batch, n] bool, True at padded items.
            generator: Not used.
        """
        lists = self._lists(prediction, target, mask)
        margins = self.sigma * (lists.scores.unsqueeze(2) - lists.scores.unsqueeze(1))
        slope = self.sigma**2 * margins.sigmoid() * (-margins).sigmoid()
        edges = self._weights(lists) * slope
        return laplacian(edges + edges.mT).to(prediction.dtype)

    def _loss(self, lists: Lists) -> Tensor:
        margins = self.sigma * (lists.scores.unsqueeze(2) - lists.scores.unsqueeze(1))
        return -(self._weights(lists) * logsigmoid(margins)).sum(dim=(1, 2))

    def _slope(self) -> float:
        return self.sigma


@final
@dataclass(frozen=True, kw_only=True)
class RankNet(_PairLoss):
    """Logistic loss of every pair with different relevance: ℓ = mean over r_i > r_j of log(1 + exp(−σ(s_i − s_j))).

    prediction: [batch, n], the scores; target: [batch, n], the relevance, of which the order alone counts. Pairs of
    equal relevance take no part; a list without other pairs, or of one item, has loss 0 and gradient 0.

    Convex. The Hessian, a graph Laplacian, is supplied. Time and memory O(n²) a list.

    Where it fails: all pairs count alike, those at the bottom of the list too, so NDCG at the top may suffer
    (`LambdaLoss` weights them). It does not change when all scores shift, so its Hessian is singular along 1.

    Args:
        sigma: σ > 0, in 1/units of the scores.
        normalize: Divide by the number of pairs; the paper's cost is the sum.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender: Learning to Rank using Gradient Descent, ICML 2005.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[2.0, 1.0, 1.0]])
        >>> RankNet()(scores, relevance)  # (log(1 + e⁻²) + log(1 + e⁻¹))/2
        tensor([0.2201])
    """

    sigma: float = 1.0
    normalize: bool = True

    id: ClassVar[str] = "ranking/ranknet-v1"
    config = RankNetConfig

    def _weights(self, lists: Lists) -> Tensor:
        pairs = lists.preferred().to(lists.scores.dtype)
        return pairs / pairs.sum(dim=(1, 2), keepdim=True).clamp_min(1.0) if self.normalize else pairs


@final
@dataclass(frozen=True, kw_only=True)
class LambdaLoss(_PairLoss):
    """Pairwise logistic losses weighted by NDCG: ℓ = Σ over r_i > r_j of w_ij·log₂(1 + exp(−σ(s_i − s_j))).

    prediction: [batch, n], the scores; target: [batch, n], the relevance. With gains G divided by the ideal DCG, places
    i and j from 1 in the order of the scores, and D(i) = log₂(1 + i), the weights are |G_i − G_j| times

    - `"lambdarank"`: |1/D(i) − 1/D(j)|, what NDCG changes by when the two are swapped;
    - `"ndcg2"`: 1/D(|i − j|) − 1/D(|i − j| + 1), of the bound NDCG-Loss2;
    - `"ndcg2++"`: the first plus μ times the second.

    With k, LambdaRank's weights are those of NDCG@k, and NDCG-Loss2 keeps the pairs with an item among the first k.
    A list without relevant items has loss 0 and gradient 0. Equal scores are placed by index.

    Weights are constant as long as the order of the scores is: the derivative of the value is the paper's λ, and the
    Hessian, supplied, is positive semi-definite wherever it exists. Across a change of order the value jumps, so the
    loss as a whole is neither continuous nor convex: do not compare values along training, compare NDCG.

    Time and memory O(n²) a list.

    Args:
        weighting: `"lambdarank"`, `"ndcg2"` or `"ndcg2++"`.
        k: Places that count; `None` for all.
        sigma: σ > 0, in 1/units of the scores.
        mu: μ of `"ndcg2++"`.
        gain: `"exponential"` or `"linear"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Wang, Li, Golbandi, Bendersky, Najork: The LambdaLoss Framework for Ranking Metric Optimization, CIKM 2018.
        Burges: From RankNet to LambdaRank to LambdaMART, 2010.

    Example:
        >>> import torch
        >>> loss = LambdaLoss(weighting="lambdarank")
        >>> loss(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0]]))  # 1 − 1/log₂(3), what a swap would gain
        tensor([0.3691])
    """

    weighting: Weighting = "ndcg2++"
    k: int | None = None
    sigma: float = 1.0
    mu: float = 10.0
    gain: Gain = "exponential"

    id: ClassVar[str] = "ranking/lambda_loss-v1"
    config = LambdaLossConfig

    def _weights(self, lists: Lists) -> Tensor:
        n = lists.scores.shape[1]
        gains = scaled_gains(lists.relevance, self.gain)
        worth = discounts(n, self.k, gains)
        gains = gains / ideal(gains, worth).unsqueeze(1).clamp_min(1.0)
        places = descending_places(lists)
        weights = self._place_weights(places, worth) * (gains.unsqueeze(2) - gains.unsqueeze(1)).abs()
        return torch.where(lists.preferred(), weights / math.log(2), 0.0)

    def _place_weights(self, places: Tensor, worth: Tensor) -> Tensor:
        """Return the part of the weights that the places alone decide, [batch, n, n]."""
        total = torch.zeros((), dtype=worth.dtype, device=worth.device)
        if self.weighting != "ndcg2":
            own = worth[places]
            total = (own.unsqueeze(2) - own.unsqueeze(1)).abs()
        if self.weighting != "lambdarank":
            full = discounts(len(worth) + 1, None, worth)
            steps = torch.cat([full[:1] * 0, full[:-1] - full[1:]])  # steps[d] of two places at a distance of d
            bound = steps[(places.unsqueeze(2) - places.unsqueeze(1)).abs()]
            if self.k is not None:
                bound = torch.where(torch.minimum(places.unsqueeze(2), places.unsqueeze(1)) < self.k, bound, 0.0)
            total = total + (bound if self.weighting == "ndcg2" else self.mu * bound)
        return total

    def _slope(self) -> float:
        return self.sigma * max(1.0, self.mu)
