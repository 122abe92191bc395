"""Stochastic smoothing of the shortest path inside a loss by a score function."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_decisions._base import Truth
from nlcore_decisions.perturbed import jacobian, score_gradient, score_hessian
from nlcore_shortest_paths._base import SampledLoss
from nlcore_shortest_paths.config import SmoothedAlgorithmConfig

__all__ = ["SmoothedAlgorithm"]


class SmoothedAlgorithm(SampledLoss, id="shortest_paths/smoothed_algorithm-v1", config=SmoothedAlgorithmConfig):
    r"""Stochastic smoothing of the algorithm: squared distance of the mean path to the true path, by a score function.

    With Z standard normal, J the Jacobian of $y_\sigma$ and $v = 2 (y_\sigma(c) - t)$,

    $$
    \ell(c, t) = \lVert y_\sigma(c) - t \rVert^2, \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z), \qquad
    J = \frac{\mathbb{E} [y^* Z^\top]}{\sigma},
    $$

    $$
    \nabla = \frac{\mathbb{E} [\langle v, y^* \rangle Z]}{\sigma}, \qquad
    H = 2 J^\top J + \frac{\mathbb{E} [\langle v, y^* \rangle (Z Z^\top - I)]}{\sigma^2}.
    $$

    Products of two means are estimated from the same samples, so that gradient and Hessian have a bias of the order of
    1/`num_samples`.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the squared distance of the mean path to the true one; 0 if every perturbed path is the true one.

    Cost:
        `num_samples` exact solves per map; the Hessian has (H·W)² numbers and needs no further solve.

    When it fails:
        With few samples, as `SmoothedLoss`. `CentralDifference` estimates the same gradient from three times as many
        solutions, with a small fraction of the noise.

    Reference:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon, [Newton Losses](https://arxiv.org/abs/2410.19055), NeurIPS
        2024; Abernethy, Lee, Tewari, Perturbation Techniques in Online Learning and Optimization, 2016.
    """

    def _second(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        noise, _, paths = self._samples(costs, truth, generator)
        target = truth.the_solution
        slope = 2 * (paths.mean(0) - target)
        along = (paths * slope).sum(dim=(-2, -1))
        j = jacobian(paths, noise, self.sigma, control=self.control)
        return 2 * j.mT @ j + score_hessian(along, noise, self.sigma, control=self.control)

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        return (self._samples(costs, truth, generator)[2].mean(0) - truth.the_solution).square().sum(dim=(1, 2))

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise, _, paths = self._samples(costs, truth, generator)
        gap = paths.mean(0) - truth.the_solution
        along = 2 * (paths * gap).sum(dim=(-2, -1))
        return gap.square().sum(dim=(1, 2)), score_gradient(along, noise, self.sigma, control=self.control)
