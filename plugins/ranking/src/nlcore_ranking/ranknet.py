"""RankNet: a logistic loss for every pair of items whose order is known, and its weighted form."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from nlcore_ranking._base import CURVED, ListLoss
from nlcore_ranking._lists import Lists, laplacian
from nlcore_ranking.config import RankNetConfig

__all__ = ["PairLoss", "RankNet"]


class PairLoss(ListLoss, traits=CURVED):
    """Σ w_ij log(1 + exp(−σ(s_i − s_j))) over the pairs in which item i is more relevant than item j."""

    sigma: float

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
        and memory O(n²) per list. Positive semi-definite; rows add up to 0, and those of padded items are 0.

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
class RankNet(PairLoss, id="ranking/ranknet-v1", config=RankNetConfig):
    r"""Logistic loss of every pair of items with different relevance.

    $$
    \ell(s, r) = \operatorname{mean}_{r_i > r_j} \log \left( 1 + e^{-\sigma (s_i - s_j)} \right).
    $$

    Pairs of equal relevance are left out. The Hessian, a graph Laplacian, is supplied: the loss is convex.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0, of which only the order counts.
        - mask: `[batch, n]` bool, True at padded items.
        - value: nats per pair, log 2 at equal scores. A list without pairs of different relevance, or of one item, has
          loss 0 and gradient 0.

    Cost:
        Time and memory O(n²) per list, with the Hessian too.

    When it fails:
        All pairs count alike, those at the bottom of the list too, so NDCG at the top may suffer (`LambdaLoss` weights
        them). The loss does not change when all scores shift, so its Hessian is singular along 1.

    Args:
        sigma: σ > 0, in inverse units of the scores.
        normalize: Divide by the number of pairs; the paper's cost is the sum.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender: [Learning to Rank using Gradient
        Descent](https://doi.org/10.1145/1102351.1102363), ICML 2005.

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
