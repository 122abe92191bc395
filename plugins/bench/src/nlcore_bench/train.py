"""One training run of one method, from its seed or its checkpoint to its outcome."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlcore.errors import ConfigError, NlcoreError, NumericalError
from nlcore.registry.isolation import resolve
from nlcore_bench.criteria import make_criterion, make_loss
from nlcore_bench.data.digits import PartName
from nlcore_bench.files import write_whole
from nlcore_bench.gradients import Backward
from nlcore_bench.optimizers import make_optimizers
from nlcore_bench.parts import OptimizerPart
from nlcore_bench.study import Entry
from nlcore_bench.tails import Tails
from nlcore_bench.tasks.base import Batch, Task

__all__ = ["CHECKPOINT_SECONDS", "Outcome", "Training", "one_thread", "train"]

CHECKPOINT_SECONDS = 20.0
"""Time between two checkpoints of a run."""


@dataclass
class Outcome:
    """The outcome of a run; every field is a JSON value.

    Attributes:
        final: Every measure after the last step, on the requested part of the data.
        train: Every measure after the last step, on the training data.
        steps: Steps of the curves.
        curves: Measure to its values after these steps.
        times: Processor time of the training up to these steps.
        seconds: Wall time of the training, without evaluations.
        cpu_seconds: Processor time of the training; other programs on the machine hardly change it.
        failure: Reason of an early stop; `None` for a complete run.
        norms: Quantiles of the norms of gradients, see `nlcore_bench.tails`; empty if the study does not record them.
    """

    final: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failure: str | None = None
    norms: dict[str, list[float]] = field(default_factory=dict)


def train(
    training: Training, *, part: PartName, every: int | None, checkpoint: Path | None = None, label: str = ""
) -> Outcome:
    """Train on one thread to the last step, from a checkpoint if there is one.

    Args:
        training: The run at its start. The caller sets the number of threads and the random state.
        part: Part of the data on which the network is evaluated.
        every: Steps between two evaluations; `None` for one at the end.
        checkpoint: File of the checkpoint. It is not removed here.
        label: Name of the run, which its checkpoint holds; a checkpoint with another name is ignored.

    Returns:
        The outcome. The run ends early, with the reason in `failure`, if the loss becomes infinite or NaN. If the
        predictions cannot be evaluated, for instance because they are infinite, each measure has its worst value.
    """
    outcome, task = training.outcome, training.task
    if checkpoint is not None:
        training.load(checkpoint, label)
    saved = time.monotonic()
    for batch in islice(task.batches(training.seed), training.step, training.steps):
        training.advance(batch if training.on_cpu else batch.to(training.device))
        due = every and (training.step % every == 0 or training.step == training.steps)
        if due and outcome.failure is None:
            outcome.steps.append(training.step)
            outcome.times.append(outcome.cpu_seconds)
            for name, value in _evaluated(training, part).items():
                outcome.curves.setdefault(name, []).append(value)
        if outcome.failure is not None:
            break
        waits = getattr(training.gradient, "pending", False)  # a probe of `Auto`, which a checkpoint would drop
        if checkpoint is not None and not waits and time.monotonic() - saved > CHECKPOINT_SECONDS:
            training.save(checkpoint, label)
            saved = time.monotonic()
    outcome.final = _evaluated(training, part)
    outcome.train = _evaluated(training, "train")
    outcome.norms = training.tails.quantiles() if training.tails else {}
    return outcome


def _evaluated(training: Training, part: PartName) -> dict[str, float]:
    network = training.network if training.on_cpu else deepcopy(training.network).cpu()
    found: Mapping[str, float] = {}
    try:
        found = training.task.evaluate(network, part)
    except NumericalError as error:
        training.outcome.failure = training.outcome.failure or f"step {training.step}, evaluation: {error}"
    return {one.name: one.finite(found[one.name] if found else math.nan) for one in training.task.measures}


class Training:
    """Network, gradient and optimisers of a run.

    Args:
        task: The task.
        entry: The method with its loss.
        optimizer: The optimiser.
        learning_rate: Learning rate at the start.
        seed: Seed of the weights and of the order of the data; runs of one seed are paired across methods.
        steps: Steps of the run.
        schedule: `"cosine"` or `"constant"`.
        damping: Relative damping instead of the curvature's own.
        device: Device of the training; evaluations run on the CPU, where the data are.
        tails: Whether the norms of gradients are recorded.

    Raises:
        NlcoreError: The loss, the curvature, the update or the optimiser is wrong or not installed.
    """

    def __init__(
        self,
        task: Task,
        entry: Entry,
        optimizer: OptimizerPart,
        *,
        learning_rate: float,
        seed: int = 0,
        steps: int = 1,
        schedule: str = "cosine",
        damping: float | None = None,
        device: str = "cpu",
        tails: bool = False,
    ) -> None:
        self.task, self.seed, self.steps, self.step, self.outcome = task, seed, steps, 0, Outcome()
        self.target = entry.loss.target if entry.loss else "target"
        self.clip = entry.method.clip
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.network = task.network(seed).to(self.device)
        loss = make_loss(task, entry.loss)
        method = entry.method.model_copy(update={"curvature": entry.curvature})
        if method.update is None:
            flat = entry.loss is not None and entry.loss.flat
            criterion = make_criterion(loss, method, flat=flat, damping=damping)
            self.gradient: Any = Backward(self.network, criterion)
        else:
            self.gradient = resolve(method.update, entry.name)(loss, self.network, **method.options)
        if tails:
            if not isinstance(self.gradient, Backward):
                raise ConfigError(
                    f"the norms of {entry.name}, which has an update of its own, cannot be recorded: leave out tails."
                )
            self.gradient.watched = True
        self.tails = Tails() if tails else None
        self.optimizers = make_optimizers(optimizer, self.network, learning_rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        self.schedules = [cosine(one, steps) for one in self.optimizers] if schedule == "cosine" else []

    @property
    def on_cpu(self) -> bool:
        """Whether the training runs on the CPU, where the data are."""
        return self.device == torch.device("cpu")

    def advance(self, batch: Batch) -> None:
        """Take one step; record its time and any failure in the outcome."""
        targets, outcome = batch.targets(), self.outcome
        if self.target not in targets:
            raise ConfigError(f"the task has no target {self.target!r}; it has {', '.join(targets)}.")
        wall, cpu = time.perf_counter(), time.process_time()
        failure = self._advance(batch, targets[self.target])
        outcome.seconds += time.perf_counter() - wall
        outcome.cpu_seconds += time.process_time() - cpu
        self.step += 1
        outcome.failure = failure and f"step {self.step}: {failure}"

    def _advance(self, batch: Batch, target: Any) -> str | None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        try:
            value = self.gradient(batch, target).item()
        except NumericalError as error:
            return str(error)
        if not math.isfinite(value):
            return f"the loss is {value}"
        if self.tails is not None:
            self.tails.add(self.gradient.received, self.network)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        for schedule in self.schedules:
            schedule.step()
        return None

    def save(self, path: Path, label: str) -> None:
        """Write a checkpoint atomically."""
        state = {"label": label, "step": self.step, "random": torch.get_rng_state(), "outcome": asdict(self.outcome)}
        parts = {name: [one.state_dict() for one in members] for name, members in self._parts().items()}
        buffer = io.BytesIO()
        torch.save({**state, **parts}, buffer)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, buffer.getvalue())

    def load(self, path: Path, label: str) -> None:
        """Continue from a checkpoint, unless it is missing, damaged or of another run."""
        state: Mapping[str, Any] = {}
        with suppress(Exception):  # a damaged file can raise anything
            state = torch.load(path, weights_only=True)
        if state.get("label") != label:
            return
        parts = self._parts()
        with suppress(NlcoreError):  # of another version of nlcore
            for name in sorted(parts):  # the gradient first, which alone can refuse its state
                for one, own in zip(parts[name], state[name], strict=True):
                    one.load_state_dict(own)
            self.step = state["step"]
            vars(self.outcome).update(state["outcome"])
            torch.set_rng_state(state["random"])

    def _parts(self) -> dict[str, list[Any]]:
        """Return all objects with a state, by the name in a checkpoint."""
        gradient = [self.gradient] if hasattr(self.gradient, "state_dict") else []
        return {
            "network": [self.network],
            "gradient": gradient,
            "optimizers": self.optimizers,
            "schedules": self.schedules,
            **({"tails": [self.tails]} if self.tails else {}),
        }


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: sums are then repeatable, and steps are too short to gain from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
