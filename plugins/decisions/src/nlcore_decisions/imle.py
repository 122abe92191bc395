"""Implicit maximum likelihood estimation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions._objective import ComparingLoss, ObjectiveLoss
from nlcore_decisions._random import drawing_device
from nlcore_decisions.config import IMLEConfig, ImplicitNoise, Objective

__all__ = ["IMLE", "IMLEEstimate", "ImplicitEstimate", "implicit_noise"]

_GAMMAS = 10
"""Number of terms of the sum of Gamma variables; the paper's choice."""


class ImplicitEstimate(ComparingLoss):
    """The mean loss of the solutions of perturbed costs."""

    num_samples: int
    sigma: float
    noise: ImplicitNoise
    length: int

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        (found,) = self._solutions(truth, self._changed(self._perturbed(costs, generator)))
        return self._compare(found, truth).mean(0)

    def _perturbed(self, costs: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the perturbed costs, [S, N, *event]."""
        noise = implicit_noise(costs, self.num_samples, self.noise, self.length, generator)
        return costs - self.sigma * noise


class IMLEEstimate(ImplicitEstimate):
    """Value and gradient of I-MLE."""

    interpolation: float

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        perturbed = self._perturbed(costs, generator)
        now, then = self._before_and_after(truth, self._changed(perturbed), perturbed, self.interpolation)
        return self._compare(now, truth).mean(0), (then - now).mean(0) / self.interpolation


class IMLE(
    IMLEEstimate, ObjectiveLoss, config=IMLEConfig, traits=Traits(order=0, stochastic=True, transforms="autograd")
):
    r"""Implicit maximum likelihood estimation: the mean loss of solutions of perturbed costs.

    With $v$ the slope of the loss L of a solution and noise ε, value and gradient are

    $$
    \ell(c, t) = \mathbb{E}\, L(y^*(c - \sigma \varepsilon), t), \qquad
    \nabla = \frac{\mathbb{E} [y^*(c + \lambda v - \sigma \varepsilon) - y^*(c - \sigma \varepsilon)]}{\lambda}:
    $$

    the change of the mean solution when λv, which makes solutions of larger loss dearer, is added to the costs. The
    division by λ keeps the gradient from growing with λ. L is the number of differing elements, $v = 1 - 2t$; or
    $\lVert y - t \rVert^2$, with v at the mean solution; or the regret under the true costs $c_0$, $v = c_0$. The sum
    of the noise ε over a solution of `length` elements is Gumbel ("sum_of_gamma"), or the noise of each element is
    ("gumbel").

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution; the true costs with `objective="regret"`.
        - value: the mean loss of a perturbed solution: number of differing elements, squared distance, or regret.

    Cost:
        Two times `num_samples` exact solves per sample.

    When it fails:
        λ has the limits that `BlackBox` describes. The estimate is biased for every λ, towards the difference to the
        target.

    Reference:
        Niepert, Minervini, Franceschi, [Implicit MLE: Backpropagating Through Discrete Exponential Family
        Distributions](https://arxiv.org/abs/2106.01798), NeurIPS 2021.
    """

    num_samples: int = 1
    sigma: float = 0.5
    interpolation: float = 10.0
    noise: ImplicitNoise = "sum_of_gamma"
    length: int = 5
    objective: Objective = "hamming"


def implicit_noise(
    costs: Tensor, num_samples: int, noise: ImplicitNoise, length: int, generator: torch.Generator | None
) -> Tensor:
    """Return noise of perturb-and-MAP, [num_samples, *costs.shape]: Gumbel for each element, or for sums of `length`.

    Args:
        costs: Gives shape, dtype and device.
        num_samples: Number of draws.
        noise: `"gumbel"`, or `"sum_of_gamma"`, Σᵢ γᵢ k/i − log 10 over i = 1 … 10, divided by k, with γᵢ of shape 1/k.
        length: k.
        generator: Source of random numbers; they are drawn on its device.
    """
    drawn_on = drawing_device(generator, costs.device)
    shape = (num_samples, *costs.shape)
    if noise == "gumbel":
        drawn = -torch.empty(shape, dtype=costs.dtype, device=drawn_on).exponential_(generator=generator).log()
    else:
        k = length
        shapes = torch.full((_GAMMAS, *shape), 1 / k, dtype=costs.dtype, device=drawn_on)
        gammas = torch._standard_gamma(shapes, generator=generator)
        scales = k / torch.arange(1, _GAMMAS + 1, dtype=costs.dtype, device=drawn_on)
        drawn = (torch.einsum("g,g...->...", scales, gammas) - math.log(_GAMMAS)) / k
    return drawn.to(costs.device)
