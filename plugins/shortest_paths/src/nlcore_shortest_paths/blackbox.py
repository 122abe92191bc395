"""The comparison set of predict-then-optimise: black-box differentiation, I-MLE, SPO+, negative identity."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_shortest_paths._base import EstimatedLoss, hamming
from nlcore_shortest_paths._checks import check_true_costs
from nlcore_shortest_paths.config import BlackBoxConfig, IMLEConfig, NegativeIdentityConfig, Noise, SPOPlusConfig
from nlcore_shortest_paths.perturbed import solutions
from nlcore_shortest_paths.solvers import path_cost

__all__ = ["IMLE", "BlackBox", "NegativeIdentity", "SPOPlus"]

_CONSTANT = Traits(event_ndim=2, order=0, transforms="autograd")
_RANDOM = Traits(event_ndim=2, order=0, stochastic=True, transforms="autograd")
_LINEAR = Traits(event_ndim=2, order=1, transforms="autograd")

_GAMMAS = 10  # terms of the sum; the paper's choice


class _Hamming(EstimatedLoss):
    """The number of cells in which the shortest path of the predicted costs and the target differ."""

    @property
    def traits(self) -> Traits:
        """Piecewise constant, with a gradient of its own."""
        return _CONSTANT

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return hamming(self._shortest(costs), target)

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        path = self._shortest(costs)
        return hamming(path, target), self._slope(costs, path, target)

    @abstractmethod
    def _slope(self, costs: Tensor, path: Tensor, target: Tensor) -> Tensor:
        """Return what the method takes for the gradient at the costs."""


@dataclass(frozen=True, repr=False, kw_only=True)
class BlackBox(_Hamming):
    """Differentiation of a black-box solver: the number of differing cells, with the gradient of an interpolation.

    ℓ(c, t) = Σ|y*(c) − t|, and with v = 1 − 2t, its slope at the path, the gradient is (y*(c + λv) − y*(c))/λ: that of
    a piecewise linear function that agrees with the loss where the path does not change for a step of λ.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs two
    exact solutions a map.

    Where it fails: λ has to fit the scale of the costs; with a small one the gradient is mostly 0, with a large one it
    is the difference to the target alone. Costs moved below `min_cost` stay there. The gradient of all costs together
    is the difference of two path lengths, so the scale of the costs drifts: behind an activation that saturates, such
    as softplus, they can sink to where its slope is gone. Use |output| plus a floor, as the paper does.

    Reference:
        Vlastelica, Paulus, Musil, Martius, Rolínek, Differentiation of Blackbox Combinatorial Solvers, ICLR 2020.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    min_cost: float = 1e-3
    interpolation: float = 20.0

    id: ClassVar[str] = "shortest_paths/blackbox-v1"
    config = BlackBoxConfig

    def _slope(self, costs: Tensor, path: Tensor, target: Tensor) -> Tensor:
        moved = costs + self.interpolation * (1 - 2 * target)
        return (self._shortest(moved.clamp_(min=self.min_cost)) - path) / self.interpolation


@dataclass(frozen=True, repr=False, kw_only=True)
class NegativeIdentity(_Hamming):
    """Backpropagation through the negative identity: the number of differing cells, with the negative of its slope.

    ℓ(c, t) = Σ|y*(c) − t|. A path avoids cells whose costs rise, so the slope v = 2(y*(c) − t) of Σ(y − t)², which on
    paths equals ℓ, is handed on as −v. It is the gradient of a perceptron, and takes no solution more than the value.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs one
    exact solution a map.

    Where it fails: the gradient ignores by how much a path is the shortest, so the margin is never widened: learning
    stops as soon as training paths are right. The scale of the costs drifts as with `BlackBox`: use |output| plus a
    floor, not softplus. The projections of the paper (of the mean, of the norm) are not applied:
    for paths, whose lengths differ, they change the solution.

    Reference:
        Sahoo, Paulus, Vlastelica, Musil, Kuleshov, Martius, Backpropagation through Combinatorial Algorithms: Identity
        with Projection Works, ICLR 2023.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8

    id: ClassVar[str] = "shortest_paths/negative_identity-v1"
    config = NegativeIdentityConfig

    def _slope(self, costs: Tensor, path: Tensor, target: Tensor) -> Tensor:
        return 2 * (target - path)


@dataclass(frozen=True, repr=False, kw_only=True)
class IMLE(EstimatedLoss):
    """Implicit maximum likelihood estimation: the mean number of differing cells of perturbed shortest paths.

    ℓ(c, t) = E[Σ|y*(c − σε) − t|]. With v = 1 − 2t the gradient is E[y*(c + λv − σε) − y*(c − σε)]/λ: the step towards
    the distribution whose costs were improved by λ, divided by λ so that it does not grow with it. The noise ε is such
    that its sum over a path of `length` cells is Gumbel ("sum_of_gamma"), or Gumbel for each cell ("gumbel").

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs two
    times `num_samples` exact solutions a map.

    Where it fails: as `BlackBox` for λ; the estimate is biased for every λ, towards the difference to the target. Costs
    moved below `min_cost` stay there.

    Reference:
        Niepert, Minervini, Franceschi, Implicit MLE: Backpropagating Through Discrete Exponential Family Distributions,
        NeurIPS 2021.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    min_cost: float = 1e-3
    num_samples: int = 1
    sigma: float = 0.5
    interpolation: float = 10.0
    noise: Noise = "sum_of_gamma"
    length: int = 12

    id: ClassVar[str] = "shortest_paths/imle-v1"
    config = IMLEConfig

    @property
    def traits(self) -> Traits:
        """Random and piecewise constant for given noise, with a gradient of its own."""
        return _RANDOM

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return hamming(self._paths(self._perturbed(costs, generator)), target).mean(0)

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        perturbed = self._perturbed(costs, generator)
        moved = perturbed + self.interpolation * (1 - 2 * target)
        now, then = self._paths(torch.cat([perturbed, moved])).chunk(2)
        return hamming(now, target).mean(0), (then - now).mean(0) / self.interpolation

    def _paths(self, costs: Tensor) -> Tensor:
        return solutions(lambda flat: self._shortest(flat.clamp(min=self.min_cost)), costs)

    def _perturbed(self, costs: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the perturbed costs, [S, batch, H, W]."""
        place = costs.device if generator is None else generator.device
        shape = (self.num_samples, *costs.shape)
        if self.noise == "gumbel":
            noise = -torch.empty(shape, dtype=costs.dtype, device=place).exponential_(generator=generator).log()
        else:
            k = self.length
            shapes = torch.full((_GAMMAS, *shape), 1 / k, dtype=costs.dtype, device=place)
            gammas = torch._standard_gamma(shapes, generator=generator)
            scales = k / torch.arange(1, _GAMMAS + 1, dtype=costs.dtype, device=place)
            noise = (torch.einsum("g,g...->...", scales, gammas) - math.log(_GAMMAS)) / k
        return costs - self.sigma * noise.to(costs.device)


@dataclass(frozen=True, repr=False, kw_only=True)
class SPOPlus(EstimatedLoss):
    """SPO+, the convex surrogate of the regret: what the predicted path costs more than the best, by the true costs.

    With true costs c and predicted ĉ, ℓ(ĉ, c) = max_y ⟨c − 2ĉ, y⟩ + 2⟨ĉ, y*(c)⟩ − ⟨c, y*(c)⟩, and its gradient is
    2(y*(c) − y*(2ĉ − c)).

    **The target is the true costs**, not the path: prediction and target are [batch, H, W], both positive. A step costs
    two exact solutions a map.

    Where it fails: the solver needs positive costs, and 2ĉ − c is not where ĉ < c/2. There it is held at `min_cost`,
    and the loss is neither convex nor above the regret any more; training can become unstable. Start from costs that
    are too large rather than too small.

    Reference:
        Elmachtoub, Grigas, Smart “Predict, then Optimize”, Management Science, 2022.

    Example:
        >>> import torch
        >>> true = torch.tensor([[[1.0, 5.0], [1.0, 1.0]]])
        >>> loss = SPOPlus(neighbours=4)
        >>> loss(true, true)  # the truth costs nothing
        tensor([0.])
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    min_cost: float = 1e-3

    id: ClassVar[str] = "shortest_paths/spo_plus-v1"
    config = SPOPlusConfig

    @property
    def traits(self) -> Traits:
        """Piecewise linear, with its gradient."""
        return _LINEAR

    def _truth(self, costs: Tensor) -> Tensor:
        return costs

    def _check_target(self, costs: Tensor, target: Tensor) -> None:
        check_true_costs(self.id, costs, target)

    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._gradient(costs, target, generator)[0]

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        mixed = (2 * costs - target).clamp_(min=self.min_cost)
        worst, best = self._shortest(torch.cat([mixed, target])).chunk(2)
        value = path_cost(2 * costs - target, best) - path_cost(mixed, worst)
        return value, 2 * (best - worst)
