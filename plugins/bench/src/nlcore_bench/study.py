"""A study as data: the fields of its TOML file, and the runs that follow from them; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nlcore.errors import ConfigError, nearest
from nlcore.registry.default import registry
from nlcore_bench.documents import Amount, Text
from nlcore_bench.parts import TASK, LossPart, MethodPart, OptimizerPart, Part, Positive, TaskPart, Whole

__all__ = ["Candidate", "Entry", "Study"]


@dataclass(frozen=True, order=True)
class Candidate:
    """Values that are tuned on validation data.

    Attributes:
        learning_rate: Learning rate at the start.
        damping: Relative damping instead of the curvature's own; `None` keeps that.
    """

    learning_rate: float
    damping: float | None = None


@dataclass(frozen=True)
class Entry:
    """A method on one task, with one loss, under one optimiser: a row of a table.

    Attributes:
        task: Name of the task in the study.
        optimizer: Name of the optimiser in the study.
        name: Name of the method; with `losses`, that of the loss comes first.
        label: The label of the method.
        title: Name in tables: the label, behind that of the loss if there are several.
        group: Group of the method, or the label of the loss if there are several; a picture has one panel per group.
        method: The method.
        curvature: The curvature of the method on this task.
        loss: The loss; `None` for the task's own.
        baseline: Name of the method that differences refer to; `None` for a baseline.
        candidates: The learning rates and dampings to choose from.
    """

    task: str
    optimizer: str
    name: str
    label: str
    title: str
    group: str
    method: MethodPart
    curvature: Mapping[str, Mapping[str, Any]] | None
    loss: LossPart | None
    baseline: str | None
    candidates: tuple[Candidate, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, optimiser and method."""
        return self.task, self.optimizer, self.name


class Study(Part):
    """A study: every method is tuned with the same budget, then measured once on other seeds.

    Attributes:
        id: Name on the command line and of the folder of results.
        title: One line above tables and pictures.
        question: The question that it answers.
        steps: Steps of a run.
        every: Steps between two evaluations of a reported run.
        schedule: Schedule of the learning rate.
        tails: Whether quantiles of the norms of gradients are recorded and reported, see `nlcore_bench.tails`.
        along_damping: Whether the picture shows the methods along the damping of their curvatures.
        device: Device of the training, such as `cuda`; evaluations are made on the CPU.
        seeds: Number of reported seeds, 1000, 1001, …; none is a tuning seed.
        tuning_seeds: Number of seeds on which every candidate is tried, 0, 1, …
        learning_rates: Learning rates that every method is tuned over.
        learning_rates_from: Id of the study whose tuned learning rates are used, without tuning.
        equal_time: Whether every method with a baseline is also run for the baseline's processor time.
        baseline: Method that differences refer to; by default the first of the same group.
        subject: Method or group that the summary compares.
        against: Methods and groups that it is compared with; a group is represented by its best on validation data.
        measures: Measures that are compared, in this order; by default the first of every task.
        minutes: Duration on one core, for `nlcore bench list`.
        notes: Notes for the reader of the numbers.
        limits: Conclusions that the study does not allow, one paragraph each.
        full: Fields that replace those above at the full size of the study, that of the work it repeats.
        tasks: Tasks by name.
        losses: Losses by name; every method runs with each of them.
        optimizers: Optimisers by name.
        methods: Methods by name, in the order of the tables.
    """

    id: Annotated[Text, Field(pattern=r"^[\w-]+$")]
    title: Text
    question: Text = ""
    steps: Whole
    every: Whole = 25
    schedule: Literal["cosine", "constant"] = "cosine"
    tails: bool = False
    along_damping: bool = False
    device: Text = "cpu"
    seeds: Annotated[Whole, Field(le=1000)] = 8
    tuning_seeds: Annotated[Whole, Field(le=1000)] = 2
    learning_rates: tuple[Positive, ...] = ()
    learning_rates_from: Text | None = None
    equal_time: bool = False
    baseline: Text | None = None
    subject: Text | None = None
    against: tuple[Text, ...] = ()
    measures: tuple[Text, ...] = ()
    minutes: Amount | None = None
    notes: tuple[Text, ...] = ()
    limits: tuple[Text, ...] = ()
    full: dict[Text, Any] = Field({})
    tasks: Annotated[dict[Text, TaskPart], Field(min_length=1)]
    losses: dict[Text, LossPart] = Field({})
    optimizers: dict[Text, OptimizerPart] = Field({"adam": OptimizerPart()}, min_length=1)
    methods: Annotated[dict[Text, MethodPart], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        groups = {method.group for method in self.methods.values()}
        known: dict[str, Iterable[str]] = {"tasks": self.tasks, "losses": self.losses, "optimizers": self.optimizers}
        for name, method in self.methods.items():
            for field, members in known.items():
                _refuse_unknown(f"methods.{name}.{field}", getattr(method, field), members)
            _refuse_unknown(f"methods.{name}.baseline", [method.baseline or name], self.methods)
        _refuse_unknown("baseline", [self.baseline] if self.baseline else [], self.methods)
        _refuse_unknown("subject", [self.subject] if self.subject else [], [*self.methods, *groups])
        _refuse_unknown("against", self.against, [*self.methods, *groups])
        budgets: dict[str, set[int]] = {}
        for entry in self.entries():
            budgets.setdefault(entry.task, set()).add(len(entry.candidates))
        for task, counts in budgets.items():
            if len(counts) > 1 or 0 in counts:
                given = ", ".join(map(str, sorted(counts)))
                raise ValueError(
                    f"the methods on {task} have {given} candidates (learning rates × dampings); tune all with equally "
                    "many, at least one"
                )
        return self

    def entries(
        self, *, tasks: Sequence[str] = (), optimizers: Sequence[str] = (), methods: Sequence[str] = ()
    ) -> list[Entry]:
        """Return the rows of all tables in order.

        Args:
            tasks: Names of those that are kept; all if empty.
            optimizers: The same for optimisers.
            methods: The same for methods; in a study with losses, names of rows, methods or losses.

        Raises:
            ConfigError: A name is unknown.
        """
        found = [
            self._entry(task, optimizer, loss, name)
            for task, optimizer, loss, name in product(self.tasks, self.optimizers, self.losses or ("",), self.methods)
            if self._runs(self.methods[name], task, optimizer, loss)
        ]
        distinct = {entry.key: entry for entry in found}  # a method with its own loss runs only once
        chosen = list(distinct.values())
        for option, words, names in (
            ("tasks", tasks, lambda one: {one.task}),
            ("optimizers", optimizers, lambda one: {one.optimizer}),
            ("methods", methods, self._names),
        ):
            known = dict.fromkeys(name for one in distinct.values() for name in sorted(names(one)))
            for word in words:
                if word not in known:
                    raise ConfigError(
                        f"--{option}: {self.id} has no {word!r}{nearest(word, known)}: {', '.join(known)}."
                    )
            chosen = [one for one in chosen if not words or names(one) & set(words)]
        return chosen

    def settings(self, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return everything that changes a number of a run, as JSON values.

        Seeds, learning rates and dampings are not included: every record of a run has its own.

        Args:
            tasks: The settings of every task, by name.
        """
        return {
            **self.model_dump(include={"steps", "every", "schedule"}),
            **({} if self.device == "cpu" else {"device": self.device}),
            **({"tails": True} if self.tails else {}),
            "tasks": {
                name: {**given, **self.tasks[name].given(_DRAWN | {"id", "options"})} for name, given in tasks.items()
            },
            "optimizers": {name: {"kind": one.kind, "options": one.options} for name, one in self.optimizers.items()},
            "methods": {
                one.name: {**one.method.given(_DRAWN), "loss": one.loss and _loss_settings(one.loss)}
                for one in self.entries()
            },
        }

    def count(self, entries: Sequence[Entry]) -> int:
        """Return the number of runs of some rows."""
        tuning = 0 if self.learning_rates_from else self.tuning_seeds
        repeats = [2 if self.equal_time and one.baseline else 1 for one in entries]
        return sum(tuning * len(one.candidates) for one in entries) + self.seeds * sum(repeats)

    def steps_of(self, task: str) -> int:
        """Return the steps of a run on a task."""
        return self.tasks[task].steps or self.steps

    def quick(self) -> Self:
        """Return the study with 1 seed and few steps, for a check that everything works."""
        steps = min(self.steps, 60)
        tasks = {
            name: part.model_copy(update={"steps": part.steps and min(part.steps, steps)})
            for name, part in self.tasks.items()
        }
        few = {"seeds": 1, "tuning_seeds": 1, "steps": steps, "every": min(self.every, steps), "tasks": tasks}
        return self.model_copy(update=few)

    def _curvature(self, name: str, task: str) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the curvature of a method on a task, in which `task` is replaced by that of the task."""
        curvature, own = self.methods[name].curvature, self.tasks[task].curvature
        if curvature is None or "task" not in curvature:
            return curvature
        if own is None:
            raise ValueError(f"methods.{name} takes the curvature of tasks.{task}, which has no curvature")
        return {kind: {**options, **curvature["task"]} for kind, options in own.items()}

    @staticmethod
    def _runs(method: MethodPart, task: str, optimizer: str, loss: str) -> bool:
        pairs = ((method.tasks, task), (method.optimizers, optimizer), (method.losses, loss))
        return all(not allowed or name in allowed for allowed, name in pairs)

    def _names(self, entry: Entry) -> set[str]:
        loss = next((name for name in self.losses if entry.loss is self.losses[name]), None)
        name = entry.name if loss is None else entry.name.removeprefix(f"{loss}_")
        return {entry.name, name, *([loss] if loss else [])}

    def _entry(self, task: str, optimizer: str, loss_name: str, name: str) -> Entry:
        method = self.methods[name]
        own = method.loss is not None or not loss_name
        loss = method.loss if own else self.losses[loss_name]
        rates = (
            method.learning_rates
            or self.optimizers[optimizer].learning_rates
            or self.tasks[task].learning_rates
            or self.learning_rates
        )
        scale = loss.scale if loss else 1.0
        candidates = product([float(f"{rate * scale:.3g}") for rate in rates], method.dampings or (None,))
        family = "" if own else self.losses[loss_name].label or loss_name
        label = method.label or name
        baseline = self._baseline(name, method, own)
        return Entry(
            task=task,
            optimizer=optimizer,
            name=name if own else f"{loss_name}_{name}",
            label=label,
            title=f"{family}, {label}" if family else label,
            group=family or method.group,
            method=method,
            curvature=self._curvature(name, task),
            loss=loss,
            baseline=None if baseline in {None, name} else baseline if own else f"{loss_name}_{baseline}",
            candidates=(Candidate(1.0),) if self.learning_rates_from else tuple(starmap(Candidate, candidates)),
        )

    def _baseline(self, name: str, method: MethodPart, own: bool) -> str | None:
        if method.baseline is not None:
            return method.baseline or None
        if self.baseline is not None:
            return self.baseline
        if own and self.losses:
            return None
        return next(other for other, one in self.methods.items() if one.group == method.group)


_DRAWN = {"label", "group", "reference", "baseline", "learning_rates", "dampings", "measure", "loss"}
_DRAWN |= {"tasks", "losses", "optimizers"}  # fields of a method that change no number of a run


def _loss_settings(loss: LossPart) -> dict[str, Any]:
    id = loss.id if loss.id == TASK else registry.spec(loss.id).id
    return {**loss.given({"label", "scale"}), "id": id}


def _refuse_unknown(field: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{field} names {name!r}, which the study does not have{nearest(name, known)}")
