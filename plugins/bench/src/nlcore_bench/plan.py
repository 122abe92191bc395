"""The plan of a study: its runs, the best candidate of each row, and the measures of its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from statistics import fmean, median
from typing import Literal

from nlcore.errors import ConfigError
from nlcore_bench.records import Cell, ResultsError, Run
from nlcore_bench.study import Candidate, Entry, Study
from nlcore_bench.tasks.base import Measure, Task, make_task

__all__ = ["Plan"]


class Plan:
    """The runs of a study.

    Args:
        study: The study.
        runs: The finished runs.
        elsewhere: Best candidates of the study that `learning_rates_from` names, with their validation, by task,
            optimiser and method.
    """

    def __init__(
        self,
        study: Study,
        runs: Mapping[Cell, Run],
        elsewhere: Mapping[tuple[str, str, str], tuple[Candidate, float]] | None = None,
    ) -> None:
        self.study, self.runs, self.elsewhere = study, runs, elsewhere

    @cached_property
    def entries(self) -> list[Entry]:
        """All rows of the study."""
        return self.study.entries()

    def tuning(self, entry: Entry, candidate: Candidate | None = None) -> list[Cell]:
        """Return the runs that choose the learning rate of a row, or those of one candidate."""
        candidates = entry.candidates if candidate is None else (candidate,)
        return [
            self._cell("tune", entry, one, seed)
            for one in (candidates if self.elsewhere is None else ())
            for seed in range(self.study.tuning_seeds)
        ]

    def reported(self, entry: Entry) -> list[Cell]:
        """Return the reported runs of a row, at its best candidate."""
        best = self.best(entry)
        return [self._cell("report", entry, best, 1000 + seed) for seed in range(self.study.seeds)]

    def timed(self, entry: Entry) -> list[Cell]:
        """Return the runs of a row for equal time: the steps that fit into the baseline's time, at most the study's.

        The cost of a step is the median over a method's tuning runs. Lengths thus do not depend on the reported seeds.
        """
        base = self.baseline(entry)
        if not self.study.equal_time or base is None:
            return []
        share = self._seconds(base) / self._seconds(entry)
        whole = self.study.steps_of(entry.task)
        steps = max(1, min(whole, round(whole * share)))
        return [replace(cell, phase="timed", length=steps) for cell in self.reported(entry)]

    def baseline(self, entry: Entry) -> Entry | None:
        """Return the row that differences of a row refer to."""
        key = (entry.task, entry.optimizer, entry.baseline)
        return next((one for one in self.entries if one.key == key), None)

    def best(self, entry: Entry) -> Candidate:
        """Return the candidate with the best mean on validation data.

        Among equal ones, it is the one with the smaller learning rate, and then with the larger damping. A candidate
        with a failed run is chosen only if all others have one too.

        Raises:
            ResultsError: The study takes its learning rates from another, which lacks this row.
        """
        if self.elsewhere is not None:
            if entry.key not in self.elsewhere:
                name, origin = ", ".join(entry.key), self.study.learning_rates_from
                raise ResultsError(f"{origin} has no tuned learning rate of {name}: finish that study first.")
            return self.elsewhere[entry.key][0]

        def merit(one: Candidate) -> tuple[bool, float, float, float]:
            whole = all(self.runs[cell].failure is None for cell in self.tuning(entry, one))
            return whole, self.validation(entry, one), -one.learning_rate, one.damping or 0.0

        return max(entry.candidates, key=merit)

    def validation(self, entry: Entry, candidate: Candidate | None = None, measure: Measure | None = None) -> float:
        """Return the mean over the tuning seeds on validation data, with the sign by which more is better.

        Args:
            entry: The row.
            candidate: One of its candidates; the best by default.
            measure: The measure; by default, and always if the learning rates come from another study, the one that
                chooses the learning rate.
        """
        if self.elsewhere is not None:
            return self.elsewhere[entry.key][1]
        candidate, measure = candidate or self.best(entry), measure or self.measure(entry)
        return measure.sign * fmean(self.runs[cell].final[measure.name] for cell in self.tuning(entry, candidate))

    def task(self, entry: Entry) -> Task:
        """Return the task of a row."""
        return self.study_task(entry.task)

    def study_task(self, name: str) -> Task:
        """Return a task of the study."""
        return make_task(self.study.tasks[name].id, self.study.tasks[name].options)

    def measure(self, entry: Entry) -> Measure:
        """Return the measure that chooses the learning rate of a row.

        Raises:
            ConfigError: The task has no measure of that name.
        """
        measures = {one.name: one for one in self.task(entry).measures}
        name = entry.method.measure or next(iter(measures))
        if name not in measures:
            raise ConfigError(f"{entry.task} has no measure {name!r} ({entry.name}): {', '.join(measures)}.")
        return measures[name]

    def compared(self, entry: Entry) -> tuple[Measure, ...]:
        """Return the compared measures of a row: those in `measures` of the study, or by default the first."""
        measures = {one.name: one for one in self.task(entry).measures}
        return tuple(measures[name] for name in self.study.measures or [next(iter(measures))] if name in measures)

    def complete(self, entry: Entry) -> bool:
        """Return whether all runs of a row and of its baseline are finished."""
        base = self.baseline(entry)
        needed = [entry, *([base] if base else [])]
        if not all(cell in self.runs for one in needed for cell in self.tuning(one)):
            return False
        cells = [cell for one in needed for cell in (*self.reported(one), *self.timed(one))]
        return all(cell in self.runs for cell in cells)

    def _seconds(self, entry: Entry) -> float:
        """Return the median processor time of a row's tuning runs, of the complete ones if there are any."""
        runs = [self.runs[cell] for cell in self.tuning(entry)]
        whole = [run for run in runs if run.failure is None]
        return max(median(run.cpu_seconds for run in whole or runs), 1e-9)

    @staticmethod
    def _cell(phase: Literal["tune", "report"], entry: Entry, candidate: Candidate, seed: int) -> Cell:
        return Cell(
            phase=phase,
            method=entry.name,
            learning_rate=candidate.learning_rate,
            seed=seed,
            damping=candidate.damping,
            task=entry.task,
            optimizer=entry.optimizer,
        )
