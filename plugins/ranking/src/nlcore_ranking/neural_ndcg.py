"""NeuralNDCG: NDCG of gains sorted by a doubly stochastic NeuralSort."""

from __future__ import annotations

from typing import final

from torch import Tensor

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._gains import discounts, ideal, scaled_gains, shortfall
from nlcore_ranking._lists import Lists
from nlcore_ranking._relaxation import operator, sinkhorn
from nlcore_ranking.config import Gain, NeuralNDCGConfig

__all__ = ["NeuralNDCG"]


@final
class NeuralNDCG(ListLoss, id="ranking/neural_ndcg-v1", config=NeuralNDCGConfig, traits=SMOOTH):
    r"""One minus NDCG of softly sorted gains.

    $$
    \ell(s, r) = 1 - \frac{1}{\text{ideal DCG}} \sum_{i < k} \frac{(S(P)\, G)_i}{\log_2 (2 + i)}.
    $$

    P is NeuralSort's matrix of the scores, largest first. S scales it to be doubly stochastic, by Sinkhorn's
    iterations, so that no gain is counted twice. G are the gains of the relevance r, the ideal DCG is that of the best
    order, and positions i count from 0.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0.
        - mask: `[batch, n]` bool, True at padded items.
        - value: between 0 and 1 up to the error of the scaling. A list without relevant items has loss 0 and gradient
          0; a list of one item has loss 0.

    Cost:
        Time and memory O(n²·(1 + scaling)) per list. The Hessian is taken by differentiation.

    When it fails:
        If τ is far below the gaps between wrongly ordered scores, the gradient vanishes; if τ is far above them, all
        orders have nearly the same loss. The scaling converges slowly for small τ. The loss is twice differentiable
        wherever no two scores are equal. It is not convex: the Hessian may be indefinite.

    Args:
        temperature: τ > 0, in units of the scores.
        k: Positions that count; `None` for all.
        scaling: Sinkhorn iterations; 0 for none.
        gain: `"exponential"` or `"linear"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Pobrotyn, Białobrzeski: [NeuralNDCG: Direct Optimisation of a Ranking Metric via Differentiable Relaxation of
        Sorting](https://arxiv.org/abs/2102.07831), 2021 (the deterministic loss).

    Example:
        >>> import torch
        >>> NeuralNDCG(temperature=0.01)(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))  # 1 − 1/log₂(3)
        tensor([0.3691])
    """

    temperature: float = 1.0
    k: int | None = None
    scaling: int = 20
    gain: Gain = "exponential"

    def _loss(self, lists: Lists) -> Tensor:
        sorter = operator("neuralsort", self.temperature)
        log_p = sorter.log_permutation(lists.scores, descending=True, mask=lists.mask)
        gains = scaled_gains(lists.relevance, self.gain)
        worth = discounts(gains.shape[1], self.k, gains)
        found = (sinkhorn(log_p, self.scaling).exp() @ gains.unsqueeze(2)).squeeze(2)
        return shortfall((found * worth).sum(dim=1), ideal(gains, worth))

    def _slope(self) -> float:
        return 1 / self.temperature
