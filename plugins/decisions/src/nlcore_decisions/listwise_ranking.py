"""Listwise learning to rank over a pool of solutions."""

from __future__ import annotations

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions.config import ListwiseRankingConfig
from nlcore_decisions.pool_loss import SplitPoolLoss

__all__ = ["ListwiseRanking"]


class ListwiseRanking(SplitPoolLoss, config=ListwiseRankingConfig, traits=Traits(psd_hessian=True)):
    r"""Listwise ranking loss: cross-entropy of two distributions over a pool, by true and by predicted costs.

    With true costs $c_0$, the solutions $y_s$ of the pool, and temperature τ,

    $$
    \ell(c, c_0) = -\sum_s q_s \log p_s, \qquad p_s \propto \exp(-\langle c, y_s \rangle / \tau), \quad
    q_s \propto \exp(-\langle c_0, y_s \rangle / \tau).
    $$

    Convex in c, smooth.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, **the true costs**.
        - value: at least the entropy of q, and equal to it where predicted and true costs of the pool differ by a
          constant.

    Cost:
        O(P·m) for each sample, a product with the P solutions of m elements. No exact solution is computed unless the
        pool adds solutions (`solve_ratio`).

    When it fails:
        With a τ far below the differences of costs, q is the best solution alone; with one far above, all solutions
        count alike.

    Reference:
        Mandi, Bucarey, Mulamba, Guns, [Decision-Focused Learning: Through the Lens of Learning to
        Rank](https://arxiv.org/abs/2112.03609), ICML 2022; Cao, Qin, Liu, Tsai, Li, [Learning to Rank: From Pairwise
        Approach to Listwise Approach](https://doi.org/10.1145/1273496.1273513), ICML 2007.
    """

    temperature: float = 1.0

    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        wanted = (self._true_products(truth, pool) / -self.temperature).softmax(1)
        return -(wanted * (products / -self.temperature).log_softmax(1)).sum(1)
