"""The task of ranking: a network scores pictures of numbers from supervision of their order alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.config import RankingConfig
from nlcore_bench.data.digits import Digits, Part, PartName, digits, draw, numbers, side_by_side
from nlcore_bench.data.mnist import digest, mnist
from nlcore_bench.readers import ConvReader, DigitReader
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure

__all__ = ["Ranking", "exchanged", "positions_right"]

_EVALUATED = 1000  # lists in an evaluation: a standard error of at most 1.6 points
_AT_ONCE = 100  # lists that a convolution reads together, to need less memory


def positions_right(scores: Tensor, values: Tensor) -> Tensor:
    """Return which items are in the right position when the list is sorted by its scores.

    An item is right if the list sorted by true values has the item's value at that position; equal values may be in any
    order.

    Args:
        scores: [batch, n], what the network predicts; equal scores keep the order of the list.
        values: [batch, n], the true numbers.

    Returns:
        bool [batch, n].
    """
    position = scores.argsort(dim=1, stable=True).argsort(dim=1)
    return values.sort(dim=1).values.gather(1, position) == values


def exchanged(ranks: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return ranks with an error in some lists: two random items have exchanged their ranks.

    Args:
        ranks: int64 [batch, n], n ≥ 2.
        share: Probability that a list has the error.
        generator: Generator of the random numbers.
    """
    pair = torch.rand(ranks.shape, generator=generator).argsort(dim=1)[:, :2]
    wrong = torch.rand(len(ranks), 1, generator=generator) < share
    found = ranks.gather(1, pair)
    return ranks.scatter(1, pair, torch.where(wrong, found.flip(1), found))


class Ranking(RankingConfig, AlgorithmTask):
    """Lists of n numbers, each a picture of handwritten digits side by side; the loss receives their order.

    Attributes:
        items: n, numbers in a list.
        digits: Digits of a number.
        algorithm: Id of the loss, whose target are ranks.
        algorithm_options: Options of the loss.
        folder: Folder of the four IDX files of MNIST, which are read instead of scikit-learn's digits.
        pool: Side of the squares of MNIST's pixels whose mean is a pixel: 1, 2 or 4.
        batch: Lists in a step.
        reader: `"mlp"`, or `"conv"` for two convolutions of 5×5 with max-pooling and a hidden layer.
        hidden: Widths of the hidden layers of the network that scores one picture; the first alone with `"conv"`.
        channels: Channels of both convolutions.
        exchanged: Share of the training lists in which two items have exchanged their ranks.
        transfer: Numbers in the lists of a second evaluation; 0 for none.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("exact", "exact match", threshold=30.0),
        Measure("items", "items in position", threshold=60.0),
    )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures, with those of the lists of another length if `transfer` asks for them."""
        n = self.transfer
        others = (Measure("exact_transfer", f"exact match, n = {n}"), Measure("items_transfer", f"items, n = {n}"))
        return (*super().measures, *(others if n else ()))

    @property
    def scans(self) -> Digits:
        """The pictures and their digits."""
        return _scans(self.folder, self.pool)

    def settings(self) -> dict[str, Any]:
        """Return the digest of the pictures, in place of the name of their folder."""
        return {} if self.folder is None else {"folder": digest(self.folder)}

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from one picture to one score."""
        pixels = self.scans.train.images.shape[1]
        if self.reader == "conv":
            return ConvReader(pixels, self.digits, self.channels, self.hidden[0])
        return DigitReader((pixels * self.digits, *self.hidden, 1))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield lists of numbers with their ranks, which in the training data may be wrong, see `exchanged`."""
        import nlcore_sorting

        scans = self.scans.part(part)
        generator = torch.Generator().manual_seed(seed)
        while True:
            pictures, values = _lists(scans, (self.batch, self.items, self.digits), generator)
            ranks = nlcore_sorting.ranks(values)
            if self.exchanged and part == "train":
                ranks = exchanged(ranks, self.exchanged, generator)
            yield Batch(pictures, ranks)

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the shares of entirely right lists and of items in the right position, in %."""
        found = self._read(network, part, self.items)
        others = self._read(network, part, self.transfer) if self.transfer else {}
        return {**found, **{f"{name}_transfer": value for name, value in others.items()}}

    def _read(self, network: nn.Module, part: PartName, items: int) -> dict[str, float]:
        pictures, values = _fixed_lists(part, items, self.digits, self.folder, self.pool)
        with torch.no_grad():
            some = _AT_ONCE if self.reader == "conv" else len(pictures)
            scores = torch.cat([network(one) for one in torch.split(pictures, some)])
        right = positions_right(scores, values)
        return {
            "exact": 100 * right.all(dim=1).float().mean().item(),
            "items": 100 * right.float().mean().item(),
        }


def _scans(folder: str | None, pool: int) -> Digits:
    return digits() if folder is None else mnist(folder, pool)


def _lists(part: Part, shape: tuple[int, int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    index = draw(part, shape, generator)
    return side_by_side(part.images[index]), numbers(part.labels[index])


@cache
def _fixed_lists(
    part: PartName, items: int, count: int, folder: str | None = None, pool: int = 2
) -> tuple[Tensor, Tensor]:
    """Return the lists of an evaluation, which do not depend on the seed of the run."""
    scans = _scans(folder, pool).part(part)
    return _lists(scans, (_EVALUATED, items, count), torch.Generator().manual_seed(0))
