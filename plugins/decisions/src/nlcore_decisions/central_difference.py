"""The gradient through a smoothed solver as a central difference along the slope of the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions import perturbed
from nlcore_decisions._base import Truth
from nlcore_decisions._objective import ComparingLoss, ObjectiveLoss
from nlcore_decisions.config import CentralDifferenceConfig, Objective

__all__ = ["CentralDifference", "CentralDifferenceEstimate"]


class CentralDifferenceEstimate(ComparingLoss):
    """Value and gradient of a loss of the mean perturbed solution."""

    num_samples: int
    sigma: float
    step: float

    @property
    def _objective(self) -> Objective:
        return "squared_error"

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        noise = perturbed.draw_noise(costs, self.num_samples, generator=generator)
        return self._compare(self._mean(costs, truth, noise), truth)

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise = perturbed.draw_noise(costs, self.num_samples, generator=generator)
        mean = self._mean(costs, truth, noise)

        def argmin(flat: Tensor) -> Tensor:
            return self._solutions(truth, self._changed(flat.reshape(2 * len(noise), *costs.shape)))[0].flatten(0, 1)

        slope = self._slope(mean, truth)
        gradient = perturbed.central_difference(argmin, costs, slope, noise, sigma=self.sigma, step=self.step)
        return self._compare(mean, truth), gradient

    def _mean(self, costs: Tensor, truth: Truth, noise: Tensor) -> Tensor:
        """Return y_σ(c), [N, *event]."""
        return self._solutions(truth, self._changed(costs + self.sigma * noise))[0].mean(0)


class CentralDifference(
    CentralDifferenceEstimate,
    ObjectiveLoss,
    config=CentralDifferenceConfig,
    traits=Traits(order=0, stochastic=True, transforms="autograd"),
):
    r"""Loss of the mean perturbed solution, with its gradient by a central difference.

    With the mean solution of noisy costs, $y_\sigma$, Z standard normal and L the loss of a solution, by default
    $\lVert y - t \rVert^2$,

    $$
    \ell(c, t) = L(y_\sigma(c), t), \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z),
    $$

    $$
    \nabla = \frac{y_\sigma(c + h v) - y_\sigma(c - h v)}{2 h}, \qquad v = \frac{\partial L}{\partial y_\sigma}, \qquad
    h = \frac{\text{step} \cdot \sigma}{\max |v|}.
    $$

    The gradient of the loss is $J^\top v$ with J the Jacobian of $y_\sigma$. Now $y_\sigma$ is itself a gradient, that
    of the concave function E[min_y ⟨c + σZ, y⟩] (differentiate under the mean: where the minimiser is unique, the
    derivative of a minimum of linear functions is the minimiser). So J is a Hessian, hence symmetric, and Jᵀv = Jv is
    the derivative of $y_\sigma$ along v, the limit of the difference as h → 0. Both means are taken over the same
    noise, so that all solutions that do not change cancel exactly.

    By the rule for h no cost is moved by more than `step`·σ; y_σ varies over lengths of σ, and the error is of second
    order in h. Value, v and both means use the same draw; the bias from that is of the order of 1/`num_samples`.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; the true costs with `objective="regret"`.
        - value: the loss of the mean solution; 0 if every perturbed solution is the true one.

    Cost:
        Three times `num_samples` exact solves per sample.

    When it fails:
        Where no perturbation reaches another solution, the gradient is 0 (raise σ).

    Reference:
        This project; the symmetric Jacobian is that of Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with
        Differentiable Perturbed Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020.
    """

    num_samples: int = 3
    sigma: float = 0.5
    step: float = 1.0
    objective: Objective = "squared_error"

    @property
    def _objective(self) -> Objective:
        return self.objective
