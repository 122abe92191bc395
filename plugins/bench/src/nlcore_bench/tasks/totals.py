"""The task of totals: a network reads digits in a row from supervision of their running totals alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.data.digits import PartName, digits, draw
from nlcore_bench.methods.base import Method
from nlcore_bench.methods.totals import TOTALS
from nlcore_bench.tasks.base import Batch, Metric, mlp

__all__ = ["DigitReader", "Totals", "read"]

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


@dataclass(frozen=True)
class Totals:
    """m digits in a row are read by one shared network; the loss receives their running totals.

    The network predicts (digit − 4.5)/3, and the totals are sums of that. The loss is that of the registry, without a
    division by m: Adam is invariant to the scale of the gradient, and the limit of the clipping method fits this scale.

    Attributes:
        length: m, digits in a row.
        batch: Rows in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        hidden: Widths of the hidden layers.
        learning_rates: Learning rates that every method is tuned over.
    """

    length: int = 16
    batch: int = 50
    steps: int = 500
    every: int = 25
    hidden: tuple[int, ...] = (128, 64)
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 5e-3, 1e-2, 2e-2)

    name: ClassVar[str] = "totals"
    methods: ClassVar[tuple[Method, ...]] = TOTALS
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy", "digits right", 50.0),)
    notes: ClassVar[tuple[str, ...]] = (
        "Digits of training, validation and test are different scans. The learning rate of every method was chosen on "
        "validation digits with the same number of runs; other seeds were then measured on the test digits.",
        "Every method except 'every digit supervised' receives the totals alone; that one is the reference. Compare "
        "the training column before reading a gain above the reference as better optimisation.",
        "Here the digits are the differences of the totals. A filter, a simulator or an opaque program cannot be "
        "inverted like that; the sum is the case that can be checked.",
        "Clipping partly catches up with more steps. Its limit, and the dampings of the curvatures, were fixed "
        "beforehand.",
    )

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"Reading {self.length} digits from their running totals"

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values."""
        return asdict(self)

    def model(self) -> nn.Module:
        """Return a new network, from 64 pixels to one number."""
        return DigitReader((64, *self.hidden, 1))

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield rows of training digits with the totals, and the digits for the reference."""
        part = digits().train
        values = (part.labels.float() - _CENTRE) / _SCALE
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.steps):
            index = draw(part, (self.batch, self.length), generator)
            single = values[index]
            yield Batch(part.images[index], {"digits": single, "totals": single.cumsum(dim=1)})

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of single digits that are read right, in %."""
        scans = digits().part(part)
        with torch.no_grad():
            right = read(model(scans.images)) == scans.labels
        return {"accuracy": 100 * right.float().mean().item()}
