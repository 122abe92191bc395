"""The task of totals: a network reads digits in a row, and only their running totals are supervised."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.config import TotalsConfig
from nlcore_bench.data.digits import Digits, PartName, digits, draw
from nlcore_bench.data.mnist import digest, mnist
from nlcore_bench.readers import DigitReader
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure

__all__ = ["Totals", "read"]

_CENTRE, _SCALE = 4.5, 3.0


def read(outputs: Tensor) -> Tensor:
    """Return the digits nearest to the outputs of the network, as floating-point numbers from 0 to 9."""
    return (outputs * _SCALE + _CENTRE).round().clamp(0, 9)


class Totals(TotalsConfig, AlgorithmTask):
    """m digits in a row are read by one shared network; the loss receives a function of them, such as running totals.

    The network predicts (digit − 4.5)/3, and the target is the function `inner` of the loss at these values. The loss
    is that of the registry, without a division by m: Adam is invariant to the scale of the gradient.

    Attributes:
        length: m, digits in a row.
        algorithm: Id of a loss with a Gauss–Newton split: `sequences/prefix_sum`, `bench/blur`, `bench/drag`.
        algorithm_options: Options of the loss.
        folder: Folder of the four IDX files of MNIST, whose 14×14 pixels are read instead of scikit-learn's digits.
        batch: Rows in a step.
        hidden: Widths of the hidden layers.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (Measure("accuracy", "digits right", threshold=50.0),)

    @cached_property
    def scans(self) -> Digits:
        """The pictures and their digits."""
        return digits() if self.folder is None else mnist(self.folder)

    def settings(self) -> dict[str, Any]:
        """Return the digest of the pictures, in place of the name of their folder."""
        return {} if self.folder is None else {"folder": digest(self.folder)}

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from the pixels of a picture to one number."""
        return DigitReader((self.scans.train.images.shape[1], *self.hidden, 1))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield rows of digits with `inner` of the true values as target, and these values for full supervision."""
        scans = self.scans.part(part)
        values = (scans.labels.float() - _CENTRE) / _SCALE
        generator = torch.Generator().manual_seed(seed)
        while True:
            index = draw(scans, (self.batch, self.length), generator)
            single = values[index]
            yield Batch(scans.images[index], self.loss.inner(single), single)

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of digits that are read right, in %."""
        scans = self.scans.part(part)
        with torch.no_grad():
            right = read(network(scans.images)) == scans.labels
        return {"accuracy": 100 * right.float().mean().item()}
