"""Pairwise learning to rank over a pool of solutions."""

from __future__ import annotations

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions.config import PairwiseRankingConfig
from nlcore_decisions.pool_loss import PoolLoss

__all__ = ["PairwiseRanking"]


class PairwiseRanking(PoolLoss, config=PairwiseRankingConfig, traits=Traits(order=1)):
    r"""Pairwise ranking loss: a hinge on the cost of the best solution of a pool minus that of each other.

    With true costs $c_0$ and $y_b$ the solution of the pool of least true cost,

    $$
    \ell(c, c_0) = \frac{1}{P - 1} \sum_{s \ne b} \max(0,\; \text{margin} + \langle c, y_b - y_s \rangle).
    $$

    Convex in c.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, **the true costs**.
        - value: at least 0, in units of the costs; 0 where the best solution is cheaper than every other by at least
          the margin.

    Cost:
        O(P·m) for each sample, a product with the P solutions of m elements. No exact solution is computed unless the
        pool adds solutions (`solve_ratio`).

    When it fails:
        Without a margin the loss is 0 where all costs are 0. The margin fixes the scale of the costs.

    Reference:
        Mandi, Bucarey, Mulamba, Guns, [Decision-Focused Learning: Through the Lens of Learning to
        Rank](https://arxiv.org/abs/2112.03609), ICML 2022.
    """

    margin: float = 0.0

    @property
    def _wants(self) -> tuple[str, ...]:
        return ("costs",)

    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        best = (truth.the_costs.flatten(1) @ pool.mT).argmin(1, keepdim=True)
        ahead = (self.margin + products.gather(1, best) - products).clamp(min=0)
        return (ahead.sum(1) - self.margin) / max(1, len(pool) - 1)
