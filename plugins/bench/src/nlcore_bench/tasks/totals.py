"""A network reads digits in a row, and only the running totals are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.arms import TOTALS, Arm
from nlcore_bench.data import PartName, digits, draw
from nlcore_bench.tasks.base import Batch, Metric, mlp

__all__ = ["DigitReader", "Totals", "read"]

_CENTRE, _SCALE = 4.5, 3.0


def read(outputs: Tensor) -> Tensor:
    """Return the digits nearest to the outputs of the network, as floating-point numbers from 0 to 9."""
    return (outputs * _SCALE + _CENTRE).round().clamp(0, 9)


class DigitReader(nn.Module):
    """One network for every picture of a row.

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
    """m digits in a row are read by one shared network; the loss sees their running totals.

    The network predicts (digit − 4.5)/3, and the totals are sums of that. The loss is used as the registry has it,
    without a division by m: such a constant changes nothing under Adam, whose step does not depend on the scale of the
    gradient; the limit of the clipping arm is the one that belongs to this scale.

    Attributes:
        length: m, digits in a row.
        batch: Rows in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        hidden: Widths of the hidden layers.
        rates: Learning rates that every arm may choose from.
    """

    length: int = 16
    batch: int = 50
    steps: int = 500
    every: int = 25
    hidden: tuple[int, ...] = (128, 64)
    rates: tuple[float, ...] = (1e-3, 3e-3, 5e-3, 1e-2, 2e-2)

    name: ClassVar[str] = "totals"
    arms: ClassVar[tuple[Arm, ...]] = TOTALS
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy", "digits right", 50.0),)
    notes: ClassVar[tuple[str, ...]] = (
        "Digits of training, validation and test are different scans. The learning rate of every arm was chosen on "
        "validation digits with the same number of runs; other seeds were then measured on the test digits.",
        "Every arm but 'every digit supervised' knows the totals alone. That arm is the reference one would wish for; "
        "compare the training column before reading a gain above it as better optimisation.",
        "Differencing the totals by hand gives the digits here. For a filter, a simulator or an opaque program nobody "
        "can; the sum is the case that can be checked.",
        "Clipping catches up in part with more steps. Its limit, and the dampings of the curvatures, were fixed "
        "beforehand.",
    )

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"Reading {self.length} digits from their running totals"

    def settings(self) -> dict[str, Any]:
        """Return all that changes a number, arms aside, as JSON values."""
        return asdict(self)

    def model(self) -> nn.Module:
        """Return a fresh network, 64 pixels to one number."""
        return DigitReader((64, *self.hidden, 1))

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield rows of training digits with the totals, and with the digits for the reference arm."""
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
