"""RankNet: a logistic loss for every pair of items whose order is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from nlcore_ranking._lists import Lists
from nlcore_ranking._pairs import PairLoss
from nlcore_ranking.config import RankNetConfig

__all__ = ["RankNet"]


@final
@dataclass(frozen=True, kw_only=True)
class RankNet(PairLoss, id="ranking/ranknet-v1", config=RankNetConfig):
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

    def _weights(self, lists: Lists) -> Tensor:
        pairs = lists.preferred().to(lists.scores.dtype)
        return pairs / pairs.sum(dim=(1, 2), keepdim=True).clamp_min(1.0) if self.normalize else pairs
