"""Stochastic smoothing by score functions: of the loss as a whole, and of the algorithm within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_shortest_paths._base import SampledLoss, hamming
from nlcore_shortest_paths.config import Control, SmoothedAlgorithmConfig, SmoothedLossConfig
from nlcore_shortest_paths.perturbed import jacobian, score_gradient, score_hessian

__all__ = ["SmoothedAlgorithm", "SmoothedLoss"]

_TRAITS = Traits(event_ndim=2, order=0, stochastic=True, transforms="autograd")


class _Smoothed(SampledLoss):
    """What the engine may assume of both."""

    @property
    def traits(self) -> Traits:
        """Random and piecewise constant for given noise, with a gradient and a Hessian of its own."""
        return _TRAITS


@dataclass(frozen=True, repr=False, kw_only=True)
class SmoothedLoss(_Smoothed):
    """Stochastic smoothing of the loss, ℓ_σ(c) = E[f(c + σZ)], f the number of cells in which path and target differ.

    The gradient is E[f Z]/σ and the Hessian E[f (ZZᵀ − I)]/σ², both estimated from the samples that the value is the
    mean of. The whole loss is a black box: nothing is known of it but its values, so a step needs many samples.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs
    `num_samples` exact solutions a map; the Hessian has (H·W)² numbers and no solution more.

    Where it fails: with few samples. On 12×12 the cosine to the true gradient is .07 with 3 samples and .30 with 30
    (leave-one-out), .03 and .13 without a control variate; a Hessian from 3 samples hurts. The noise costs more than σ
    gains when σ is small, and a large σ smooths away what there is to learn.

    Reference:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon, Newton Losses, NeurIPS 2024; Williams, Machine Learning,
        1992.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    min_cost: float = 1e-3
    num_samples: int = 3
    sigma: float = 0.5
    control: Control = "leave_one_out"

    id: ClassVar[str] = "shortest_paths/smoothed_loss-v1"
    config = SmoothedLossConfig

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the estimate E[f (ZZᵀ − I)]/σ² of each map, [batch, H·W, H·W]; arguments as of the call."""
        costs, known = self._checked(prediction, target)
        with torch.no_grad():
            noise, _, found = self._samples(costs.detach(), generator)
            matrix = score_hessian(hamming(found, known), noise, self.sigma, control=self.control)
            return matrix.to(prediction.dtype)

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return hamming(self._samples(costs, generator)[2], target).mean(0)

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise, _, found = self._samples(costs, generator)
        values = hamming(found, target)
        return values.mean(0), score_gradient(values, noise, self.sigma, control=self.control)


@dataclass(frozen=True, repr=False, kw_only=True)
class SmoothedAlgorithm(_Smoothed):
    """Stochastic smoothing of the algorithm, ℓ(c, t) = Σ(y_σ(c) − t)² with the mean path y_σ(c) = E[y*(c + σZ)].

    With the Jacobian J = E[y* Zᵀ]/σ and the slope v = 2(y_σ − t) the gradient is Jᵀv = E[⟨v, y*⟩ Z]/σ and the Hessian
    2JᵀJ + E[⟨v, y*⟩ (ZZᵀ − I)]/σ². Products of two means are estimated from the same samples, so that gradient and
    Hessian have a bias of the order of 1/`num_samples`.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs
    `num_samples` exact solutions a map; the Hessian has (H·W)² numbers and no solution more.

    Where it fails: as `SmoothedLoss` with few samples. `CentralDifference` estimates the same gradient with three times
    the solutions and a small fraction of the noise.

    Reference:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon, Newton Losses, NeurIPS 2024; Abernethy, Lee, Tewari,
        Perturbation Techniques in Online Learning and Optimization, 2016.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    min_cost: float = 1e-3
    num_samples: int = 3
    sigma: float = 0.5
    control: Control = "leave_one_out"

    id: ClassVar[str] = "shortest_paths/smoothed_algorithm-v1"
    config = SmoothedAlgorithmConfig

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the estimate of the Hessian of each map, [batch, H·W, H·W]; arguments as of the call."""
        costs, known = self._checked(prediction, target)
        with torch.no_grad():
            noise, _, found = self._samples(costs.detach(), generator)
            slope = 2 * (found.mean(0) - known)
            along = (found * slope).sum(dim=(-2, -1))
            j = jacobian(found, noise, self.sigma, control=self.control)
            matrix = 2 * j.mT @ j + score_hessian(along, noise, self.sigma, control=self.control)
            return matrix.to(prediction.dtype)

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return (self._samples(costs, generator)[2].mean(0) - target).square().sum(dim=(1, 2))

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise, _, found = self._samples(costs, generator)
        gap = found.mean(0) - target
        along = 2 * (found * gap).sum(dim=(-2, -1))
        return gap.square().sum(dim=(1, 2)), score_gradient(along, noise, self.sigma, control=self.control)
