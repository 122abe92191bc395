"""The inverse problems: temperature at an earlier time, a blurred signal, the parameters of a pendulum."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nlcore
from nlcore_bench.config import DeblurringConfig, HeatConfig, PendulumConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.photograph import signals
from nlcore_bench.physics import diffused, pendulum
from nlcore_bench.simulators import blurred
from nlcore_bench.tasks.base import Batch
from nlcore_bench.tasks.simulated import SimulatedTask

__all__ = ["Deblurring", "Heat", "Pendulum", "rectangles"]


def rectangles(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return temperatures on a square with four hot or cold rectangles, [count, size·size], row by row.

    A rectangle has sides of 2 to size/2 cells and a temperature from N(0, 1); where some overlap they add up.

    Args:
        count: Number of squares.
        size: Cells on a side.
        generator: Generator of the random numbers.
    """
    found, cells = torch.zeros(count, size, size), torch.arange(size)
    for _ in range(4):
        sides = torch.randint(2, size // 2 + 1, (2, count, 1), generator=generator)
        corners = (torch.rand(2, count, 1, generator=generator) * (size - sides + 1)).long()
        rows, columns = (cells >= corners) & (cells < corners + sides)
        heat = torch.randn(count, 1, 1, generator=generator)
        found += heat * (rows.unsqueeze(2) & columns.unsqueeze(1))
    return found.flatten(1)


class Heat(HeatConfig, SimulatedTask):
    """A network finds the temperature at an earlier time from that at a later one.

    The first temperature on a periodic square of 12×12 cells is the sum of four random rectangles (`rectangles`,
    without units). It spreads by u_t = κ·Δu. The network sees the later temperature and predicts the first one, [batch,
    144] both; the loss is half the squared distance of its later temperature to the given one. After the heat equation
    in *Scale-invariant Learning by Physics Inversion*, Holl, Koltun and Thuerey, NeurIPS 2022, on a smaller square. The
    loss declares its constant curvature. The error is that of the first temperature, relative to its norm.

    Attributes:
        size: Cells on a side.
        spread: √(2κt) in cells, the standard deviation to which a hot point has spread.
        samples: Samples of the training data.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return self.size**2, self.size**2

    @cached_property
    def loss(self) -> Any:
        """½‖temperature after the time − target‖²."""
        traits = nlcore.Traits(constant_curvature=True, psd_hessian=True)
        return nlcore.compose(lambda first: diffused(first, self.size, self.spread), traits=traits)

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return later temperatures with the first ones as outputs."""
        first = rectangles(count, self.size, generator)
        later = diffused(first, self.size, self.spread)
        return Batch(later, later, first)


class Deblurring(DeblurringConfig, SimulatedTask):
    """A network restores pieces of the rows of a photograph from their blurred, noisy image.

    The signals are those of `nlcore_bench.data.photograph.signals`: `china.jpg` of scikit-learn, in units of their
    standard deviation. The network sees blurred signal plus noise and predicts the signal, [batch, length] both; the
    loss is half the squared distance of the blurred prediction to what it sees. The error is that of the signal,
    relative to its norm. The noise of a sample is drawn once.

    Attributes:
        length: Pixels of a signal.
        width: Standard deviation of the Gaussian blur in pixels.
        noise: Standard deviation of the noise, in the unit of the signals.
        samples: Samples of the training data, at most as many as the photograph has.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return self.length, self.length

    @cached_property
    def loss(self) -> Any:
        """½‖blurred prediction − target‖²."""
        return nlcore.compose(lambda signal: blurred(signal, self.width))

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return blurred signals with the sharp ones as outputs."""
        known = signals(part, self.length)
        sharp = known[torch.randperm(len(known), generator=generator)[:count]]
        seen = blurred(sharp, self.width) + self.noise * torch.randn(sharp.shape, generator=generator)
        return Batch(seen, seen, sharp)


class Pendulum(PendulumConfig, SimulatedTask):
    """A network finds frequency, damping and first state of a damped pendulum from its angles.

    The parameters, N(0, 1)⁴, are those of `nlcore_bench.physics.pendulum`: they stand for a frequency and a damping in
    1/s, an angle and its speed. The network sees the angles after 40 steps of 0.1 s, [batch, 40] in radians, and
    predicts the parameters, [batch, 4]; the loss is half the squared distance of their trajectory to the given one.
    The error is that of the parameters, relative to their norm.

    Attributes:
        steps: Observed angles.
        samples: Samples of the training data.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    activation: ClassVar[type[nn.Module]] = nn.Tanh

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return self.steps, 4

    @cached_property
    def loss(self) -> Any:
        """½‖trajectory − target‖²."""
        return nlcore.compose(lambda parameters: pendulum(parameters, self.steps))

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return trajectories with their parameters as outputs."""
        parameters = torch.randn(count, 4, generator=generator)
        angles = pendulum(parameters, self.steps)
        return Batch(angles, angles, parameters)
