"""The tasks of oscillators: a network finds the pushes that bring two coupled masses back to their first state."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nlcore
from nlcore_bench.config import LinearOscillatorsConfig, OscillatorsConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.physics import linear_oscillators, nonlinear_oscillators
from nlcore_bench.tasks.base import Batch
from nlcore_bench.tasks.simulated import SimulatedTask

__all__ = ["LinearOscillators", "Oscillators"]


class Oscillators(OscillatorsConfig, SimulatedTask):
    """Two masses with a cubic coupling have to return to their first state after 96 pushes.

    Input, context and target are the first state, U[0, 1]⁴ (two positions, two velocities, without units). The network
    predicts the pushes, [batch, 96], and the loss is half the squared distance of the last state to the first. From
    *Half-Inverse Gradients for Physical Deep Learning*, Schnell, Holl and Thuerey, ICLR 2022: 4096 samples, batches of
    128, ReLU layers of 20, 20 and 20, Runge–Kutta steps of 0.125. The right pushes are not unique, so there is no
    measure of them.

    Attributes:
        steps: Pushes, each for one step of time.
        step: Time of a step.
        samples: Samples of the training data.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    known: ClassVar[bool] = False

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return 4, self.steps

    @cached_property
    def loss(self) -> Any:
        """½‖last state − target‖², with the first state as context."""
        return nlcore.compose(lambda controls, start: self.program(controls, start, self.step))

    @staticmethod
    def program(controls: Tensor, start: Tensor, step: float) -> Tensor:
        """Return the last states [batch, 4] of pushes [batch, steps] from the first states [batch, 4]."""
        return nonlinear_oscillators(controls, start, step)

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return first states, which are their own targets."""
        start = torch.rand(count, 4, generator=generator)
        return Batch(start, start, options={"context": start})


class LinearOscillators(LinearOscillatorsConfig, Oscillators):
    """Two masses with a linear coupling have to return to their first state after 24 pushes.

    As `Oscillators`, from *Physics-based Deep Learning*, Thuerey and others, 2021, chapter *Coupled Oscillators with
    Half-Inverse Gradients*: 4096 samples, batches of 256, tanh layers of 20, 20 and 20, Runge–Kutta steps of 0.5.

    Attributes:
        steps: Pushes, each for one step of time.
        step: Time of a step.
        samples: Samples of the training data.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    activation: ClassVar[type[nn.Module]] = nn.Tanh

    @staticmethod
    def program(controls: Tensor, start: Tensor, step: float) -> Tensor:
        """Return the last states [batch, 4] of pushes [batch, steps] from the first states [batch, 4]."""
        return linear_oscillators(controls, start, step)
