"""Contrastive maximum-a-posteriori estimation over a pool of solutions."""

from __future__ import annotations

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth, inner_product
from nlcore_decisions.config import MaximumAPosterioriConfig
from nlcore_decisions.pool_loss import PoolLoss

__all__ = ["MaximumAPosteriori"]


class MaximumAPosteriori(PoolLoss, config=MaximumAPosterioriConfig, traits=Traits(order=1)):
    r"""Contrastive MAP loss: the cost of the true solution minus the least cost of the pool.

    With the solutions $y_s$ of the pool, $t$ among them,

    $$
    \ell(c, t) = \max_s \langle c, t - y_s \rangle, \qquad \nabla = t - y_{s^*},
    $$

    and with a margin μ and true costs $c_0$

    $$
    \ell(c, t) = \max_s \big( \langle c, t - y_s \rangle + \mu \langle c_0, y_s - t \rangle \big):
    $$

    each solution has to be dearer than t by μ times as much as it is under the true costs. Without the margin it is a
    perceptron over the pool. Convex in c.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; with a margin the true costs, or a dict with "costs" and
          "solution".
        - value: at least 0, in units of the costs; 0 where no solution of the pool is better by the margin.

    Cost:
        A product with the matrix of the pool, P·m numbers. No exact solution but those of the pool.

    When it fails:
        Without a margin the loss is 0 where all costs are 0, and learning stops as soon as the best solution of the
        pool is right. A solution that the pool lacks is not held against.

    Reference:
        Mulamba, Mandi, Diligenti, Lombardi, Bucarey, Guns, [Contrastive Losses and Solution Caching for
        Predict-and-Optimize](https://arxiv.org/abs/2011.05354), IJCAI 2021.
    """

    margin: float = 0.0

    @property
    def _wants(self) -> tuple[str, ...]:
        return ("costs", "solution") if self.margin else ("solution",)

    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        target = truth.the_solution
        ahead = inner_product(costs, target, self._ndim)[:, None] - products
        if self.margin:
            true = truth.the_costs.flatten(1)
            beyond = true @ pool.mT - inner_product(truth.the_costs, target, self._ndim)[:, None]
            ahead = ahead + self.margin * beyond
        return ahead.amax(1).clamp(min=0)
