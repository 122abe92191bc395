"""The numbers of a table, computed from the runs of a folder and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, median, stdev

from nlcore_bench.arms import Arm, Candidate
from nlcore_bench.records import Cell, Run
from nlcore_bench.study import Study
from nlcore_bench.tasks.base import Metric

__all__ = ["Row", "Sample", "first_step", "summarise"]


@dataclass(frozen=True)
class Sample:
    """One number per seed.

    Attributes:
        values: The numbers, in the order of the seeds.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Their standard deviation (n − 1 in the denominator); `None` for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def error(self) -> float | None:
        """The standard error of their mean; `None` for a single one."""
        return None if self.spread is None else float(self.spread / len(self.values) ** 0.5)


@dataclass(frozen=True)
class Row:
    """What the table says about one arm.

    Attributes:
        arm: The arm.
        rate: Its chosen learning rate.
        damping: Its chosen relative damping; `None` where none was to be chosen.
        edge: Whether that rate is the smallest or largest that was tried, so that a better one may lie beyond.
        damping_edge: The same of the damping.
        runs: The reported runs, in the order of the seeds.
        held_out: Metric to values on test data.
        train: Metric to values on training data.
        difference: Metric to values minus those of the baseline at the same seed; `None` for a baseline.
        reached: Metric to the step at which each seed reached the metric's threshold, `None` where it did not.
        timed: What `difference` says, after as much processor time as the baseline took; `None` without such runs.
        timed_runs: These runs.
        seconds: Processor time of the training.
        failures: Why runs stopped early.
    """

    arm: Arm
    rate: float
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
        """Return the median step over the seeds that reached the threshold, and how many did if not all."""
        reached = [step for step in self.reached[metric.name] if step is not None]
        if not reached:
            return "–"
        text = f"{median(reached):.0f}"
        return text if len(reached) == len(self.runs) else f"{text} ({len(reached)} of {len(self.runs)})"


def first_step(run: Run, metric: Metric) -> int | None:
    """Return the first evaluated step at which `run` stood at the threshold of `metric` or above it."""
    for step, value in zip(run.steps, run.curves.get(metric.name, ()), strict=False):
        if value >= metric.threshold:
            return step
    return None


def summarise(study: Study, runs: Mapping[Cell, Run]) -> list[Row]:
    """Return one row per arm of `study`, in its order.

    Args:
        study: Says which arms and seeds belong into the table.
        runs: All runs of the folder, at least those of the study.
    """
    best = study.best(runs)
    reported = _by_arm(study.report_cells(best), runs)
    timed = _by_arm(study.timed_cells(best, runs), runs)
    return [_row(study, arm, best[arm.name], reported, timed) for arm in study.chosen]


def _by_arm(cells: Sequence[Cell], runs: Mapping[Cell, Run]) -> dict[str, tuple[Run, ...]]:
    found: dict[str, tuple[Run, ...]] = {}
    for cell in cells:
        found[cell.arm] = (*found.get(cell.arm, ()), runs[cell])
    return found


def _row(
    study: Study,
    arm: Arm,
    chosen: Candidate,
    reported: Mapping[str, tuple[Run, ...]],
    timed: Mapping[str, tuple[Run, ...]],
) -> Row:
    metrics = study.task.metrics
    names = [metric.name for metric in metrics]
    runs, baseline, short = reported[arm.name], reported.get(arm.baseline or "", ()), timed.get(arm.name, ())
    tried = arm.candidates(study.task.rates)
    return Row(
        arm=arm,
        rate=chosen.rate,
        damping=chosen.damping,
        edge=_at_edge(chosen.rate, {one.rate for one in tried}),
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
    """Return whether a better value may lie beyond those that were tried."""
    known = [value for value in tried if value is not None]
    return len(known) > 1 and chosen in (min(known), max(known))


def _difference(names: Sequence[str], runs: Sequence[Run], baseline: Sequence[Run]) -> dict[str, Sample] | None:
    """Subtract run by run: both lists are in the order of the seeds."""
    if not baseline:
        return None
    return {
        name: Sample(tuple(mine.final[name] - other.final[name] for mine, other in zip(runs, baseline, strict=True)))
        for name in names
    }
