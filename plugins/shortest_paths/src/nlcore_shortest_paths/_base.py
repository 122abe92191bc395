"""What all losses here have in common: the call, the checks, the example, identity and immutability."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.protocol import Traits
from nlcore_shortest_paths._checks import check_costs, check_mask, check_positive, working
from nlcore_shortest_paths._grid import Grid, grid
from nlcore_shortest_paths.config import Control
from nlcore_shortest_paths.perturbed import draw_noise, solutions
from nlcore_shortest_paths.solvers import path_cost, solve_grid

__all__ = ["EstimatedLoss", "PathLoss", "SampledLoss"]

_EXAMPLE = (4, 5)


class PathLoss(Configured, ABC):
    """Base of the losses whose prediction is the costs of maps, [batch, H, W].

    A cell is a node with a cost; a path pays for each cell that it visits, both ends counted. Costs must be positive.
    Half precision is computed in float32 and rounded at the end. Objects are immutable, hashable, equal by their
    options, and serve maps of every size.
    """

    id: ClassVar[str]
    source: tuple[int, int]
    goal: tuple[int, int]
    neighbours: Literal[4, 8]

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the engine may assume."""

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each map.

        Args:
            prediction: [batch, H, W], the predicted costs, positive.
            target: [batch, H, W], the true path, 1 on it and 0 elsewhere, any dtype (for SPO+ the true costs).
            generator: Random numbers of a stochastic loss.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, costs are not positive, or the target is no mask.
            NonFiniteError: A cost is NaN or infinite.
        """
        costs, known = self._checked(prediction, target)
        return self._loss(costs, known, generator).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random costs of small maps, and the target that belongs to other costs.

        Args:
            batch_size: Number of maps.
            generator: Source of random numbers; they are drawn on its device.
            dtype: Of prediction and target.
            device: Of prediction and target.
        """
        place = generator.device if generator is not None else device
        shape = (2, batch_size, *_EXAMPLE)
        draw = torch.float64 if dtype == torch.float64 else torch.float32
        costs, truth = torch.rand(shape, generator=generator, dtype=draw, device=place).to(device) + 1
        return costs.to(dtype), self._truth(truth).to(dtype)

    @abstractmethod
    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the losses of checked costs in working precision, [batch]."""

    def _truth(self, costs: Tensor) -> Tensor:
        """Return the target that belongs to true costs."""
        return self._shortest(costs)

    def _check_target(self, costs: Tensor, target: Tensor) -> None:
        check_mask(self.id, costs, target)

    def _checked(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        check_costs(self.id, prediction, batch=True)
        self._check_target(prediction, target)
        costs = working(prediction)
        check_positive(self.id, costs.detach())
        return costs, target.to(costs.dtype)

    def _grid(self, costs: Tensor) -> Grid:
        return grid(costs.shape[-2], costs.shape[-1], self.source, self.goal, self.neighbours)

    def _shortest(self, costs: Tensor) -> Tensor:
        """Return the masks of the shortest paths of [N, H, W] costs that are known to be fit."""
        return solve_grid(costs.detach(), self._grid(costs))


class EstimatedLoss(PathLoss):
    """Base of the losses that bring a gradient of their own.

    The value is connected to the prediction by that gradient, so that `loss(prediction, target).mean().backward()`
    trains as the method's paper does; it is computed only when it is needed.
    """

    def gradient(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the gradient of each map's loss as the method defines it.

        Args:
            prediction: [batch, H, W], the predicted costs, positive.
            target: [batch, H, W], as in the call.
            generator: Random numbers; in the same state as for a call, the same draw.

        Returns:
            [batch, H, W], the dtype and device of `prediction`; not differentiable.
        """
        costs, known = self._checked(prediction, target)
        with torch.no_grad():
            return self._gradient(costs.detach(), known, generator)[1].to(prediction.dtype)

    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        if not (torch.is_grad_enabled() and costs.requires_grad):
            return self._value(costs.detach(), target, generator)
        with torch.no_grad():
            value, gradient = self._gradient(costs.detach(), target, generator)
        connected: Tensor = _Connected.apply(costs, value, gradient)  # type: ignore[no-untyped-call]
        return connected

    @abstractmethod
    def _value(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the losses, [batch]."""

    @abstractmethod
    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return losses [batch] and gradients [batch, H, W] from the same draw as `_value` makes."""


class SampledLoss(EstimatedLoss):
    """Base of the losses that read value, gradient and Hessian off the same solutions of perturbed costs."""

    min_cost: float
    num_samples: int
    sigma: float
    control: Control

    def _samples(self, costs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise, perturbed costs and their shortest paths, each [S, batch, H, W]."""
        noise = draw_noise(costs, self.num_samples, control=self.control, generator=generator)
        perturbed = (self.sigma * noise).add_(costs).clamp_(min=self.min_cost)
        return noise, perturbed, solutions(self._shortest, perturbed)


class _Connected(torch.autograd.Function):
    """A value whose backward pass hands on a gradient that was computed beside it."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0][:, None, None] * gradient, None, None


def hamming(path: Tensor, target: Tensor) -> Tensor:
    """Return in how many cells two masks differ, [batch]; for spread-out paths Σ p(1 − t) + t(1 − p)."""
    return path_cost(1 - 2 * target, path) + target.sum(dim=(-2, -1))
