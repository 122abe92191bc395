"""The rows of a table: the figures of every method, computed from the recorded runs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from nlcore_bench.plan import Plan
from nlcore_bench.records import Run
from nlcore_bench.statistics import Paired, Sample
from nlcore_bench.study import Candidate, Entry
from nlcore_bench.tasks.base import Measure

__all__ = ["Row", "best_of", "paired", "rows_of"]


@dataclass(frozen=True)
class Row:
    """The figures of one row.

    Attributes:
        entry: The row of the study.
        measures: The measures of its task.
        compared: Those that are compared.
        chosen: The best candidate.
        edges: Whether learning rate and damping are the smallest or largest that were tried.
        runs: The reported runs, in the order of the seeds.
        timed: The runs of equal time; empty without any.
        base: The reported runs of the baseline; none for a baseline.
    """

    entry: Entry
    measures: tuple[Measure, ...]
    compared: tuple[Measure, ...]
    chosen: Candidate
    edges: tuple[bool, bool]
    runs: tuple[Run, ...]
    timed: tuple[Run, ...] = ()
    base: tuple[Run, ...] = ()

    @property
    def first(self) -> Measure:
        """The first of the compared measures."""
        return self.compared[0]

    def held_out(self, measure: Measure) -> Sample:
        """Return a measure on test data."""
        return Sample(tuple(run.final[measure.name] for run in self.runs))

    def training(self, measure: Measure) -> Sample:
        """Return a measure on training data."""
        return Sample(tuple(run.train[measure.name] for run in self.runs))

    def difference(self, measure: Measure, *, equal_time: bool = False) -> Paired | None:
        """Return a measure against the baseline's; `None` for a baseline, and without runs of equal time for these."""
        mine = self.timed if equal_time else self.runs
        return paired(measure, mine, self.base) if mine and self.base and measure in self.compared else None

    @property
    def failures(self) -> list[str]:
        """Reasons of runs that stopped early."""
        return [run.failure for run in (*self.runs, *self.timed) if run.failure is not None]

    def reached(self, at: Callable[[Run], Sequence[float]]) -> list[float]:
        """Return the steps or times at which seeds reached the threshold of the first compared measure.

        Args:
            at: Returns steps or times of a run's curve.
        """
        measure, found = self.first, []
        for run in self.runs:
            curve = zip(at(run), run.curves.get(measure.name, ()), strict=False)
            sign, threshold = measure.sign, measure.threshold or 0.0
            first = next((when for when, value in curve if sign * value >= sign * threshold), None)
            found += [] if first is None else [first]
        return found

    def reached_text(self, at: Callable[[Run], Sequence[float]], digits: int = 0) -> str:
        """Return the median of `reached`, with the number of seeds if some did not reach the threshold."""
        found = self.reached(at)
        if not found:
            return "–"
        text = f"{median(found):.{digits}f}"
        return text if len(found) == len(self.runs) else f"{text} ({len(found)} of {len(self.runs)})"


def paired(measure: Measure, mine: Sequence[Run], base: Sequence[Run], *, training: bool = False) -> Paired:
    """Return a measure of runs and of others at the same seeds, on test data or on training data."""
    ends = ([run.train if training else run.final for run in runs] for runs in (mine, base))
    return Paired(measure, *(tuple(end[measure.name] for end in some) for some in ends))


def rows_of(plan: Plan, entries: Sequence[Entry]) -> list[Row]:
    """Return the rows whose runs are all finished.

    Args:
        plan: The plan with its runs.
        entries: The rows of the study.
    """
    return [_row(plan, entry) for entry in entries if plan.complete(entry)]


def _row(plan: Plan, entry: Entry) -> Row:
    base = plan.baseline(entry)
    best = plan.best(entry)
    rates, dampings = ({getattr(one, name) for one in entry.candidates} for name in ("learning_rate", "damping"))
    return Row(
        entry=entry,
        measures=tuple(plan.task(entry).measures),
        compared=plan.compared(entry),
        chosen=best,
        edges=(_at_edge(best.learning_rate, rates), _at_edge(best.damping, dampings)),
        runs=tuple(plan.runs[cell] for cell in plan.reported(entry)),
        timed=tuple(plan.runs[cell] for cell in plan.timed(entry)),
        base=tuple(plan.runs[cell] for cell in plan.reported(base)) if base else (),
    )


def _at_edge(chosen: float | None, tried: set[float | None]) -> bool:
    """Return whether the chosen value is the smallest or largest of several."""
    known = [value for value in tried if value is not None]
    return len(known) > 1 and chosen in (min(known), max(known))


def best_of(plan: Plan, rows: Sequence[Row], name: str, measure: str) -> Row | None:
    """Return the row of a method, or the best of a group on validation data; `None` if there is none.

    Args:
        plan: The plan with its runs.
        rows: The rows to choose from.
        name: Name of a method or of a group.
        measure: Name of the measure.
    """
    members = [row for row in rows if row.entry.name == name]
    members = members or [row for row in rows if row.entry.group == name]
    known = [(row, one) for row in members for one in row.compared if one.name == measure]
    best = max(known, key=lambda pair: plan.validation(pair[0].entry, measure=pair[1]), default=None)
    return best and best[0]
