"""Base of the pairwise losses: a weighted logistic loss for every pair of items whose order is known."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from nlcore_ranking._base import CURVED, ListLoss
from nlcore_ranking._lists import Lists, laplacian

__all__ = ["PairLoss"]


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
