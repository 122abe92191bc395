"""Black-box differentiation of a solver by a linear interpolation."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions._objective import ComparingLoss, ObjectiveLoss
from nlcore_decisions.config import BlackBoxConfig, Objective

__all__ = ["BlackBox", "BlackBoxEstimate"]


class BlackBoxEstimate(ComparingLoss):
    """Value and gradient of black-box differentiation."""

    interpolation: float

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        return self._compare(self._solutions(truth, costs)[0], truth)

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        now, then = self._before_and_after(truth, costs, costs, self.interpolation)
        return self._compare(now, truth), (then - now) / self.interpolation


class BlackBox(BlackBoxEstimate, ObjectiveLoss, config=BlackBoxConfig, traits=Traits(order=0, transforms="autograd")):
    r"""Differentiation of a black-box solver: the loss of its solution, with the gradient of an interpolation.

    Let $y^*(c)$ be a solution of least cost under the costs $c$, L the loss of a solution $y$ with the target $t$, and
    λ the `interpolation`. Value and gradient are

    $$
    \ell(c, t) = L(y^*(c), t), \qquad v = \frac{\partial L}{\partial y}(y^*(c), t), \qquad
    \nabla = \frac{y^*(c + \lambda v) - y^*(c)}{\lambda}:
    $$

    the gradient of a piecewise linear function of the costs. This function agrees with the loss wherever adding λv to
    the costs does not change the solution. L is one of three losses, by `objective`: the number of differing elements
    with $v = 1 - 2t$, the squared distance $\lVert y - t \rVert^2$ with $v = 2 (y - t)$, or the regret
    $\langle c_0, y - t \rangle$ under the true costs $c_0$ with $v = c_0$.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; the true costs with `objective="regret"`.
        - value: the loss of the solution: number of differing elements, squared distance, or regret.

    Cost:
        Two exact solves per sample.

    When it fails:
        λ has to fit the scale of the costs. With a small λ the gradient is mostly 0; with a large λ it is only the
        difference to the target, divided by λ. Nothing fixes the scale of the costs: behind an activation that
        saturates they can drift to where its slope vanishes.

    Reference:
        Vlastelica, Paulus, Musil, Martius, Rolínek, [Differentiation of Blackbox Combinatorial
        Solvers](https://arxiv.org/abs/1912.02175), ICLR 2020.
    """

    interpolation: float = 10.0
    objective: Objective = "hamming"
