"""A study at its smallest and at its full size, and the estimated duration of a study or of a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from nlcore.errors import ConfigError
from nlcore_bench.catalogue import find, load
from nlcore_bench.study import Entry, Study

__all__ = ["cost", "full", "scaled", "small"]

_FEWEST, _PART = 60, 4
_Part = TypeVar("_Part")


def small(study: Study) -> Study:
    """Return the study with one seed, one value of everything that is tuned, Adam alone, and a quarter of the steps.

    Of every list the middle value is kept. A study without Adam keeps its first optimiser. If a study takes its
    learning rates from another one, the middle learning rate of that study is used. Runs of up to 60 steps keep their
    length.
    """
    other = find(study.learning_rates_from) if study.learning_rates_from else study
    adam = {name: part for name, part in study.optimizers.items() if part.kind == "adam"}
    optimizers = adam or dict(list(study.optimizers.items())[:1])
    steps = _fewer(study.steps)
    tasks = {
        name: part.model_copy(update={"steps": part.steps and _fewer(part.steps), **_one(part.learning_rates)})
        for name, part in study.tasks.items()
    }
    methods = {
        name: part.model_copy(update={**_one(part.learning_rates), "dampings": _middle(part.dampings)})
        for name, part in study.methods.items()
    }
    changes = {
        "seeds": 1,
        "tuning_seeds": 1,
        "steps": steps,
        "every": min(study.every, steps),
        "learning_rates_from": None,
        **_one(other.learning_rates),
        "tasks": tasks,
        "methods": methods,
        "optimizers": {name: one.model_copy(update=_one(one.learning_rates)) for name, one in optimizers.items()},
    }
    return study.model_copy(update=changes)


def full(study: Study) -> Study:
    """Return the study at its full size, that of the work it repeats: with the fields of its table `full`.

    Tables are merged, other values replaced. The estimated duration is the one in `full`, if there is one.

    Raises:
        ConfigError: The study has no table `full`, or a field in it is wrong.
    """
    if not study.full:
        raise ConfigError(f"{study.id} has one size: its file has no table [full]. Leave out --full.")
    return load(_merged(study.model_dump(exclude={"full", "minutes"}, exclude_unset=True), study.full))


def _merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables, updated with the values of others."""
    both = {
        name: _merged(content[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(content.get(name), Mapping)
    }
    return {**content, **changes, **both}


def _fewer(steps: int) -> int:
    return max(min(steps, _FEWEST), steps // _PART)


def _one(rates: Sequence[float]) -> dict[str, tuple[float, ...]]:
    return {"learning_rates": _middle(rates)}


def _middle(values: Sequence[_Part]) -> tuple[_Part, ...]:
    """Return the middle value of a list, the first of the two of an even length; empty for an empty list."""
    middle = (len(values) - 1) // 2
    return tuple(values[middle : middle + 1])


def scaled(study: Study, like: Study) -> Study:
    """Return the study with the `minutes` of another one, in proportion to the steps of all runs.

    Args:
        study: The study, with fewer or more runs or steps.
        like: The study whose duration was measured.
    """
    if like.minutes is None:
        return study
    share = _work(study, study.entries()) / _work(like, like.entries())
    return study.model_copy(update={"minutes": like.minutes * share})


def cost(study: Study, entries: Sequence[Entry], workers: int) -> str:
    """Return the number of runs of some rows in words, with their estimated duration.

    Args:
        study: The study.
        entries: The rows.
        workers: Processes that share the runs.
    """
    runs = study.count(entries)
    counted = f"{study.id}: {runs} {'run' if runs == 1 else 'runs'}"
    if study.minutes is None:
        return f"{counted}; its duration has not been measured"
    minutes = study.minutes * _work(study, entries) / _work(study, study.entries())
    shared = f", {_duration(minutes / workers)} on {workers}" if workers > 1 else ""
    return f"{counted}, about {_duration(minutes)} on one core{shared}"


def _work(study: Study, entries: Sequence[Entry]) -> int:
    """Return the steps of all runs of some rows."""
    return sum(study.count([entry]) * study.steps_of(entry.task) for entry in entries)


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{max(1, round(60 * minutes))} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
