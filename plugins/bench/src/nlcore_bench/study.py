"""Tune every arm with the same budget, then measure fresh seeds once; go on from what is already there."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, Protocol, cast

import torch
from tqdm import tqdm

from nlcore.errors import ConfigError, nearest
from nlcore_bench.arms import Arm, Candidate
from nlcore_bench.data import PartName
from nlcore_bench.records import Cell, ResultsError, Run, Store, installed
from nlcore_bench.tasks.base import Task
from nlcore_bench.train import train

__all__ = ["Study", "Workers", "execute", "run_cell", "workers"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A task, the arms that compete, and the seeds.

    Attributes:
        task: What is learned.
        arms: Names of the arms; empty for all of the task.
        tuning: Number of seeds on which every candidate is tried, 0, 1, …
        seeds: Number of reported seeds, 1000, 1001, …; none is a tuning seed.
        timed: Whether every arm with a baseline is also run on the reported seeds for as many steps as take the
            processor time of the baseline's, with a whole schedule of the learning rate.

    Raises:
        ConfigError: A number of seeds below 1, or an arm that the task does not have.
    """

    task: Task
    arms: tuple[str, ...] = ()
    tuning: int = 2
    seeds: int = 3
    timed: bool = False

    def __post_init__(self) -> None:
        for name in ("tuning", "seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} was given {getattr(self, name)}; a study needs at least 1 seed of each kind."
                )
        known = [arm.name for arm in self.task.arms]
        for name in self.arms:
            if name not in known:
                raise ConfigError(
                    f"{self.task.name} has no arm {name!r}{nearest(name, known)}. Its arms: {', '.join(known)}."
                )

    @property
    def chosen(self) -> tuple[Arm, ...]:
        """The arms that compete, in the order of the task."""
        return tuple(arm for arm in self.task.arms if not self.arms or arm.name in self.arms)

    def settings(self) -> dict[str, Any]:
        """Return what two runs must share to be put into one table.

        Which arms, how many reported seeds and whether for equal time is left out: a later run may add to each.
        """
        return {
            "task": self.task.name,
            "tuning_seeds": self.tuning,
            **self.task.settings(),
            "arms": {arm.name: arm.settings() for arm in self.task.arms},
        }

    def tuning_cells(self) -> list[Cell]:
        """Return the runs that choose rates and dampings."""
        return [
            self._cell("tune", arm, candidate, seed)
            for arm in self.chosen
            for candidate in arm.candidates(self.task.rates)
            for seed in range(self.tuning)
        ]

    def report_cells(self, best: Mapping[str, Candidate]) -> list[Cell]:
        """Return the runs that are reported, with what was chosen for every arm."""
        return [
            self._cell("report", arm, best[arm.name], 1000 + seed) for arm in self.chosen for seed in range(self.seeds)
        ]

    def timed_cells(self, best: Mapping[str, Candidate], runs: Mapping[Cell, Run]) -> list[Cell]:
        """Return the runs for equal time: as long as the baseline's, and never longer than the task's steps.

        What a step costs is the median over an arm's tuning runs, so that more seeds change no length.
        """
        if not self.timed:
            return []
        arms = {arm.name: arm for arm in self.chosen}
        steps = self.task.steps
        return [
            self._cell("timed", arm, best[arm.name], 1000 + seed, max(1, min(steps, round(steps * share))))
            for arm in self.chosen
            if arm.baseline in arms
            for share in [self._seconds(arms[arm.baseline], runs) / self._seconds(arm, runs)]
            for seed in range(self.seeds)
        ]

    def best(self, runs: Mapping[Cell, Run]) -> dict[str, Candidate]:
        """Return what did best for every arm, by its mean on validation data; of equal ones the most cautious.

        That is the smaller rate, then the larger damping. One at which a run failed is taken only when there is no
        other.
        """
        metric = self.task.metrics[0].name

        def merit(arm: Arm, candidate: Candidate) -> tuple[bool, float, float, float]:
            group = [runs[self._cell("tune", arm, candidate, seed)] for seed in range(self.tuning)]
            whole = all(run.failure is None for run in group)
            return whole, fmean(run.final[metric] for run in group), -candidate.rate, candidate.damping or 0.0

        return {
            arm.name: max(arm.candidates(self.task.rates), key=lambda one, arm=arm: merit(arm, one))  # type: ignore[misc]
            for arm in self.chosen
        }

    def _seconds(self, arm: Arm, runs: Mapping[Cell, Run]) -> float:
        """Return the processor time of a tuning run."""
        cells = (cell for cell in self.tuning_cells() if cell.arm == arm.name)
        return max(median(runs[cell].cpu_seconds for cell in cells), 1e-9)

    @staticmethod
    def _cell(
        phase: Literal["tune", "report", "timed"], arm: Arm, candidate: Candidate, seed: int, length: int | None = None
    ) -> Cell:
        return Cell(phase, arm.name, candidate.rate, seed, candidate.damping, length)

    def run(self, folder: Path, workers: Workers, *, quiet: bool = False) -> Mapping[Cell, Run]:
        """Do what is missing in `folder` and return every run of it.

        Args:
            folder: Where settings and runs are kept.
            workers: What runs the cells.
            quiet: Whether to show no progress bars.

        Raises:
            ResultsError: The folder belongs to other settings.
        """
        metrics = [metric.name for metric in self.task.metrics]
        store = Store(folder, self.settings(), _environment(), metrics=metrics)
        name = self.task.name
        with store.writing():
            execute(self.task, self.tuning_cells(), store, workers, label=f"{name}: learning rates", quiet=quiet)
            best = self.best(store.runs)
            execute(self.task, self.report_cells(best), store, workers, label=f"{name}: fresh seeds", quiet=quiet)
            if cells := self.timed_cells(best, store.runs):
                execute(self.task, cells, store, workers, label=f"{name}: equal time", quiet=quiet)
        return store.runs


def run_cell(task: Task, cell: Cell) -> Run:
    """Train one cell; a function of the module, so that another process can be sent it."""
    arm = next(arm for arm in task.arms if arm.name == cell.arm).damped(cell.damping)
    if cell.length is not None:
        task = replace(cast(Any, task), steps=cell.length)
    part: PartName = "validation" if cell.phase == "tune" else "test"
    outcome = train(task, arm, rate=cell.rate, seed=cell.seed, part=part, curves=cell.phase == "report")
    return Run.of(cell, asdict(outcome))


class Workers(Protocol):
    """Something that runs cells and yields each as it is done, in any order."""

    def __call__(self, task: Task, cells: Sequence[Cell]) -> Iterable[Run]:
        """Yield one run per cell."""
        ...


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Give `count` processes of one thread each; 1 stays in this process.

    The number changes how long a study takes, none of its results.
    """
    if count == 1:
        yield lambda task, cells: (run_cell(task, cell) for cell in cells)
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)

    def submit(task: Task, cells: Sequence[Cell]) -> Iterator[Run]:
        try:
            futures: list[Future[Run]] = [pool.submit(run_cell, task, cell) for cell in cells]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ResultsError(
                "a process of the study was ended from outside, perhaps for want of memory. Finished runs are kept; "
                "give the same command again, with --workers 1 to need less memory."
            ) from error

    try:
        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Leave interrupts to the parent, and do not outlive it when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def execute(
    task: Task, cells: Sequence[Cell], store: Store, workers: Workers, *, label: str, quiet: bool = False
) -> None:
    """Run the cells that `store` does not hold yet and add each as soon as it is done."""
    missing = [cell for cell in cells if cell not in store.runs]
    with tqdm(
        total=len(cells), initial=len(cells) - len(missing), desc=label, unit="run", disable=quiet, dynamic_ncols=True
    ) as bar:
        if missing:
            for run in workers(task, missing):
                store.add(run)
                bar.update()


def _environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    for name in (
        "nlcore",
        "nlcore-sequences",
        "nlcore-sorting",
        "nlcore-ranking",
        "nlcore-shortest-paths",
        "nlcore-bench",
        "scikit-learn",
        "numba",
    ):
        found[name] = installed(name)
    return found
