"""Implicit maximum likelihood estimation with a step that is chosen for each sample."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions._objective import ObjectiveLoss
from nlcore_decisions.config import AdaptiveIMLEConfig, ImplicitNoise, Objective
from nlcore_decisions.imle import ImplicitEstimate

__all__ = ["AdaptiveIMLE"]


class AdaptiveIMLE(
    ImplicitEstimate,
    ObjectiveLoss,
    config=AdaptiveIMLEConfig,
    traits=Traits(order=0, stochastic=True, transforms="autograd"),
):
    r"""I-MLE with the smallest step that changes the solution: the mean loss of solutions of perturbed costs.

    Value and gradient are those of `IMLE`, with a step λ of its own for each sample, relative to its costs:

    $$
    \nabla_\lambda = \frac{\mathbb{E} [y^*(c + \lambda v - \sigma \varepsilon) - y^*(c - \sigma \varepsilon)]}{\lambda},
    \qquad \lambda = \alpha \frac{\lVert c \rVert}{\lVert v \rVert}, \qquad
    \alpha = \min \{ \alpha : \lVert \nabla_\lambda \rVert_0 \ge \text{nonzeros} \}
    $$

    over α = `largest`·2⁻ᵏ, k = 0 … `halvings`, or `largest` where none of them is enough. A small step makes the
    gradient less biased, and one that is too small makes it 0. Since $\langle v, y^*(c + \lambda v) \rangle$ falls with
    λ, a solution that has changed stays changed for every larger λ, and α is found by bisection.

    The paper aims at the same number of entries, but carries one α from step to step, raised and lowered with a running
    mean of that number. Here no sample depends on another and no call on an earlier one.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; the true costs with `objective="regret"`.
        - value: the mean loss of a perturbed solution: number of differing elements, squared distance, or regret.

    Cost:
        2 + log₂(`halvings` + 1) times `num_samples` exact solves per sample, at most.

    When it fails:
        The smallest step that changes the solution need not have the least error: near a tie it is the largest step
        halved `halvings` times, and the gradient is long there. Costs of 0 have no scale, and a gradient of 0.

    Reference:
        Minervini, Franceschi, Niepert, [Adaptive Perturbation-Based Gradient Estimation for Discrete Latent Variable
        Models](https://arxiv.org/abs/2209.04862), AAAI 2023.
    """

    num_samples: int = 1
    sigma: float = 0.5
    noise: ImplicitNoise = "sum_of_gamma"
    length: int = 5
    objective: Objective = "hamming"
    nonzeros: float = 1.0
    largest: float = 2.0
    halvings: int = 3

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        perturbed = self._perturbed(costs, generator)
        (now,) = self._solutions(truth, self._changed(perturbed))
        slope = self._slope(now.mean(0), truth)
        most = self._most(costs, slope)
        shape = (-1, *[1] * (costs.ndim - 1))

        def change(level: Tensor) -> tuple[Tensor, Tensor]:
            step = (most * 0.5**level).reshape(shape)
            (then,) = self._solutions(truth, self._changed(perturbed + step * slope))
            return (then - now).mean(0), step

        level = torch.zeros_like(most)
        beyond = level + self.halvings
        gradient = torch.zeros_like(costs)
        for _ in range(self.halvings.bit_length()):
            middle = ((level + beyond) / 2).ceil()
            difference, step = change(middle)
            enough = (difference != 0).flatten(1).sum(1) >= self.nonzeros
            gradient = torch.where(enough.reshape(shape), difference / step, gradient)
            level, beyond = torch.where(enough, middle, level), torch.where(enough, beyond, middle - 1).maximum(level)
        if bool((level == 0).any()):
            difference, step = change(torch.zeros_like(level))
            gradient = torch.where((level == 0).reshape(shape), difference / step, gradient)
        return self._compare(now, truth).mean(0), gradient.nan_to_num(0.0, 0.0, 0.0)

    def _most(self, costs: Tensor, slope: Tensor) -> Tensor:
        """Return the largest step of each sample, [N]."""
        size = slope.flatten(1).norm(dim=1)
        length = self.largest * costs.flatten(1).norm(dim=1)
        return torch.where(size > 0, length / size, 0.0)
