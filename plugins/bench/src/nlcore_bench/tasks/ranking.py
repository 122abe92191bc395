"""A network scores pictures of numbers, and only the order of a list is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.arms import RANKING, Arm
from nlcore_bench.data import Part, PartName, digits, draw, numbers, side_by_side
from nlcore_bench.tasks.base import Batch, Metric
from nlcore_bench.tasks.totals import DigitReader

__all__ = ["Ranking", "places_right"]

_EVALUATED = 1000  # lists in an evaluation: a standard error of at most 1.6 points


def places_right(scores: Tensor, values: Tensor) -> Tensor:
    """Say which items of a list stand in their place when the list is sorted by its scores.

    An item is right when the place that its score gives it holds its value in the sorted list, so that equal values may
    stand in either order.

    Args:
        scores: [batch, n], what the network predicts; equal scores keep the order of the list.
        values: [batch, n], the true numbers.

    Returns:
        bool [batch, n].
    """
    place = scores.argsort(dim=1, stable=True).argsort(dim=1)
    return values.sort(dim=1).values.gather(1, place) == values


@dataclass(frozen=True)
class Ranking:
    """Lists of n numbers, each a picture of handwritten digits side by side; the loss sees the order of the list.

    Attributes:
        items: n, numbers in a list.
        digits: Digits of a number.
        batch: Lists in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        hidden: Widths of the hidden layers of the network that scores one picture.
        rates: Learning rates that every arm may choose from.
    """

    items: int = 5
    digits: int = 4
    batch: int = 100
    steps: int = 500
    every: int = 25
    hidden: tuple[int, ...] = (64, 32)
    rates: tuple[float, ...] = (2e-3, 6e-3, 1.5e-2, 4e-2)

    name: ClassVar[str] = "ranking"
    arms: ClassVar[tuple[Arm, ...]] = RANKING
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("exact", "exact match", 30.0),
        Metric("items", "items in place", 60.0),
    )
    notes: ClassVar[tuple[str, ...]] = (
        "Numbers of training, validation and test are made of different scans. The learning rate of every arm was "
        "chosen on validation numbers with the same number of runs; other seeds were then measured on test numbers.",
        "Expect a small effect: the items of a list are interchangeable, so the curvature is nearly a scalar, and Adam "
        "removes scalars. A difference is taken between runs of the same seed, each at its own arm's rate.",
    )

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"Ranking {self.items} numbers of {self.digits} digits from their order"

    def settings(self) -> dict[str, Any]:
        """Return all that changes a number, arms aside, as JSON values."""
        return {**asdict(self), "evaluated_lists": _EVALUATED}

    def model(self) -> nn.Module:
        """Return a fresh network, one picture to one score."""
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
        """Return the share of lists that are right as a whole and of items in their place, in %."""
        pictures, values = _fixed_lists(part, self.items, self.digits)
        with torch.no_grad():
            right = places_right(model(pictures), values)
        return {
            "exact": 100 * right.all(dim=1).float().mean().item(),
            "items": 100 * right.float().mean().item(),
        }


def _lists(part: Part, shape: tuple[int, int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    index = draw(part, shape, generator)
    return side_by_side(part.images[index]), numbers(part.labels[index])


@cache
def _fixed_lists(part: PartName, items: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the lists of an evaluation: always the same, whatever the seed of the run."""
    return _lists(digits().part(part), (_EVALUATED, items, count), torch.Generator().manual_seed(0))
