"""A study: every method is tuned with the same budget, then measured once on fresh seeds; runs resume."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, TypeAlias, cast

import torch
from tqdm import tqdm

from nlcore.errors import ConfigError, nearest
from nlcore_bench.data.digits import PartName
from nlcore_bench.methods.base import Candidate, Method
from nlcore_bench.records import Cell, ResultsError, Run, Store, installed
from nlcore_bench.tasks.base import Task
from nlcore_bench.train import train

__all__ = ["Study", "Workers", "execute", "run_cell", "workers"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A task, the methods that are compared, and the seeds.

    Attributes:
        task: The task.
        methods: Names of the methods; empty for all of the task.
        tuning: Number of seeds on which every candidate is tried, 0, 1, …
        seeds: Number of reported seeds, 1000, 1001, …; none is a tuning seed.
        timed: Whether every method with a baseline is also run on the reported seeds for equal time: for as many steps
            as fit into the processor time of the baseline, with the schedule of the learning rate shortened to them.

    Raises:
        ConfigError: A number of seeds below 1, or a method that the task does not have.
    """

    task: Task
    methods: tuple[str, ...] = ()
    tuning: int = 2
    seeds: int = 3
    timed: bool = False

    def __post_init__(self) -> None:
        for name in ("tuning", "seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} was given {getattr(self, name)}; a study needs at least 1 seed of each kind."
                )
        known = [method.name for method in self.task.methods]
        for name in self.methods:
            if name not in known:
                raise ConfigError(
                    f"{self.task.name} has no method {name!r}{nearest(name, known)}. Its methods: {', '.join(known)}."
                )

    @property
    def chosen(self) -> tuple[Method, ...]:
        """The methods that are compared, in the order of the task."""
        return tuple(method for method in self.task.methods if not self.methods or method.name in self.methods)

    def settings(self) -> dict[str, Any]:
        """Return the settings that all runs of one table share.

        The choice of methods, the number of reported seeds and `timed` are not among them: a later run may add to each.
        """
        return {
            "task": self.task.name,
            "tuning_seeds": self.tuning,
            **self.task.settings(),
            "methods": {method.name: method.settings() for method in self.task.methods},
        }

    def tuning_cells(self) -> list[Cell]:
        """Return the runs that choose learning rates and dampings."""
        return [
            cell
            for method in self.chosen
            for candidate in method.candidates(self.task.learning_rates)
            for cell in self._tuning(method, candidate)
        ]

    def report_cells(self, best: Mapping[str, Candidate]) -> list[Cell]:
        """Return the reported runs, at the candidate chosen for every method."""
        return [
            self._cell("report", method, best[method.name], 1000 + seed)
            for method in self.chosen
            for seed in range(self.seeds)
        ]

    def timed_cells(self, best: Mapping[str, Candidate], runs: Mapping[Cell, Run]) -> list[Cell]:
        """Return the runs for equal time: as long as the baseline's, but never longer than the task's steps.

        The cost of a step is the median over a method's tuning runs, so that more reported seeds change no length.
        """
        if not self.timed:
            return []
        methods = {method.name: method for method in self.chosen}
        steps = self.task.steps
        return [
            self._cell("timed", method, best[method.name], 1000 + seed, max(1, min(steps, round(steps * share))))
            for method in self.chosen
            if method.baseline in methods
            for share in [self._seconds(methods[method.baseline], runs) / self._seconds(method, runs)]
            for seed in range(self.seeds)
        ]

    def best(self, runs: Mapping[Cell, Run]) -> dict[str, Candidate]:
        """Return the candidate of every method with the best mean on validation data.

        Of equal ones it is that with the smaller learning rate, then with the larger damping. A candidate at which a
        run failed is chosen only if all others failed too.
        """

        def choose(method: Method) -> Candidate:
            def merit(one: Candidate) -> tuple[bool, float, float, float]:
                whole = all(runs[cell].failure is None for cell in self._tuning(method, one))
                return whole, self.validation(method, one, runs), -one.learning_rate, one.damping or 0.0

            return max(method.candidates(self.task.learning_rates), key=merit)

        return {method.name: choose(method) for method in self.chosen}

    def validation(self, method: Method, candidate: Candidate, runs: Mapping[Cell, Run]) -> float:
        """Return the mean of the first metric over the tuning seeds, on validation data."""
        metric = self.task.metrics[0].name
        return fmean(runs[cell].final[metric] for cell in self._tuning(method, candidate))

    def _tuning(self, method: Method, candidate: Candidate) -> list[Cell]:
        return [self._cell("tune", method, candidate, seed) for seed in range(self.tuning)]

    def _seconds(self, method: Method, runs: Mapping[Cell, Run]) -> float:
        """Return the median processor time of a method's tuning runs."""
        cells = (cell for cell in self.tuning_cells() if cell.method == method.name)
        return max(median(runs[cell].cpu_seconds for cell in cells), 1e-9)

    @staticmethod
    def _cell(
        phase: Literal["tune", "report", "timed"],
        method: Method,
        candidate: Candidate,
        seed: int,
        length: int | None = None,
    ) -> Cell:
        return Cell(phase, method.name, candidate.learning_rate, seed, candidate.damping, length)

    def run(self, folder: Path, workers: Workers, *, quiet: bool = False) -> Mapping[Cell, Run]:
        """Run the cells that `folder` lacks and return all of its runs.

        Args:
            folder: Folder of the settings and the runs.
            workers: As `workers` makes them.
            quiet: Whether the progress bars are hidden.

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
    """Train one cell; a function of the module, so that it can be sent to another process."""
    method = next(method for method in task.methods if method.name == cell.method).damped(cell.damping)
    if cell.length is not None:
        task = replace(cast(Any, task), steps=cell.length)
    part: PartName = "validation" if cell.phase == "tune" else "test"
    outcome = train(
        task, method, learning_rate=cell.learning_rate, seed=cell.seed, part=part, curves=cell.phase == "report"
    )
    return Run.of(cell, asdict(outcome))


Workers: TypeAlias = Callable[[Task, Sequence[Cell]], Iterable[Run]]
"""A function that runs cells and yields each run when it is finished, in any order."""


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Provide `count` processes of one thread each; with 1, cells run in this process.

    The number changes the duration of a study but none of its results.
    """
    if count == 1:
        yield lambda task, cells: (run_cell(task, cell) for cell in cells)
        return
    # Spawned, not forked: the threads of torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)

    def submit(task: Task, cells: Sequence[Cell]) -> Iterator[Run]:
        try:
            futures: list[Future[Run]] = [pool.submit(run_cell, task, cell) for cell in cells]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ResultsError(
                "a process of the study was killed, perhaps because memory ran out. Finished runs are kept; repeat the "
                "command, with --workers 1 if memory is short."
            ) from error

    try:
        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Leave interrupts to the parent process, and end with it."""
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
    """Run the cells that `store` lacks and add each run as soon as it is finished."""
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
