"""Implicit maximum likelihood estimation of shortest paths."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore_shortest_paths._base import PerturbedLoss, hamming
from nlcore_shortest_paths.config import IMLEConfig, Noise
from nlcore_shortest_paths.perturbed import solutions

__all__ = ["IMLE"]

_GAMMAS = 10
"""Number of terms of the sum of Gamma variables; the paper's choice."""


class IMLE(PerturbedLoss, id="shortest_paths/imle-v1", config=IMLEConfig):
    r"""Implicit maximum likelihood estimation: the mean number of differing cells of perturbed shortest paths.

    With $v = 1 - 2t$ and noise ε, value and gradient are

    $$
    \ell(c, t) = \mathbb{E} \sum_v |y^*_v(c - \sigma \varepsilon) - t_v|, \qquad
    \nabla = \frac{\mathbb{E} [y^*(c + \lambda v - \sigma \varepsilon) - y^*(c - \sigma \varepsilon)]}{\lambda}:
    $$

    the step towards the distribution whose costs were improved by λ, divided by λ so that it does not grow with λ. The
    sum of the noise ε over a path of `length` cells is Gumbel ("sum_of_gamma"), or the noise of each cell is
    ("gumbel").

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the mean number of cells in which a perturbed path and the true path differ.

    Cost:
        Two times `num_samples` exact solutions per map.

    When it fails:
        As `BlackBox` for λ; the estimate is biased for every λ, towards the difference to the target. Changed costs are
        clamped to `min_cost`.

    Reference:
        Niepert, Minervini, Franceschi, [Implicit MLE: Backpropagating Through Discrete Exponential Family
        Distributions](https://arxiv.org/abs/2106.01798), NeurIPS 2021.
    """

    num_samples: int = 1
    interpolation: float = 10.0
    noise: Noise = "sum_of_gamma"
    length: int = 12

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return hamming(solutions(self._shortest_changed, self._perturbed(costs, generator)), target).mean(0)

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        perturbed = self._perturbed(costs, generator)
        moved = perturbed + self.interpolation * (1 - 2 * target)
        now, then = solutions(self._shortest_changed, torch.cat([perturbed, moved])).chunk(2)
        return hamming(now, target).mean(0), (then - now).mean(0) / self.interpolation

    def _perturbed(self, costs: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the perturbed costs, [S, batch, H, W]."""
        drawn_on = costs.device if generator is None else generator.device
        shape = (self.num_samples, *costs.shape)
        if self.noise == "gumbel":
            noise = -torch.empty(shape, dtype=costs.dtype, device=drawn_on).exponential_(generator=generator).log()
        else:
            k = self.length
            shapes = torch.full((_GAMMAS, *shape), 1 / k, dtype=costs.dtype, device=drawn_on)
            gammas = torch._standard_gamma(shapes, generator=generator)
            scales = k / torch.arange(1, _GAMMAS + 1, dtype=costs.dtype, device=drawn_on)
            noise = (torch.einsum("g,g...->...", scales, gammas) - math.log(_GAMMAS)) / k
        return costs - self.sigma * noise.to(costs.device)
