"""Noise-contrastive estimation over a pool of solutions."""

from __future__ import annotations

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth, inner_product
from nlcore_decisions.config import NoiseContrastiveConfig
from nlcore_decisions.pool_loss import PoolLoss

__all__ = ["NoiseContrastive"]


class NoiseContrastive(PoolLoss, config=NoiseContrastiveConfig, traits=Traits(order=1)):
    r"""Noise-contrastive loss: the cost of the true solution minus the mean cost of the pool.

    With the P solutions $y_s$ of the pool as noise,

    $$
    \ell(c, t) = \frac{1}{P} \sum_s \langle c, t - y_s \rangle, \qquad \nabla = t - \frac{1}{P} \sum_s y_s.
    $$

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution.
        - value: of any sign, in units of the costs; linear in them, and not bounded below.

    Cost:
        O(P·m) for each sample, a product with the P solutions of m elements. No exact solution is computed unless the
        pool adds solutions (`solve_ratio`).

    When it fails:
        The gradient does not depend on the prediction, so the costs grow as long as training goes on: bound them, or
        stop early. Only solutions of the pool are compared: one outside it can remain cheaper than the true solution.

    Reference:
        Mulamba, Mandi, Diligenti, Lombardi, Bucarey, Guns, [Contrastive Losses and Solution Caching for
        Predict-and-Optimize](https://arxiv.org/abs/2011.05354), IJCAI 2021.
    """

    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        return inner_product(costs, truth.the_solution, self._ndim) - products.mean(1)
