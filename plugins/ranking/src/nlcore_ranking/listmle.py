"""ListMLE: likelihood of the true order under the Plackett–Luce model of the scores."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from nlcore_ranking._base import CURVED, ListLoss
from nlcore_ranking._lists import Lists, laplacian
from nlcore_ranking.config import ListMLEConfig, Ties

__all__ = ["ListMLE"]


@final
class ListMLE(ListLoss, id="ranking/listmle-v1", config=ListMLEConfig, traits=CURVED):
    r"""Negative log-likelihood of the true order under the Plackett–Luce model of the scores.

    $$
    \ell(s, r) = \frac{1}{n} \sum_i \left( \log \sum_{k \in C_i} e^{s_k} - s_i \right),
    $$

    where $s_i$ are the scores of the $n$ items. The competitors $C_i$ of item $i$ are the item itself and all items
    that do not stand before it in the true order, which is that of descending relevance $r$.

    The true order of items of equal relevance is unknown. With `ties="shared"`, every item competes with all items that
    are not more relevant (Breslow's rule for tied events). The loss then does not depend on the order of the list, and
    pulls tied items to equal scores. With `ties="index"`, the loss is that of the paper, for the order by relevance and
    then by index. The loss is convex. Its Hessian is supplied: the sum of diag(p_i) − p_i p_iᵀ over the items, divided
    by n like the loss, with p_i the softmax of the scores over $C_i$.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0, of which only the order counts.
        - mask: `[batch, n]` bool, True at padded items.
        - value: nats, per item with `normalize=True`. With `ties="shared"`, equal scores are best for items of equal
          relevance. A list of one item has loss 0.

    Cost:
        Time and memory O(n²) per list, O(n³) time with the Hessian.

    When it fails:
        The positions at the bottom count as much as those at the top. The loss does not change if the same number is
        added to all scores, so its Hessian is singular along the vector of ones.

    Args:
        ties: `"shared"` or `"index"`.
        normalize: Divide by the number of items; the paper's loss is the sum.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Xia, Liu, Wang, Zhang, Li: [Listwise Approach to Learning to Rank: Theory and
        Algorithm](https://doi.org/10.1145/1390156.1390306), ICML 2008. Breslow: [Covariance Analysis of Censored
        Survival Data](https://doi.org/10.2307/2529620), Biometrics 1974 (ties).

    Example:
        >>> import torch
        >>> ListMLE(normalize=False)(torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 1.0]]))  # log 3 + log 2
        tensor([1.7918])
    """

    ties: Ties = "shared"
    normalize: bool = True

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return Σ_i (diag(p_i) − p_i p_iᵀ) of each list, [batch, n, n], p_i the softmax of i's competitors.

        Args:
            prediction: [batch, n].
            target: [batch, n], the relevance.
            mask: [batch, n] bool, True at padded items; their rows and columns are 0.
            generator: Not used.
        """
        lists = self._lists(prediction, target, mask)
        p = self._logits(lists, lists.shifted).softmax(dim=2)
        weights = p.mT @ (p * self._shares(lists).unsqueeze(2))
        return laplacian((weights + weights.mT) / 2).to(prediction.dtype)

    def _loss(self, lists: Lists) -> Tensor:
        # The item itself competes, so every row has a finite entry; a padded item competes with itself only.
        scores = lists.shifted
        surprise = self._logits(lists, scores).logsumexp(dim=2) - scores
        return (surprise * self._shares(lists)).sum(dim=1)

    def _logits(self, lists: Lists, scores: Tensor) -> Tensor:
        """Return the scores of the competitors of every item, [batch, n, n], far below all scores elsewhere."""
        mine, theirs = lists.relevance.unsqueeze(2), lists.relevance.unsqueeze(1)
        position = torch.arange(lists.scores.shape[1], device=lists.scores.device)
        among = theirs <= mine
        if self.ties == "index":
            among = (theirs < mine) | ((theirs == mine) & (position >= position.unsqueeze(1)))
        among = (among & lists.valid.unsqueeze(1)) | (position == position.unsqueeze(1))
        return torch.where(among, scores.unsqueeze(1), torch.finfo(scores.dtype).min / 2)

    def _shares(self, lists: Lists) -> Tensor:
        """Return the weight of every item's term, [batch, n]."""
        return lists.valid / lists.lengths.unsqueeze(1) if self.normalize else lists.valid.to(lists.scores.dtype)
