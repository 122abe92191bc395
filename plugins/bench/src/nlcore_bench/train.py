"""One training run of one arm, from its seed to its record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nlcore.errors import NumericalError
from nlcore_bench.arms import Arm
from nlcore_bench.data import PartName
from nlcore_bench.tasks.base import Task

__all__ = ["FlatLoss", "MeanLoss", "Outcome", "one_thread", "train", "trained"]


class MeanLoss(nn.Module):
    """The mean of a loss over the batch, for arms without curvature.

    Args:
        loss: `(prediction, target) -> [batch]`, with `mask=` where the batch has one.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prediction: Tensor, target: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the mean loss, a scalar."""
        losses: Tensor = self.loss(prediction, target, **_masked(mask))
        return losses.mean()


class FlatLoss(nn.Module):
    """A criterion of [batch, m] for predictions of more dimensions, such as maps.

    Args:
        criterion: `(prediction, target) -> scalar`.
    """

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the criterion of prediction and target, [batch, *event] each."""
        loss: Tensor = self.criterion(prediction.flatten(1), target.flatten(1))
        return loss


@dataclass
class Outcome:
    """What a run leaves behind; every field is a JSON value.

    Attributes:
        final: Every metric after the last step, on the part that was asked for.
        train: Every metric after the last step, on the training data.
        steps: The steps after which the curves were taken.
        curves: Metric to values at these steps.
        times: Processor time of the training up to these steps.
        seconds: Wall time of the training, evaluations left out.
        cpu_seconds: The same in processor time, which other programs on the machine do not change.
        failure: Why the run stopped early; `None` for a run that reached its end.
    """

    final: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failure: str | None = None


def train(task: Task, arm: Arm, *, rate: float, seed: int, part: PartName, curves: bool) -> Outcome:
    """Train one network with Adam and a cosine schedule, on one thread.

    Args:
        task: What is learned.
        arm: How.
        rate: Learning rate at the start.
        seed: Of the first weights and of the order of the data; runs of one seed are paired across arms.
        part: The part of the data that is evaluated.
        curves: Whether to evaluate along the way as well.

    Returns:
        The outcome. A run whose numbers leave the finite range stops and says so in `failure`.
    """
    outcome = Outcome()
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
        stepper = _Stepper(model, arm, rate=rate, steps=task.steps)
        for step, batch in enumerate(task.batches(seed), start=1):
            wall, cpu = time.perf_counter(), time.process_time()
            outcome.failure = stepper(batch.inputs, batch.targets[arm.supervision], batch.mask)
            outcome.seconds += time.perf_counter() - wall
            outcome.cpu_seconds += time.process_time() - cpu
            if outcome.failure is not None:
                outcome.failure = f"step {step}: {outcome.failure}"
                break
            if curves and (step % task.every == 0 or step == task.steps):
                outcome.steps.append(step)
                outcome.times.append(outcome.cpu_seconds)
                for name, value in task.evaluate(model, part).items():
                    outcome.curves.setdefault(name, []).append(value)
        outcome.final = task.evaluate(model, part)
        outcome.train = task.evaluate(model, "train")
    return outcome


def trained(task: Task, arm: Arm, *, rate: float, seed: int) -> nn.Module:
    """Return the network of the run with these settings, trained once more: records keep no weights."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
        stepper = _Stepper(model, arm, rate=rate, steps=task.steps)
        for batch in task.batches(seed):
            if stepper(batch.inputs, batch.targets[arm.supervision], batch.mask) is not None:
                break
    return model


class _Stepper:
    """Model, loss and optimiser of a run: one call is one step."""

    def __init__(self, model: nn.Module, arm: Arm, *, rate: float, steps: int) -> None:
        self.model = model
        self.criterion = arm.criterion()
        self.clip = arm.clip
        self.optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def __call__(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> str | None:
        """Take one step; return what went wrong, or `None`."""
        self.optimizer.zero_grad()
        try:
            loss = self.criterion(self.model(inputs), target, **_masked(mask))
        except NumericalError as error:
            return str(error)
        if not math.isfinite(loss.item()):
            return f"the loss is {loss.item()}"
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        return None


def _masked(mask: Tensor | None) -> dict[str, Tensor]:
    return {} if mask is None else {"mask": mask}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, for repeatable sums and because the work of one step is too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
