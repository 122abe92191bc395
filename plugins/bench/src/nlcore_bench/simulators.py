"""Differentiable programs with an ill-conditioned Jacobian, made into losses with `nlcore.compose`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import nlcore
from nlcore.newton import Composed
from nlcore_bench.config import BlurConfig, DragConfig

__all__ = ["Blur", "Drag", "Simulator", "blurred", "driven"]


def blurred(signal: Tensor, width: float) -> Tensor:
    """Return a signal after a Gaussian blur.

    Args:
        signal: [batch, m].
        width: Standard deviation of the blur, in steps of the signal.

    Returns:
        [batch, m]; every output is a weighted mean of its neighbours.
    """
    position = torch.arange(signal.shape[-1], dtype=signal.dtype, device=signal.device)
    weight = (-0.5 * ((position.unsqueeze(-1) - position) / width).square()).exp()
    return signal @ (weight / weight.sum(-1, keepdim=True)).mT


def driven(controls: Tensor, drag: float, step: float) -> Tensor:
    """Return the path of a pushed body with quadratic drag.

    x' = v, v' = u − c·v·|v|, integrated by the semi-implicit Euler rule from rest. With drag, the Jacobian
    differs between samples.

    Args:
        controls: [batch, m], the push u at each time.
        drag: c, per unit of length.
        step: The time between two pushes.

    Returns:
        [batch, m], the positions x after each push.
    """
    position, speed = torch.zeros_like(controls[:, 0]), torch.zeros_like(controls[:, 0])
    positions = []
    for push in controls.unbind(-1):
        speed = speed + step * (push - drag * speed * speed.abs())
        position = position + step * speed
        positions.append(position)
    return torch.stack(positions, dim=-1)


@dataclass(frozen=True, kw_only=True)
class Simulator(ABC):
    """½‖simulated(prediction) − target‖² of each sample, prediction and target [batch, m], by `nlcore.compose`."""

    traits: ClassVar[nlcore.Traits] = nlcore.Traits()

    @abstractmethod
    def inner(self, prediction: Tensor) -> Tensor:
        """Return the output of the simulator for the prediction, [batch, m]."""

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return ½‖features − target‖², [batch]."""
        return self._composed.outer(features, target)

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        return self._composed(prediction, target)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return random signals and the output of the simulator for others, [batch, 6] both."""
        prediction, truth = torch.randn(2, batch_size, 6, generator=generator, dtype=dtype, device=device)
        return prediction, self.inner(truth)

    @property
    def _composed(self) -> Composed:
        return nlcore.compose(self.inner)


@dataclass(frozen=True, kw_only=True)
class Blur(Simulator):
    r"""A signal through a Gaussian blur.

    With the matrix B of Gaussian weights, whose rows add up to 1,

    $$
    \ell(y, t) = \tfrac12 \lVert B y - t \rVert^2, \qquad B_{ij} \propto e^{-(i - j)^2 / (2 \cdot \text{width}^2)}.
    $$

    B is constant, and its singular values decay like a Gaussian.

    Shape:
        - prediction: `[batch, m]`, the signal.
        - target: `[batch, m]`, the blurred signal, the dtype of the prediction.
        - value: half the squared distance of the blurred signals.

    Cost:
        Time O(m²) per sample.

    When it fails:
        Fine detail of the signal is almost lost: noise of the target is amplified in it.

    Args:
        width: Standard deviation of the blur, in steps of the signal.
    """

    width: float = 2.0

    def __post_init__(self) -> None:
        BlurConfig(width=self.width)

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the blurred signal, [batch, m]."""
        return blurred(prediction, self.width)


@dataclass(frozen=True, kw_only=True)
class Drag(Simulator):
    r"""A body with quadratic drag under given pushes.

    With the path $x(y)$ of a body that the pushes $y$ accelerate,

    $$
    \ell(y, t) = \tfrac12 \lVert x(y) - t \rVert^2, \qquad \dot x = v, \qquad \dot v = y - c\, v |v|,
    $$

    integrated by the semi-implicit Euler rule from rest.

    Shape:
        - prediction: `[batch, m]`, the push at each time.
        - target: `[batch, m]`, the positions after each push, the dtype of the prediction.
        - value: half the squared distance of the paths.

    Cost:
        Time O(m) per sample, in a loop over the times.

    When it fails:
        The Jacobian depends on the speed and differs between samples, so that one matrix for the whole batch is a poor
        approximation for each of them.

    Args:
        drag: c of v' = u − c·v·|v|, per unit of length.
        step: The time between two pushes.
    """

    drag: float = 0.5
    step: float = 0.3

    def __post_init__(self) -> None:
        DragConfig(drag=self.drag, step=self.step)

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the positions, [batch, m]."""
        return driven(prediction, self.drag, self.step)
