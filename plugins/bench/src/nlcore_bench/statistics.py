"""The numbers of a table, computed from the recorded runs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from scipy.stats import sem, t

from nlcore_bench.methods.base import Candidate, Method
from nlcore_bench.records import Cell, Run
from nlcore_bench.study import Study
from nlcore_bench.tasks.base import Metric

__all__ = ["Row", "Sample", "first_step", "summarise"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """One number per seed.

    Attributes:
        values: The numbers, in the order of the seeds.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation (n − 1 in the denominator); `None` for a single number."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; `None` for a single number."""
        return float(sem(self.values)) if len(self.values) > 1 else None

    @property
    def signed(self) -> str:
        """The mean with its sign, ± the standard error, to one digit."""
        return f"{self.mean:+.1f}" + ("" if self.error is None else f" ± {self.error:.1f}")

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95 % interval of the mean.

        Raises:
            ValueError: There is a single number.
        """
        if self.error is None:
            raise ValueError("one difference has no interval")
        low, high = self.mean + self.error * np.array(t.interval(_CONFIDENCE, len(self.values) - 1))
        return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """The figures of one method.

    Attributes:
        method: The method.
        learning_rate: The chosen learning rate.
        damping: The chosen relative damping; `None` if there was no choice.
        edge: Whether that learning rate is the smallest or largest that was tried, so that a better one may lie beyond.
        damping_edge: The same for the damping.
        runs: The reported runs, in the order of the seeds.
        held_out: Metric to values on test data.
        train: Metric to values on training data.
        difference: Metric to values minus those of the baseline at the same seed; `None` for a baseline.
        reached: Metric to the step at which each seed reached the metric's threshold, `None` where it did not.
        timed: The same difference for the runs of equal time; `None` without such runs.
        timed_runs: The runs of equal time.
        seconds: Processor time of the training, per run.
        failures: Reasons of runs that stopped early.
    """

    method: Method
    learning_rate: float
    damping: float | None
    edge: bool
    damping_edge: bool
    runs: tuple[Run, ...]
    held_out: Mapping[str, Sample]
    train: Mapping[str, Sample]
    difference: Mapping[str, Sample] | None
    reached: Mapping[str, tuple[int | None, ...]]
    timed: Mapping[str, Sample] | None
    timed_runs: tuple[Run, ...]
    seconds: Sample
    failures: tuple[str, ...]

    def steps_to(self, metric: Metric) -> str:
        """Return the median step at which the seeds reached the threshold, and their number if not all did."""
        reached = [step for step in self.reached[metric.name] if step is not None]
        if not reached:
            return "–"
        text = f"{median(reached):.0f}"
        return text if len(reached) == len(self.runs) else f"{text} ({len(reached)} of {len(self.runs)})"


def first_step(run: Run, metric: Metric) -> int | None:
    """Return the first evaluated step at which `run` was at or above the threshold of `metric`."""
    for step, value in zip(run.steps, run.curves.get(metric.name, ()), strict=False):
        if value >= metric.threshold:
            return step
    return None


def summarise(study: Study, runs: Mapping[Cell, Run]) -> list[Row]:
    """Return one row per method of `study`, in its order.

    Args:
        study: The methods and seeds of the table.
        runs: Runs of the folder, at least those of the study.
    """
    best = study.best(runs)
    reported = _by_method(study.report_cells(best), runs)
    timed = _by_method(study.timed_cells(best, runs), runs)
    return [_row(study, method, best[method.name], reported, timed) for method in study.chosen]


def _by_method(cells: Sequence[Cell], runs: Mapping[Cell, Run]) -> dict[str, tuple[Run, ...]]:
    found: dict[str, tuple[Run, ...]] = {}
    for cell in cells:
        found[cell.method] = (*found.get(cell.method, ()), runs[cell])
    return found


def _row(
    study: Study,
    method: Method,
    chosen: Candidate,
    reported: Mapping[str, tuple[Run, ...]],
    timed: Mapping[str, tuple[Run, ...]],
) -> Row:
    metrics = study.task.metrics
    names = [metric.name for metric in metrics]
    runs, baseline, short = reported[method.name], reported.get(method.baseline or "", ()), timed.get(method.name, ())
    tried = method.candidates(study.task.learning_rates)
    return Row(
        method=method,
        learning_rate=chosen.learning_rate,
        damping=chosen.damping,
        edge=_at_edge(chosen.learning_rate, {one.learning_rate for one in tried}),
        damping_edge=_at_edge(chosen.damping, {one.damping for one in tried}),
        runs=runs,
        held_out={name: Sample(tuple(run.final[name] for run in runs)) for name in names},
        train={name: Sample(tuple(run.train[name] for run in runs)) for name in names},
        difference=_difference(names, runs, baseline),
        reached={metric.name: tuple(first_step(run, metric) for run in runs) for metric in metrics},
        timed=_difference(names, short, baseline) if short else None,
        timed_runs=short,
        seconds=Sample(tuple(run.cpu_seconds for run in runs)),
        failures=tuple(run.failure for run in (*runs, *short) if run.failure is not None),
    )


def _at_edge(chosen: float | None, tried: Set[float | None]) -> bool:
    """Return whether the chosen value is the smallest or largest of several."""
    known = [value for value in tried if value is not None]
    return len(known) > 1 and chosen in (min(known), max(known))


def _difference(names: Sequence[str], runs: Sequence[Run], baseline: Sequence[Run]) -> dict[str, Sample] | None:
    """Return the differences run by run; both lists are in the order of the seeds."""
    if not baseline:
        return None
    return {
        name: Sample(tuple(mine.final[name] - other.final[name] for mine, other in zip(runs, baseline, strict=True)))
        for name in names
    }
