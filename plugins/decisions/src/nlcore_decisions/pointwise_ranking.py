"""Pointwise learning to rank over a pool of solutions."""

from __future__ import annotations

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions.config import PointwiseRankingConfig
from nlcore_decisions.pool_loss import SplitPoolLoss

__all__ = ["PointwiseRanking"]


class PointwiseRanking(SplitPoolLoss, config=PointwiseRankingConfig, traits=Traits(psd_hessian=True)):
    r"""Pointwise ranking loss: the mean squared error of the costs of the solutions of a pool.

    With true costs $c_0$ and the P solutions $y_s$ of the pool,

    $$
    \ell(c, c_0) = \frac{1}{P} \sum_s \langle c - c_0, y_s \rangle^2, \qquad
    H = \frac{2}{P} \sum_s y_s y_s^\top.
    $$

    A linear regression of the true costs of the pool's solutions; costs are fitted in the span of these solutions only.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, **the true costs**.
        - value: squared error, in squared units of the costs.

    Cost:
        O(P·m) for each sample, a product with the P solutions of m elements. No exact solution is computed unless the
        pool adds solutions (`solve_ratio`).

    When it fails:
        A pool of few solutions leaves most directions without a gradient.

    Reference:
        Mandi, Bucarey, Mulamba, Guns, [Decision-Focused Learning: Through the Lens of Learning to
        Rank](https://arxiv.org/abs/2112.03609), ICML 2022.
    """

    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        return (products - self._true_products(truth, pool)).square().mean(1)
