"""Stochastic smoothing of a whole loss by a score function."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_decisions._base import Truth
from nlcore_decisions.perturbed import score_gradient, score_hessian
from nlcore_shortest_paths._base import SampledLoss, hamming
from nlcore_shortest_paths.config import SmoothedLossConfig

__all__ = ["SmoothedLoss"]


class SmoothedLoss(SampledLoss, id="shortest_paths/smoothed_loss-v1", config=SmoothedLossConfig):
    r"""Stochastic smoothing of the loss: the mean number of differing cells under noisy costs, by a score function.

    With $f(c) = \sum_v |y^*_v(c) - t_v|$ and Z standard normal,

    $$
    \ell(c, t) = \mathbb{E} f(c + \sigma Z), \qquad \nabla = \frac{\mathbb{E} [f Z]}{\sigma}, \qquad
    H = \frac{\mathbb{E} [f (Z Z^\top - I)]}{\sigma^2}.
    $$

    Gradient and Hessian are estimated from the same samples as the value.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the mean number of cells in which the path of noisy costs and the true path differ.

    Cost:
        `num_samples` exact solves per map; the Hessian has (H·W)² numbers and needs no further solve.

    When it fails:
        With few samples, because only the values of the loss are used: on 12×12 cells, the cosine to the true gradient
        is 0.07 with 3 samples and 0.30 with 30 (leave-one-out), and 0.03 and 0.13 without a control variate. A Hessian
        from 3 samples is harmful. A small σ makes the variance of the gradient large, and a large σ smooths away the
        differences between paths.

    Reference:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon, [Newton Losses](https://arxiv.org/abs/2410.19055), NeurIPS
        2024; Williams, [Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning](https://doi.org/10.1007/BF00992696), Machine Learning, 1992.
    """

    def _second(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        noise, _, paths = self._samples(costs, truth, generator)
        return score_hessian(hamming(paths, truth.the_solution), noise, self.sigma, control=self.control)

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        return hamming(self._samples(costs, truth, generator)[2], truth.the_solution).mean(0)

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise, _, paths = self._samples(costs, truth, generator)
        values = hamming(paths, truth.the_solution)
        return values.mean(0), score_gradient(values, noise, self.sigma, control=self.control)
