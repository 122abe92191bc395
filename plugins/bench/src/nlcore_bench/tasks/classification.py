"""The task of classification: digits by cross-entropy, where no algorithm stands in the loss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from nlcore_bench.config import ClassificationConfig
from nlcore_bench.data.digits import Digits, PartName, digits, draw
from nlcore_bench.data.mnist import digest, mnist
from nlcore_bench.readers import ConvReader
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure, mlp

__all__ = ["Classification"]

_CLASSES = 10


class Classification(ClassificationConfig, AlgorithmTask):
    """Handwritten digits are classified; the loss is the softmax cross-entropy of ten logits.

    Attributes:
        algorithm: Id of the loss, of logits and classes.
        algorithm_options: Options of the loss.
        folder: Folder of the four IDX files of MNIST, which are read instead of scikit-learn's digits.
        pool: Side of the squares of MNIST's pixels whose mean is a pixel: 1, 2 or 4.
        batch: Pictures in a step.
        reader: `"mlp"`, or `"conv"` for two convolutions of 5×5 with max-pooling and a hidden layer.
        hidden: Widths of the hidden layers; none is a linear model; the first alone with `"conv"`.
        channels: Channels of both convolutions.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (Measure("accuracy", "accuracy", threshold=90.0),)

    @cached_property
    def scans(self) -> Digits:
        """The pictures and their digits."""
        return digits() if self.folder is None else mnist(self.folder, self.pool)

    def settings(self) -> dict[str, Any]:
        """Return the digest of the pictures, in place of the name of their folder."""
        return {} if self.folder is None else {"folder": digest(self.folder)}

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from the pixels of a picture to ten logits."""
        pixels = self.scans.train.images.shape[1]
        if self.reader == "conv":
            return ConvReader(pixels, 1, self.channels, self.hidden[0], _CLASSES)
        return mlp((pixels, *self.hidden, _CLASSES))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield pictures with their classes."""
        scans = self.scans.part(part)
        generator = torch.Generator().manual_seed(seed)
        while True:
            index = draw(scans, (self.batch,), generator)
            yield Batch(scans.images[index], scans.labels[index])

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of pictures that are classified right, in %; of at most 10 000."""
        scans = self.scans.part(part)
        with torch.no_grad():
            right = network(scans.images[:10_000]).argmax(1) == scans.labels[:10_000]
        return {"accuracy": 100 * right.float().mean().item()}
