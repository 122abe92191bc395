"""ListNet: cross-entropy between top-one distributions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from nlcore_ranking._base import CURVED, ListLoss
from nlcore_ranking._lists import Lists, laplacian
from nlcore_ranking.config import ListNetConfig

__all__ = ["ListNet"]


@final
class ListNet(ListLoss, id="ranking/listnet-v1", config=ListNetConfig, traits=CURVED):
    r"""Cross-entropy between the top-one distributions of the relevance and of the scores.

    $$
    \ell(s, r) = -\sum_j q_j \log p_j, \qquad p = \operatorname{softmax}(s), \qquad
    q = \operatorname{softmax}\!\left(\frac{r}{\text{temperature}}\right).
    $$

    The Hessian diag(p) − ppᵀ is supplied: the loss is convex.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0; only differences within a list matter.
        - mask: `[batch, n]` bool, True at padded items.
        - value: in nats; its minimum is the entropy of q, not 0. For a list of equal grades, for example all zero, q is
          uniform, and the minimum is log n, at equal scores.

    Cost:
        Time and memory O(n) per list, O(n²) with the Hessian.

    When it fails:
        At temperature 1, one grade more multiplies the weight of an item only by e. With few relevant items among many,
        q is then close to uniform: lower the temperature. The loss does not change when all scores shift, so its
        Hessian is singular along 1.

    Args:
        temperature: Softness of the target distribution, > 0, in units of the relevance.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Cao, Qin, Liu, Tsai, Li: [Learning to Rank: From Pairwise Approach to Listwise
        Approach](https://doi.org/10.1145/1273496.1273513), ICML 2007 (top one).

    Example:
        >>> import torch
        >>> ListNet()(torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 1.0]]))  # log 3
        tensor([1.0986])
    """

    temperature: float = 1.0

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return diag(p) − ppᵀ of each list, [batch, n, n]; 0 in the rows and columns of padded items.

        Args:
            prediction: [batch, n].
            target: [batch, n], the relevance; checked, but the Hessian does not depend on it.
            mask: [batch, n] bool, True at padded items.
            generator: Not used.
        """
        p = self._lists(prediction, target, mask).lowered.softmax(dim=1)
        return laplacian(p.unsqueeze(2) * p.unsqueeze(1)).to(prediction.dtype)

    def _loss(self, lists: Lists) -> Tensor:
        highest = lists.relevance.amax(dim=1, keepdim=True)  # taken out first: grades over a temperature may overflow
        logits = torch.where(lists.valid, (lists.relevance - highest) / self.temperature, -torch.inf)
        return -(logits.softmax(dim=1) * lists.lowered.log_softmax(dim=1)).sum(dim=1)
