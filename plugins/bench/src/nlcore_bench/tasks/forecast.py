"""The task of forecasts: a network continues a series, and an opaque loss compares up to shifts in time."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlcore_bench.config import ForecastConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.physics import soft_dtw_divergence
from nlcore_bench.tasks.base import Batch
from nlcore_bench.tasks.simulated import SimulatedTask

__all__ = ["Forecast", "series"]


def series(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return cylinders, bells and funnels of unit height, [count, length].

    *Local Feature Extraction and its Application Using a Library of Bases*, Saito, 1994: an event from a to b stays
    high, rises or falls. In units of the length a is from U[⅛, ¼] and b − a from U[¼, ¾]. The height is
    (6 + N(0, 1))/6, and the noise of every point N(0, 1)/6.

    Args:
        count: Number of series.
        length: Points of a series.
        generator: Generator of the random numbers.
    """
    begin = length * (0.125 + 0.125 * torch.rand(count, 1, generator=generator))
    width = length * (0.25 + 0.5 * torch.rand(count, 1, generator=generator))
    height = 6 + torch.randn(count, 1, generator=generator)
    kind = torch.randint(3, (count, 1), generator=generator)
    share = (torch.arange(length) - begin) / width
    inside = (share >= 0) & (share <= 1)
    shape = torch.where(kind == 0, torch.ones(()), torch.where(kind == 1, share, 1 - share))
    return (height * inside * shape + torch.randn(count, length, generator=generator)) / 6


class Forecast(ForecastConfig, SimulatedTask):
    """A network continues a series from its first half, under a loss that tolerates shifts in time.

    The series are those of `series`. The network sees the first half and predicts the second, [batch, length/2] both;
    the loss is the soft-DTW divergence of prediction and second half, as a plain function that supplies neither
    gradient, Hessian nor split. After *Soft-DTW: a Differentiable Loss Function for Time-Series*, Cuturi and Blondel,
    ICML 2017. The second half itself is the target for full supervision, which does not tolerate shifts.

    Attributes:
        length: Points of a series, an even number.
        gamma: Temperature of the soft minimum, in the unit of a squared difference.
        samples: Samples of the training data.
        batch: Samples in a step.
        hidden: Widths of the hidden layers.
    """

    known: ClassVar[bool] = False

    @property
    def widths(self) -> tuple[int, int]:
        """Two halves."""
        return self.length // 2, self.length // 2

    @cached_property
    def loss(self) -> Any:
        """The soft-DTW divergence, a plain function."""
        return partial(soft_dtw_divergence, gamma=self.gamma)

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return first halves with the second ones as target and outputs."""
        first, second = series(count, self.length, generator).chunk(2, 1)
        return Batch(first, second, second)
