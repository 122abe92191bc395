"""SPO+: smart predict, then optimise."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import EstimatedLoss, Truth, inner_product
from nlcore_decisions.config import SPOPlusConfig
from nlcore_decisions.estimated_decision_loss import EstimatedDecisionLoss

__all__ = ["SPOPlus", "SPOPlusEstimate"]


class SPOPlusEstimate(EstimatedLoss):
    """Value and gradient of SPO+."""

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        true, best = truth.the_costs, truth.solution
        mixed = 2 * costs - true
        solvable = self._changed(mixed)
        if best is None:
            worst, best = self._solutions(truth, solvable, true)
        else:
            (worst,) = self._solutions(truth, solvable)
        value = inner_product(mixed, best, self._ndim) - inner_product(solvable, worst, self._ndim)
        return value, 2 * (best - worst)


class SPOPlus(
    SPOPlusEstimate, EstimatedDecisionLoss, config=SPOPlusConfig, traits=Traits(order=1, transforms="autograd")
):
    r"""SPO+, a convex upper bound on the regret of the predicted solution.

    Let $c$ be the true costs, $\hat c$ the predicted costs, and $y^*(c)$ a solution of least cost under $c$. The
    *regret* is the true cost of the solution that the prediction selects minus that of the best one:
    $\langle c, y^*(\hat c) \rangle - \langle c, y^*(c) \rangle$. With the maximum over all feasible $y$, loss and
    subgradient are

    $$
    \ell(\hat c, c) = \max_y \langle c - 2 \hat c, y \rangle + 2 \langle \hat c, y^*(c) \rangle
    - \langle c, y^*(c) \rangle,
    \qquad \nabla = 2 (y^*(c) - y^*(2 \hat c - c)).
    $$

    Shape:
        - prediction: `[batch, *event]`, the predicted costs.
        - target: `[batch, *event]`, **the true costs**, not the solution; or a dict with "costs" and "solution".
        - value: an upper bound on the regret, in units of the costs; 0 where the prediction equals the true costs.

    Cost:
        Two exact solves per sample, or one if the target contains the true solution.

    When it fails:
        The solver is called with the costs 2ĉ − c, which are negative where ĉ < c/2. If it does not accept negative
        costs, set `min_cost`, to which lower entries are raised; the loss is then neither convex nor an upper bound on
        the regret. Start from predictions that are too large rather than too small.

    Reference:
        Elmachtoub, Grigas, [Smart “Predict, then Optimize”](https://doi.org/10.1287/mnsc.2020.3922), Management
        Science, 2022.

    Example:
        >>> import torch
        >>> from nlcore_decisions.solvers.vertices import Vertices
        >>> loss = SPOPlus(Vertices([[1, 0], [0, 1]]))
        >>> true = torch.tensor([[1.0, 2.0]])
        >>> loss(torch.tensor([[1.0, 2.0]]), true), loss(torch.tensor([[2.0, 1.0]]), true)
        (tensor([0.]), tensor([3.]))
    """

    @property
    def _wants(self) -> tuple[str, ...]:
        return ("costs",)
