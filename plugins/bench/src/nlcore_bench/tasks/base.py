"""The protocol of a task, with what it is made of: batches and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from torch import Tensor, nn

from nlcore_bench.data.digits import PartName
from nlcore_bench.methods.base import Method

__all__ = ["Batch", "Metric", "Task", "mlp"]


@dataclass(frozen=True)
class Batch:
    """The data of one step.

    Attributes:
        inputs: Input of the model.
        targets: Possible targets by name; a method chooses one with its `supervision`.
        mask: bool, True at outputs that are padding; `None` without padding.
    """

    inputs: Tensor
    targets: Mapping[str, Tensor]
    mask: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """A share in %; more is better.

    Attributes:
        name: Key of the evaluation.
        label: Name in tables and on axes.
        threshold: Value for which the number of steps to reach it is reported.
    """

    name: str
    label: str
    threshold: float


class Task(Protocol):
    """A training task: a frozen dataclass of its settings, cheap to send to another process."""

    @property
    def name(self) -> str:
        """Name of the command and of the folder of results."""

    @property
    def title(self) -> str:
        """One line above tables and pictures."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader of the numbers."""

    @property
    def methods(self) -> tuple[Method, ...]:
        """All methods, in the order of the table."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics; the first one chooses the learning rate."""

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates that every method is tuned over."""

    @property
    def steps(self) -> int:
        """Length of one training run."""

    @property
    def every(self) -> int:
        """Steps between two evaluations of a reported run."""

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values."""

    def model(self) -> nn.Module:
        """Return a new network; its weights come from torch's global generator."""

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield `steps` batches of training data, the same for every method at the same seed."""

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return every metric on one part of the data, in %."""


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers of the given widths with ReLU between them; `(64, 128, 1)` has one hidden layer."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
