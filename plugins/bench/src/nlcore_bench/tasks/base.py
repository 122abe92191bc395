"""The protocol of a task, its batches and its measures."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice, pairwise
from statistics import fmean
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import nlcore
from nlcore.config import AlgorithmConfig
from nlcore.errors import ConfigError, ContractError, nearest
from nlcore.plugin import TaskSpec
from nlcore.registry.default import registry
from nlcore.registry.instances import config_class
from nlcore.registry.isolation import describe, resolve
from nlcore_bench.config import TaskConfig
from nlcore_bench.data.digits import PartName

__all__ = [
    "AlgorithmTask",
    "Batch",
    "Measure",
    "Task",
    "make_task",
    "mean_loss",
    "mlp",
    "shuffled",
    "task_settings",
    "whole_epochs",
]

_WORST = 1e9


@dataclass(frozen=True)
class Batch:
    """The data of one step.

    Attributes:
        inputs: Input of the network.
        target: The target of the loss of the task.
        outputs: The outputs that the network should give, for full supervision; `None` where there are none.
        others: Further targets by name; a loss of a study chooses one with its `target`.
        options: Keyword arguments of the loss: `mask`, `context`; none by default.
    """

    inputs: Any
    target: Any
    outputs: Tensor | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with all of its tensors on a device."""
        parts = (self.inputs, self.target, self.outputs, self.others, self.options)
        return Batch(*tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, parts))

    def targets(self) -> dict[str, Any]:
        """Return all targets by name."""
        outputs = {} if self.outputs is None else {"outputs": self.outputs}
        return {"target": self.target, **outputs, **self.others}


@dataclass(frozen=True)
class Measure:
    """A number that an evaluation gives.

    Attributes:
        name: Key of the evaluation.
        label: Name in tables and on axes.
        better: Which values are better.
        unit: `"%"` for shares: a difference of 2 points counts. Otherwise 5 % of the baseline count.
        threshold: Value whose steps and time are reported; `None` for neither.
    """

    name: str
    label: str
    better: Literal["higher", "lower"] = "higher"
    unit: str = "%"
    threshold: float | None = None

    @property
    def sign(self) -> int:
        """1 if higher is better, otherwise −1."""
        return 1 if self.better == "higher" else -1

    def finite(self, value: float) -> float:
        """Return a value that a record can hold, in place of one that is not finite the worst."""
        worst = 0.0 if self.better == "higher" else _WORST
        return max(min(float(value), _WORST), -_WORST) if value == value else worst  # noqa: PLR0124 - NaN

    def text(self, value: float, *, signed: bool = False) -> str:
        """Return a value as tables print it."""
        return f"{value:{'+' if signed else ''}{'.1f' if self.unit == '%' else '.3g'}}"


class Task(Protocol):
    """A training task, a frozen object that depends on its options alone."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures; the first one is primary: it chooses the learning rate and is compared."""

    @property
    def loss(self) -> Any:
        """The loss `(prediction, target) -> [batch]`, an `AlgorithmicLoss`."""

    def network(self, seed: int) -> nn.Module:
        """Return a new network; torch's global generator has been seeded with `seed`."""

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield batches without end, the same for every method at the same seed."""

    def evaluate(self, network: nn.Module, part: PartName) -> Mapping[str, float]:
        """Return every measure on one part of the data."""


def _found(id: str) -> TaskSpec:
    """Return the specification of a task; without a version, the newest.

    Raises:
        ConfigError: No plugin brings it.
    """
    specs = registry.tasks()
    family = [spec for spec in specs.values() if id in {spec.id, f"{spec.namespace}/{spec.name}"}]
    if not family:
        names = [f"{spec.namespace}/{spec.name}" for spec in specs.values()]
        namespace = id.partition("/")[0]
        brought = any(name.startswith(f"{namespace}/") for name in names)
        hint = "" if brought else f"; is the plugin of {namespace!r} installed? `nlcore plugins` lists them"
        raise ConfigError(f"there is no task {id!r}{nearest(id, names)}{hint}. There are: {', '.join(sorted(names))}.")
    return max(family, key=lambda spec: spec.version)


def _config(spec: TaskSpec, options: Mapping[str, Any]) -> AlgorithmConfig | None:
    config = config_class(spec, spec.id)
    if config is None and options:
        raise ConfigError(f"{spec.id} has no options, but was given {', '.join(options)}.")
    return config(**options) if config else None


def task_settings(id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that changes a number of a task: its id with the version, and options that are not defaults.

    A task with a method `settings` adds the entries that it returns, such as the digest of a file.

    Raises:
        ConfigError: The task is unknown, or an option is wrong.
        PluginError: The task cannot be loaded.
    """
    spec = _found(id)
    config = _config(spec, options)
    given = config.model_dump(mode="json", exclude_defaults=True) if config else {}
    more: dict[str, Any] = getattr(make_task(id, options), "settings", dict)()
    return {"id": spec.id, "options": {**given, **more}}


def make_task(id: str, options: Mapping[str, Any]) -> Task:
    """Return a task of a plugin; the same object for the same options.

    Raises:
        ConfigError: The task is unknown, or an option is wrong.
        PluginError: The task cannot be loaded.
        ContractError: The factory has not returned a task.
    """
    return _made(_found(id).id, json.dumps(dict(options), sort_keys=True))


@cache
def _made(id: str, options: str) -> Task:
    spec = _found(id)
    config = _config(spec, json.loads(options))
    values = {name: getattr(config, name) for name in type(config).model_fields} if config else {}
    task: Task = resolve(spec.factory, id)(**values)
    missing = [name for name in ("measures", "loss", "network", "batches", "evaluate") if not hasattr(task, name)]
    if missing:
        raise ContractError(f"{id}: {spec.factory!r} returned {describe(task)}, which has no {', '.join(missing)}.")
    return task


class AlgorithmTask(TaskConfig):
    """Base of the tasks with a loss of the registry, whose held-out mean can be a last measure.

    A task is its own configuration: it has the fields of its options.

    Attributes:
        algorithm: Id of the loss.
        outputs: The measures of the outputs.
    """

    algorithm: str
    outputs: ClassVar[tuple[Measure, ...]]

    @cached_property
    def loss(self) -> Any:
        """The loss of the task."""
        return self.make_loss(self.algorithm_options)

    def make_loss(self, options: Mapping[str, Any]) -> Any:
        """Return the algorithm of the task with some options."""
        return nlcore.make(self.algorithm, **options)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures of the outputs, and the held-out loss if `loss_batches` asks for it."""
        held_out = Measure("loss", "held-out loss", "lower", unit="")
        return (*self.outputs, held_out) if self.loss_batches else self.outputs

    def evaluate(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return every measure on one part of the data."""
        count = self.loss_batches
        return {**self.read(network, part), **({"loss": mean_loss(self, network, part, count)} if count else {})}

    @abstractmethod
    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the measures of the outputs."""

    @abstractmethod
    def network(self, seed: int) -> nn.Module:
        """Return a new network."""

    @abstractmethod
    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield batches without end."""


def mean_loss(task: Task, network: nn.Module, part: PartName, count: int) -> float:
    """Return the mean loss of a network over the same `count` batches of a part at every call.

    Args:
        task: The task, with its loss.
        network: The network.
        part: Part of the data.
        count: Number of batches.
    """
    with torch.no_grad():
        values = [
            task.loss(network(batch.inputs), batch.target, **batch.options).mean().item()
            for batch in islice(task.batches(2**31, part), count)
        ]
    return fmean(values)


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of batches without end, every one of `count` samples once per epoch, [size] int64."""
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]


def whole_epochs(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of batches without end, in epochs whose last samples are left out if they are too few."""
    size = min(size, count)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from torch.split(order[: count // size * size], size)


def mlp(widths: tuple[int, ...], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear layers of the given widths with activations between; `(64, 128, 1)` has one hidden layer."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers[:-1])
