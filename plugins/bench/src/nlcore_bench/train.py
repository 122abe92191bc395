"""One training run of one method, from its seed to its outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nlcore.errors import NumericalError
from nlcore_bench.criteria import mask_option
from nlcore_bench.data.digits import PartName
from nlcore_bench.methods.base import Method
from nlcore_bench.tasks.base import Task

__all__ = ["Outcome", "one_thread", "train", "trained"]


@dataclass
class Outcome:
    """The outcome of a run; every field is a JSON value.

    Attributes:
        final: Every metric after the last step, on the requested part of the data.
        train: Every metric after the last step, on the training data.
        steps: Steps of the curves.
        curves: Metric to its values after these steps.
        times: Processor time of the training up to these steps.
        seconds: Wall time of the training, without evaluations.
        cpu_seconds: Processor time of the training, which other programs on the machine do not change.
        failure: Reason of an early stop; `None` for a complete run.
    """

    final: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failure: str | None = None


def train(task: Task, method: Method, *, learning_rate: float, seed: int, part: PartName, curves: bool) -> Outcome:
    """Train one network with Adam and a cosine schedule, on one thread.

    Args:
        task: The task.
        method: The method.
        learning_rate: Learning rate at the start.
        seed: Seed of the weights and of the order of the data; runs of one seed are paired across methods.
        part: Part of the data on which the network is evaluated.
        curves: Whether the network is also evaluated during training.

    Returns:
        The outcome. A run whose loss is no longer finite stops, with the reason in `failure`.
    """
    outcome = Outcome()
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
        stepper = _Stepper(model, method, learning_rate=learning_rate, steps=task.steps)
        for step, batch in enumerate(task.batches(seed), start=1):
            wall, cpu = time.perf_counter(), time.process_time()
            outcome.failure = stepper(batch.inputs, batch.targets[method.supervision], batch.mask)
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


def trained(task: Task, method: Method, *, learning_rate: float, seed: int) -> nn.Module:
    """Return the network of the run with these settings, trained again, since records hold no weights."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
        stepper = _Stepper(model, method, learning_rate=learning_rate, steps=task.steps)
        for batch in task.batches(seed):
            if stepper(batch.inputs, batch.targets[method.supervision], batch.mask) is not None:
                break
    return model


class _Stepper:
    """Model, criterion and optimiser of a run; a call takes one step."""

    def __init__(self, model: nn.Module, method: Method, *, learning_rate: float, steps: int) -> None:
        self.model = model
        self.criterion = method.criterion()
        self.clip = method.clip
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def __call__(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> str | None:
        """Take one step; return the reason of a failure, or `None`."""
        self.optimizer.zero_grad()
        try:
            loss = self.criterion(self.model(inputs), target, **mask_option(mask))
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: sums are repeatable, and a step is too small to be shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
