"""Fenchel–Young losses of perturbed optimisers."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import EstimatedLoss, Truth
from nlcore_decisions.config import Control, Noise, PerturbedFenchelYoungConfig
from nlcore_decisions.estimated_decision_loss import EstimatedDecisionLoss
from nlcore_decisions.perturbed import draw_noise, factors, fenchel_young, jacobian, multiplied_jacobian, perturb

__all__ = ["PerturbedFenchelYoung", "PerturbedFenchelYoungEstimate", "SampledEstimate"]


class SampledEstimate(EstimatedLoss):
    """Estimates of value, gradient and Hessian from the same solutions of costs with Gaussian noise."""

    num_samples: int
    sigma: float
    control: Control

    @property
    def _noise(self) -> Noise:
        return "additive"

    def _samples(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise, perturbed costs and their solutions, each [S, N, *event]."""
        noise = draw_noise(costs, self.num_samples, control=self.control, generator=generator)
        perturbed = self._changed(perturb(costs, noise, self.sigma, self._noise))
        (found,) = self._solutions(truth, perturbed)
        return noise, perturbed, found

    @abstractmethod
    def _second(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        """Return the estimate of the Hessian of each sample, [N, m, m]."""


class PerturbedFenchelYoungEstimate(SampledEstimate):
    """Value, gradient and Hessian of the perturbed Fenchel–Young loss."""

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        _, perturbed, found = self._samples(costs, truth, generator)
        return fenchel_young(perturbed, truth.the_solution, found)

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise, perturbed, found = self._samples(costs, truth, generator)
        target = truth.the_solution
        value = fenchel_young(perturbed, target, found)
        if self._noise == "multiplicative":
            return value, (factors(noise, self.sigma) * (target - found)).mean(0)
        return value, target - found.mean(0)

    def _second(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        noise, _, found = self._samples(costs, truth, generator)
        if self._noise == "multiplicative":
            matrix = multiplied_jacobian(found, noise, costs, self.sigma, control=self.control)
        else:
            matrix = jacobian(found, noise, self.sigma, control=self.control)
        return (matrix + matrix.mT) * -0.5


class PerturbedFenchelYoung(
    PerturbedFenchelYoungEstimate,
    EstimatedDecisionLoss,
    config=PerturbedFenchelYoungConfig,
    traits=Traits(order=1, stochastic=True, transforms="autograd"),
):
    r"""Perturbed Fenchel–Young loss: the cost of the true solution minus the mean least cost under noise.

    Let $y^*(c)$ be the solution of least cost and Z standard normal. With additive noise, and $y_\sigma$ the mean
    solution of the noisy costs,

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_y \langle c + \sigma Z, y \rangle, \qquad
    \nabla = t - y_\sigma(c), \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z),
    $$

    and with multiplicative noise, $M = \exp(\sigma Z - \sigma^2 / 2)$,

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_y \langle c \odot M, y \rangle, \qquad
    \nabla = t - \mathbb{E} [M \odot y^*(c \odot M)].
    $$

    Both are convex in c. The Hessian is −∂y_σ/∂c = −E[y* Zᵀ]/σ with additive noise, and minus the Jacobian of
    `perturbed.multiplied_jacobian` with multiplicative noise. The returned value is the mean of ⟨c̃, t − y*(c̃)⟩ over
    `num_samples` draws of noisy costs c̃, and the gradient is the derivative of this mean. The conjugate term of the
    Fenchel–Young loss, which depends only on t, is left out. With the same state of the generator, value, gradient and
    `hessian` use the same draws, and a solver of this package solves once for all three.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution.
        - value: at least 0, in units of the costs. 0 means that the true solution is the best for every draw of the
          noise; the value is not the regret.

    Cost:
        `num_samples` exact solves per sample; the Hessian has m² entries, m being the number of costs.

    When it fails:
        The estimate of the Hessian is symmetrised, but from few draws it is indefinite: use it with
        `nlcore.Hessian(psd="abs")` or `"clip"`. If σ is far below the differences between costs, the noise never
        changes the solution, and the loss becomes the perceptron loss. Multiplicative noise does not change costs of 0.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020; multiplicative noise: Dalle, Baty, Bouvier,
        Parmentier, [Learning with Combinatorial Optimization Layers](https://arxiv.org/abs/2207.13513), 2022.

    Example:
        >>> import torch
        >>> from nlcore_decisions.solvers.vertices import Vertices
        >>> loss = PerturbedFenchelYoung(Vertices([[1, 0, 0], [0, 1, 1]]), num_samples=1000, sigma=1.0)
        >>> costs, target = torch.tensor([[1.0, 1.0, 1.0]], requires_grad=True), torch.tensor([[0.0, 1.0, 1.0]])
        >>> loss(costs, target, generator=torch.Generator().manual_seed(0)).sum().backward()
        >>> [round(float(one), 1) for one in costs.grad[0]]  # the second solution has to become cheaper
        [-0.7, 0.7, 0.7]
    """

    num_samples: int = 3
    sigma: float = 0.5
    noise: Noise = "additive"
    control: Control = "leave_one_out"

    @property
    def _noise(self) -> Noise:
        return self.noise

    def hessian(
        self, prediction: Tensor, target: object, *, generator: torch.Generator | None = None, context: object = None
    ) -> Tensor:
        """Return the estimate of the Hessian of each sample, [batch, m, m]; arguments as of the call."""
        with torch.no_grad():
            costs, truth = self._checked(prediction, target, context)
            return self._second(costs.detach(), truth, generator).to(prediction.dtype)
