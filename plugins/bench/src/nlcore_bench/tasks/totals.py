"""The task of totals: a network reads digits in a row from supervision of their running totals alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nlcore
from nlcore.config import Configured
from nlcore_bench.config import TotalsConfig
from nlcore_bench.data.digits import PartName, digits, draw
from nlcore_bench.tasks.base import Batch, Measure, mean_loss, mlp

__all__ = ["AlgorithmTask", "DigitReader", "Totals", "read"]

_CENTRE, _SCALE = 4.5, 3.0


def read(outputs: Tensor) -> Tensor:
    """Return the digits nearest to the outputs of the network, as floating-point numbers from 0 to 9."""
    return (outputs * _SCALE + _CENTRE).round().clamp(0, 9)


class DigitReader(nn.Module):
    """A network that reads every picture of a row.

    Args:
        widths: Widths of its layers, the first the pixels of a picture, the last 1.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = mlp(widths)

    def forward(self, images: Tensor) -> Tensor:
        """Return one number per picture: [*, pixels] to [*]."""
        outputs: Tensor = self.layers(images)
        return outputs.squeeze(-1)


class AlgorithmTask(Configured):
    """Base of the tasks with a loss of the registry; on request its held-out mean is a last measure.

    Attributes:
        outputs: The measures of the outputs.
    """

    algorithm: str
    algorithm_options: dict[str, Any]
    loss_batches: int
    outputs: ClassVar[tuple[Measure, ...]]

    @cached_property
    def loss(self) -> Any:
        """The loss of the task."""
        return nlcore.make(self.algorithm, **self.algorithm_options)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures of the outputs, and the held-out loss if `loss_batches` asks for it."""
        return (
            (*self.outputs, Measure("loss", "held-out loss", "lower", unit="")) if self.loss_batches else self.outputs
        )

    def evaluate(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return every measure on one part of the data."""
        count = self.loss_batches
        return {**self.read(network, part), **({"loss": mean_loss(self, network, part, count)} if count else {})}

    @abstractmethod
    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the measures of the outputs."""

    @abstractmethod
    def network(self, seed: int) -> nn.Module:
        """Return a new network."""

    @abstractmethod
    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield batches without end."""


class Totals(AlgorithmTask, id="bench/totals-v1", config=TotalsConfig):
    """m digits in a row are read by one shared network; the loss receives a function of them, as their running totals.

    The network predicts (digit − 4.5)/3, and the target is the function `inner` of the loss at these values. The loss
    is that of the registry, without a division by m: Adam is invariant to the scale of the gradient.

    Args:
        length: m, digits in a row.
        algorithm: Id of a loss with a Gauss–Newton split: `sequences/prefix_sum`, `bench/blur`, `bench/drag`.
        algorithm_options: Options of the loss.
        batch: Rows in a step.
        hidden: Widths of the hidden layers.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    length: int = 16
    algorithm: str = "sequences/prefix_sum-v1"
    algorithm_options: dict[str, Any] = field(default_factory=dict)
    batch: int = 50
    hidden: tuple[int, ...] = (128, 64)
    loss_batches: int = 0

    outputs: ClassVar[tuple[Measure, ...]] = (Measure("accuracy", "digits right", threshold=50.0),)

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from 64 pixels to one number."""
        return DigitReader((64, *self.hidden, 1))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield rows of digits with the features of the true values, and these for full supervision."""
        scans = digits().part(part)
        values = (scans.labels.float() - _CENTRE) / _SCALE
        generator = torch.Generator().manual_seed(seed)
        while True:
            index = draw(scans, (self.batch, self.length), generator)
            single = values[index]
            yield Batch(scans.images[index], self.loss.inner(single), single)

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of single digits that are read right, in %."""
        scans = digits().part(part)
        with torch.no_grad():
            right = read(network(scans.images)) == scans.labels
        return {"accuracy": 100 * right.float().mean().item()}
