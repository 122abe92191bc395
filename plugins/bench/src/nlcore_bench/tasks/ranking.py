"""The task of ranking: a network scores pictures of numbers from supervision of their order alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.config import RankingConfig
from nlcore_bench.data.digits import Part, PartName, digits, draw, numbers, side_by_side
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure
from nlcore_bench.tasks.totals import DigitReader

__all__ = ["Ranking", "positions_right"]

_EVALUATED = 1000  # lists in an evaluation: a standard error of at most 1.6 points


def positions_right(scores: Tensor, values: Tensor) -> Tensor:
    """Return which items of a list are in the right position when the list is sorted by its scores.

    An item is right if the sorted list has its value at the position that its score gives it, so that equal values may
    be in either order.

    Args:
        scores: [batch, n], what the network predicts; equal scores keep the order of the list.
        values: [batch, n], the true numbers.

    Returns:
        bool [batch, n].
    """
    position = scores.argsort(dim=1, stable=True).argsort(dim=1)
    return values.sort(dim=1).values.gather(1, position) == values


class Ranking(AlgorithmTask, id="bench/ranking-v1", config=RankingConfig):
    """Lists of n numbers, each a picture of handwritten digits side by side; the loss receives their order.

    Args:
        items: n, numbers in a list.
        digits: Digits of a number.
        algorithm: Id of the loss, whose target are ranks.
        algorithm_options: Options of the loss.
        batch: Lists in a step.
        hidden: Widths of the hidden layers of the network that scores one picture.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    items: int = 5
    digits: int = 4
    algorithm: str = "sorting/neuralsort-v1"
    batch: int = 100
    hidden: tuple[int, ...] = (64, 32)

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("exact", "exact match", threshold=30.0),
        Measure("items", "items in position", threshold=60.0),
    )

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from one picture to one score."""
        return DigitReader((64 * self.digits, *self.hidden, 1))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield lists of numbers with their ranks."""
        import nlcore_sorting

        scans = digits().part(part)
        generator = torch.Generator().manual_seed(seed)
        while True:
            pictures, values = _lists(scans, (self.batch, self.items, self.digits), generator)
            yield Batch(pictures, nlcore_sorting.ranks(values))

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of lists that are right as a whole, and of items in the right position, in %."""
        pictures, values = _fixed_lists(part, self.items, self.digits)
        with torch.no_grad():
            right = positions_right(network(pictures), values)
        return {
            "exact": 100 * right.all(dim=1).float().mean().item(),
            "items": 100 * right.float().mean().item(),
        }


def _lists(part: Part, shape: tuple[int, int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    index = draw(part, shape, generator)
    return side_by_side(part.images[index]), numbers(part.labels[index])


@cache
def _fixed_lists(part: PartName, items: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the lists of an evaluation, which do not depend on the seed of the run."""
    return _lists(digits().part(part), (_EVALUATED, items, count), torch.Generator().manual_seed(0))
