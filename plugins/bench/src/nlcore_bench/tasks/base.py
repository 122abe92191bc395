"""What a task has to say so that the study can tune, train, resume and report it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from torch import Tensor, nn

from nlcore_bench.arms import Arm
from nlcore_bench.data import PartName

__all__ = ["Batch", "Metric", "Task", "mlp"]


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        inputs: What the model is called with.
        targets: What may be supervised, by name; an arm picks one with its `supervision`.
        mask: bool, True at outputs that are padding; `None` when none is.
    """

    inputs: Tensor
    targets: Mapping[str, Tensor]
    mask: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """A share of right answers in %, so that more is better.

    Attributes:
        name: Key of the evaluation.
        label: What tables and axes call it.
        threshold: The steps until this value is reached are reported.
    """

    name: str
    label: str
    threshold: float


class Task(Protocol):
    """A training task: a frozen dataclass of its settings, cheap to send to another process."""

    @property
    def name(self) -> str:
        """Name of the command and of the folder of results."""
        ...

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to judge the numbers."""
        ...

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All competitors, in the order of the table."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured; the first decides on the learning rate."""
        ...

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that every arm may choose from."""
        ...

    @property
    def steps(self) -> int:
        """Length of one training run."""
        ...

    @property
    def every(self) -> int:
        """Steps between two evaluations of a reported run."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return all that changes a number, arms aside, as JSON values."""
        ...

    def model(self) -> nn.Module:
        """Return a fresh network; its weights come from torch's global generator."""
        ...

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield `steps` batches of training data, the same for every arm at the same seed."""
        ...

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return every metric on one part of the data, in %."""
        ...


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers of the given widths with ReLU between them; `(64, 128, 1)` has one hidden layer."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
