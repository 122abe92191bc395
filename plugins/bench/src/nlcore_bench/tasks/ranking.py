"""The task of ranking: a network scores pictures of numbers from supervision of their order alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.data.digits import Part, PartName, digits, draw, numbers, side_by_side
from nlcore_bench.methods.base import Method
from nlcore_bench.methods.ranking import RANKING
from nlcore_bench.tasks.base import Batch, Metric
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


@dataclass(frozen=True)
class Ranking:
    """Lists of n numbers, each a picture of handwritten digits side by side; the loss receives their order.

    Attributes:
        items: n, numbers in a list.
        digits: Digits of a number.
        batch: Lists in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        hidden: Widths of the hidden layers of the network that scores one picture.
        learning_rates: Learning rates that every method is tuned over.
    """

    items: int = 5
    digits: int = 4
    batch: int = 100
    steps: int = 500
    every: int = 25
    hidden: tuple[int, ...] = (64, 32)
    learning_rates: tuple[float, ...] = (2e-3, 6e-3, 1.5e-2, 4e-2)

    name: ClassVar[str] = "ranking"
    methods: ClassVar[tuple[Method, ...]] = RANKING
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("exact", "exact match", 30.0),
        Metric("items", "items in position", 60.0),
    )
    notes: ClassVar[tuple[str, ...]] = (
        "Numbers of training, validation and test are made of different scans. The learning rate of every method was "
        "chosen on validation numbers with the same number of runs; other seeds were then measured on test numbers.",
        "A small effect is expected: the items of a list are interchangeable, so that the curvature is nearly a "
        "scalar, and Adam is invariant to the scale of the gradient. A difference is between runs of the same seed, "
        "each at the learning rate of its method.",
    )

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"Ranking {self.items} numbers of {self.digits} digits from their order"

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values."""
        return {**asdict(self), "evaluated_lists": _EVALUATED}

    def model(self) -> nn.Module:
        """Return a new network, from one picture to one score."""
        return DigitReader((64 * self.digits, *self.hidden, 1))

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield lists of training numbers with their ranks."""
        import nlcore_sorting

        part = digits().train
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.steps):
            pictures, values = _lists(part, (self.batch, self.items, self.digits), generator)
            yield Batch(pictures, {"ranks": nlcore_sorting.ranks(values)})

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return the share of lists that are right as a whole, and of items in the right position, in %."""
        pictures, values = _fixed_lists(part, self.items, self.digits)
        with torch.no_grad():
            right = positions_right(model(pictures), values)
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
