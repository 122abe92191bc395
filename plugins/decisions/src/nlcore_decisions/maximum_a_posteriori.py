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

    under the predicted costs, each solution has to cost more than t by at least μ times the difference under the true
    costs. Without a margin it is the perceptron loss over the pool. Convex in c.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; with a margin the true costs, or a dict with "costs" and
          "solution".
        - value: at least 0, in units of the costs; 0 where no solution of the pool violates its margin.

    Cost:
        O(P·m) for each sample, a product with the P solutions of m elements. No exact solution is computed unless the
        pool adds solutions (`solve_ratio`).

    When it fails:
        Without a margin the loss is 0 where all costs are 0, and learning stops as soon as the best solution of the
        pool is right. Only solutions of the pool are compared: one outside it can remain cheaper than the true
        solution.

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
