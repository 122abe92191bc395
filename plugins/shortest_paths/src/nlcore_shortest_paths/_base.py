"""Base classes of the losses: call, validation and example; solvers for the estimators of `nlcore_decisions`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.inputs import check_inputs, working
from nlcore.protocol import Traits
from nlcore_decisions._base import EstimatedLoss, Truth
from nlcore_decisions._random import example_numbers
from nlcore_decisions.perturbed_fenchel_young import SampledEstimate
from nlcore_shortest_paths._costs import check_path, check_positive
from nlcore_shortest_paths.config import Control
from nlcore_shortest_paths.solvers import path_cost, solve_grid
from nlcore_shortest_paths.solvers.grid import Grid, grid

__all__ = ["EstimatedPathLoss", "PathLoss", "PerturbedLoss", "SampledLoss", "SolvedLoss", "hamming"]

_MAPS = "[batch, H, W] floating"


@dataclass(frozen=True, repr=False, kw_only=True)
class PathLoss(Configured, ABC):
    """Base of the losses whose prediction is the costs of maps, [batch, H, W].

    A cell is a node with a cost; a path pays for each cell that it visits, including both ends. Costs must be positive.
    Half precision is computed in float32 and rounded at the end. Objects are immutable, hashable, equal by their
    options, and serve maps of every size.
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each map.

        Args:
            prediction: [batch, H, W], the predicted costs, positive.
            target: [batch, H, W], the true path, 1 on it and 0 elsewhere, any dtype (for SPO+ the true costs).
            generator: Source of random numbers of a stochastic loss.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, costs are not positive, or the target is not a mask.
            NonFiniteError: A cost is NaN or infinite.
        """
        costs, known = self._checked_maps(prediction, target)
        return self._loss(costs, known, generator).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random costs of 4×5 maps, and the target that belongs to other costs.

        Args:
            batch_size: Number of maps.
            generator: Source of random numbers; they are drawn on its device.
            dtype: Of prediction and target.
            device: Of prediction and target.
        """
        size = (batch_size, 4, 5)
        costs, truth = example_numbers(torch.rand, size, generator=generator, dtype=dtype, device=device)
        return (costs + 1).to(dtype), self._truth(truth + 1).to(dtype)

    @abstractmethod
    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the losses of validated costs in working precision, [batch]."""

    def _truth(self, costs: Tensor) -> Tensor:
        """Return the target that belongs to true costs."""
        return self._shortest(costs)

    def _check_target(self, costs: Tensor, target: Tensor) -> None:
        """Raise unless costs and target are tensors that fit together, and the values of the target are valid."""
        advice = "It is the true path, 1 on it and 0 elsewhere."
        check_inputs(self.id, prediction=(costs, _MAPS), target=(target, "[batch, H, W]", advice))
        check_path(self.id, target)

    def _checked_maps(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return validated costs and target in working precision."""
        self._check_target(prediction, target)
        costs = working(prediction)
        check_positive(self.id, costs.detach())
        return costs, target.to(costs.dtype)

    def _checked_costs(self, costs: Tensor) -> Tensor:
        """Return validated costs [..., H, W] in working precision."""
        check_inputs(self.id, costs=(costs, "[..., H, W] floating"))
        check_positive(self.id, working(costs.detach()))
        return working(costs)

    def _grid(self, costs: Tensor) -> Grid:
        return grid(costs.shape[-2], costs.shape[-1], self.source, self.goal, self.neighbours)

    def _shortest(self, costs: Tensor) -> Tensor:
        """Return the masks of the shortest paths of validated costs [N, H, W]."""
        return solve_grid(costs.detach(), self._grid(costs))


class EstimatedPathLoss(PathLoss, EstimatedLoss, traits=Traits(event_ndim=2, order=0, transforms="autograd")):
    """Base of the losses that supply their gradient; by default piecewise constant.

    The estimators are those of `nlcore_decisions`, with the solver of grids; see `EstimatedLoss` there.
    """

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each map; arguments and errors as of `PathLoss`."""
        return self._estimate(prediction, target, generator)

    def gradient(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the gradient of each map's loss as the method defines it.

        Args:
            prediction: [batch, H, W], the predicted costs, positive.
            target: [batch, H, W], as in the call.
            generator: Random numbers; the same state as for a call gives the same draw.

        Returns:
            [batch, H, W], the dtype and device of `prediction`; not differentiable.
        """
        return self._supplied(prediction, target, generator)

    @property
    def _ndim(self) -> int:
        return 2

    def _checked(self, prediction: Tensor, target: Tensor, context: Any = None) -> tuple[Tensor, Truth]:
        costs, known = self._checked_maps(prediction, target)
        return costs, Truth(solution=known)

    def _solver(self, costs: Tensor, context: Any = None) -> Tensor:
        return self._shortest(costs)

    @property
    def _repeatable(self) -> bool:
        return True

    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._value(costs, Truth(solution=target), generator)


@dataclass(frozen=True, repr=False, kw_only=True)
class SolvedLoss(EstimatedPathLoss):
    """Base of the losses that solve changed costs; those below `min_cost` are set to it."""

    min_cost: float = 1e-3

    def _changed(self, costs: Tensor) -> Tensor:
        return costs.clamp(min=self.min_cost)


@dataclass(frozen=True, repr=False, kw_only=True)
class PerturbedLoss(SolvedLoss, traits=Traits(event_ndim=2, order=0, stochastic=True, transforms="autograd")):
    """Base of the losses that add noise of scale σ to the costs; piecewise constant for given noise."""

    num_samples: int = 3
    sigma: float = 0.5


@dataclass(frozen=True, repr=False, kw_only=True)
class SampledLoss(SampledEstimate, PerturbedLoss):
    """Base of the losses that estimate value, gradient and Hessian from the same solutions of perturbed costs."""

    control: Control = "leave_one_out"

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the estimate of the Hessian of each map, [batch, H·W, H·W]; arguments as of the call."""
        with torch.no_grad():
            costs, truth = self._checked(prediction, target)
            return self._second(costs.detach(), truth, generator).to(prediction.dtype)


def hamming(path: Tensor, target: Tensor) -> Tensor:
    """Return the number of cells in which two masks differ, [batch]; for relaxed paths Σ p(1 − t) + t(1 − p)."""
    return path_cost(1 - 2 * target, path) + target.sum(dim=(-2, -1))
