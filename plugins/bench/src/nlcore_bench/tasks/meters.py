"""The task of meters: a network finds the hourly flow through a meter from readings at some hours."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import nlcore
from nlcore.errors import ConfigError
from nlcore_bench.config import MetersConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.water import chow_lin, flows, persistence
from nlcore_bench.tasks.base import Batch, Measure
from nlcore_bench.tasks.simulated import SimulatedTask

__all__ = ["Meters"]


def _known(features: Tensor, target: Tensor) -> Tensor:
    """Return half the squared distance to the readings; NaN marks hours without one."""
    return torch.where(target.isnan(), 0.0, features - target.nan_to_num()).square().sum(1) / 2


class Meters(MetersConfig, SimulatedTask):
    """A network finds the hourly flow of water behind a meter from its totals of a few hours each.

    The flow is that of `nlcore_bench.data.water.flows`. The network sees the totals of the blocks of a window and
    predicts its hours. Its only supervision is the meter: the total flow since the beginning of the window, read with
    an error at some hours. The loss is half the squared distance of the running totals at these hours.

    The error is that of the hours, relative to their norm about the mean; `over_chow_lin` is the same in units of the
    error of Chow and Lin's disaggregation of the same totals.

    Attributes:
        hours: Hours of a window, a multiple of `blocks`.
        blocks: Totals that the network sees.
        readings: Readings of the meter in every window, one of them at the last hour.
        noise: Standard deviation of the error of a reading, in units of that of an hourly flow.
        samples: Largest number of windows in the training data.
        batch: Windows in a step.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.hours % self.blocks or self.readings > self.hours:
            raise ConfigError(
                f"bench/meters: hours={self.hours} must be a multiple of blocks={self.blocks}, and at least "
                f"readings={self.readings}."
            )

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return self.blocks, self.hours

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The error of the hours, the same in units of Chow and Lin's, and the held-out loss."""
        error, loss = super().measures
        return error, Measure("over_chow_lin", "error over that of Chow–Lin", "lower", unit=""), loss

    @cached_property
    def loss(self) -> Any:
        """½‖running totals − readings‖² over the hours with a reading."""
        return nlcore.compose(lambda hours: hours.cumsum(1), _known)

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return totals of blocks, readings of the meter with NaN between them, and the hours."""
        hours = flows(part, self.hours)
        order = torch.randperm(len(hours), generator=generator)[:count]
        hours = hours[order]
        readings = hours.cumsum(1) + self.noise * torch.randn(hours.shape, generator=generator)
        chance = torch.rand(hours.shape, generator=generator)
        chance[:, -1] = 2.0
        least = chance.topk(self.readings, 1).values[:, -1:]
        return Batch(self._totals(hours), torch.where(chance >= least, readings, torch.nan), hours)

    def _totals(self, hours: Tensor) -> Tensor:
        return hours.view(len(hours), self.blocks, -1).sum(2)

    def evaluate(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the measures on a part."""
        found = super().evaluate(network, part)
        return {"error": found["error"], "over_chow_lin": found["error"] / self.chow_lin_error(part), **found}

    def chow_lin_error(self, part: PartName) -> float:
        """Return the relative error of Chow and Lin's disaggregation on a part."""
        hours = self.part(part).outputs
        if hours is None:
            raise ConfigError("bench/meters: the windows have no hours.")
        answer = chow_lin(self._totals(hours), self.hours, persistence(self.hours, self.blocks))
        return float((answer - hours).norm() / hours.norm())
