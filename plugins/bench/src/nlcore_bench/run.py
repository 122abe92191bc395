"""The runs of a study: the missing ones are trained on all cores, and interrupted ones are resumed."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool
from tqdm import tqdm

from nlcore.errors import ConfigError, nearest
from nlcore.registry.default import registry
from nlcore_bench.catalogue import find
from nlcore_bench.data.digits import PartName
from nlcore_bench.plan import Plan
from nlcore_bench.records import Cell, ResultsError, Run, Store, installed
from nlcore_bench.settings import options_given
from nlcore_bench.study import Entry, Study
from nlcore_bench.tasks.base import make_task, task_settings
from nlcore_bench.train import Training, one_thread, train

__all__ = ["check_study", "open_store", "plan_of", "progress", "run_study", "train_cell"]

_Jobs: TypeAlias = Sequence[tuple[Entry, Cell]]
_Trained: TypeAlias = Callable[[Study, _Jobs, Path], Iterator[Run]]
_ALONE = threading.Lock()  # a run seeds torch's global generator, and a worker of a cluster may have several threads


def _training(study: Study, entry: Entry, cell: Cell) -> Training:
    part = study.tasks[entry.task]
    return Training(
        make_task(part.id, part.options),
        entry,
        study.optimizers[entry.optimizer],
        learning_rate=cell.learning_rate,
        seed=cell.seed,
        steps=cell.length or study.steps_of(entry.task),
        schedule=study.schedule,
        damping=cell.damping,
        device=study.device,
        tails=study.tails,
    )


def train_cell(study: Study, entry: Entry, cell: Cell, checkpoint: Path | None = None) -> Run:
    """Train one run, from its checkpoint if there is one; the call can be pickled.

    A run on another device than the CPU has no checkpoint, which would lack the random state of the device.
    """
    checkpoint = checkpoint if study.device == "cpu" else None
    part: PartName = "validation" if cell.phase == "tune" else "test"
    every = study.every if cell.phase == "report" else None
    with one_thread(), torch.random.fork_rng(devices=[]):
        outcome = train(_training(study, entry, cell), part=part, every=every, checkpoint=checkpoint, label=str(cell))
    return Run.of(cell, vars(outcome))


def check_study(study: Study, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Return the settings of all tasks; build all parts of the runs once, so that errors precede the first run.

    Args:
        study: The study.
        entries: The rows to check.

    Raises:
        ConfigError: A part of the study is wrong or not installed, or its data cannot be read.
    """
    plan = Plan(study, {})
    settings = {name: task_settings(part.id, part.options) for name, part in study.tasks.items()}
    every = {one.name for name in study.tasks for one in plan.study_task(name).measures}
    for name in set(study.measures) - every:
        raise ConfigError(f"no task has the measure {name!r}{nearest(name, every)}: {', '.join(sorted(every))}.")
    _check_device(study.device)
    with torch.random.fork_rng(devices=[]):
        for entry in entries:
            plan.measure(entry)
            target = entry.loss.target if entry.loss else "target"
            _training(study, entry, plan.tuning(entry)[0])
            targets = next(iter(plan.task(entry).batches(0))).targets()
            if target not in targets:
                raise ConfigError(
                    f"{entry.task} has no target {target!r} ({entry.name}): {', '.join(targets)}. List the tasks "
                    "that have it in `tasks` of the method."
                )
    return settings


def _check_device(name: str) -> None:
    """Raise unless tensors can be made on a device.

    Raises:
        ConfigError: Torch cannot use the device.
    """
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"there is no device {name!r} ({str(error).splitlines()[0]}). Leave out --device.") from error


def open_store(study: Study, folder: Path, entries: Sequence[Entry] | None = None) -> Store:
    """Return the store of a study, after checks of everything that its runs need.

    Args:
        study: The study.
        folder: Its folder.
        entries: The rows to check: `None` for all, and none for a report, which needs the records alone: options that
            were given on the command line, such as the folder of the data, are taken from them.

    Raises:
        ConfigError: A part of the study is wrong or not installed.
        ResultsError: The folder belongs to other settings, or a record in it is damaged.
    """
    tasks = check_study(study, study.entries() if entries is None else entries)
    if entries is not None and not entries:
        given = options_given(folder, {name: one["options"] for name, one in tasks.items()})
        tasks = {name: {**one, "options": {**one["options"], **given[name]}} for name, one in tasks.items()}
    measures = {name: [one.name for one in Plan(study, {}).study_task(name).measures] for name in study.tasks}
    gpu = {"device": torch.cuda.get_device_name(study.device)} if study.device.startswith("cuda") and entries else {}
    return Store(folder, study.settings(tasks), {**_environment(), **gpu}, measures=measures)


def plan_of(study: Study, runs: Mapping[Cell, Run], folder: Path) -> Plan:
    """Return the plan of a study, with the learning rates of the study that it names.

    Args:
        study: The study.
        runs: Its runs.
        folder: Its folder; that of the other study is beside it.

    Raises:
        ResultsError: The other study is not finished.
    """
    if study.learning_rates_from is None:
        return Plan(study, runs)
    other = find(study.learning_rates_from)
    store = open_store(other, _present(folder.parent / other.id), ())
    plan = Plan(other, store.runs)
    whole = [one for one in plan.entries if all(cell in store.runs for cell in plan.tuning(one))]
    return Plan(study, runs, {one.key: (plan.best(one), plan.validation(one)) for one in whole})


def _present(folder: Path) -> Path:
    if not (folder / "settings.json").exists():
        raise ResultsError(f"{folder} holds no study. `nlcore bench run` makes one.")
    return folder


def run_study(
    study: Study,
    folder: Path,
    *,
    entries: Sequence[Entry] | None = None,
    workers: int = 1,
    cluster: str | None = None,
    quiet: bool = False,
) -> Plan:
    """Train the runs that `folder` lacks, and return the plan with all runs.

    Args:
        study: The study.
        folder: Folder of the settings and the runs.
        entries: The rows to run; `None` for all.
        workers: Number of processes with one thread each; it changes the duration of a study but not its results.
        cluster: Address or scheduler file of a Dask cluster, whose workers are used instead of processes.
        quiet: Whether the progress bar is hidden.

    Raises:
        ConfigError: A part of the study is wrong or not installed, or no scheduler answers at the address.
        ResultsError: The folder belongs to other settings, or cannot be written; the cluster is lost.
    """
    with _training_on(workers, cluster) as trained:
        return _run_study(study, folder, study.entries() if entries is None else list(entries), trained, quiet)


def _run_study(study: Study, folder: Path, chosen: Sequence[Entry], trained: _Trained, quiet: bool) -> Plan:
    store = open_store(study, folder, chosen)
    plan = plan_of(study, store.runs, folder)
    needed = {one.key: one for entry in chosen for one in (plan.baseline(entry), entry) if one is not None}
    chosen = [one for one in plan.entries if one.key in needed]
    phases: list[Callable[[Entry], list[Cell]]] = [plan.tuning, plan.reported, plan.timed]
    with (
        store.writing(),
        tqdm(total=study.count(chosen), desc=study.id, unit="run", disable=quiet, dynamic_ncols=True) as bar,
    ):
        plan.runs = store.runs
        for phase in phases:
            jobs = [(one, cell) for one in chosen for cell in phase(one)]
            missing = [(one, cell) for one, cell in jobs if cell not in store.runs]
            finished = len(jobs) - len(missing)
            bar.initial = getattr(bar, "initial", 0) + finished  # not part of the speed
            bar.update(finished)
            for run in trained(study, missing, folder):
                store.add(run)
                _checkpoint(folder, run.cell).unlink(missing_ok=True)
                bar.update()
    return plan


def _checkpoint(folder: Path, cell: Cell) -> Path:
    return folder / "checkpoints" / f"{sha256(str(cell).encode()).hexdigest()[:16]}.pt"


@contextmanager
def _training_on(workers: int, cluster: str | None) -> Iterator[_Trained]:
    """Yield a function that trains the runs of a study and yields each when it is finished."""
    if cluster is None:
        yield partial(_here, workers=workers)
        return
    from nlcore_bench.cluster import connected

    with connected(cluster) as results:
        yield lambda study, jobs, _: results(_Remote(study, *job, _environment()) for job in jobs)


@dataclass(frozen=True, eq=False)  # joblib hashes calls, and the tables of a study have no hash
class _Remote:
    """A run on a worker of a cluster. It has no checkpoint, and starts again if its worker is lost.

    Attributes:
        study: The study.
        entry: The row.
        cell: The run.
        environment: Versions in the process of the study, which those of the worker must equal.
    """

    study: Study
    entry: Entry
    cell: Cell
    environment: Mapping[str, str]

    def __call__(self) -> Run:
        own = _environment()
        others = [name for name in {**self.environment, **own} if own.get(name) != self.environment.get(name)]
        if differing := [name for name in others if name != "python"]:
            listed = "; ".join(
                f"{name} is {own.get(name)} there and {self.environment.get(name)} here" for name in differing
            )
            raise ConfigError(
                f"a worker of the cluster would not give the same numbers: {listed}. Install the same versions."
            )
        with _ALONE:
            return train_cell(self.study, self.entry, self.cell)


def _here(study: Study, jobs: _Jobs, folder: Path, workers: int) -> Iterator[Run]:
    """Yield every run when it is finished, from processes of this machine."""
    calls = (delayed(_in_worker)(study, entry, cell, _checkpoint(folder, cell), os.getpid()) for entry, cell in jobs)
    try:
        yield from Parallel(n_jobs=min(workers, len(jobs)) or 1, return_as="generator_unordered")(calls)
    except BrokenProcessPool as error:
        raise ResultsError(
            "a process of the study was killed, perhaps because memory ran out. Finished runs are kept; give the same "
            "command again, with --workers 1 if memory is short."
        ) from error


def progress(study: Study, folder: Path) -> str:
    """Return the numbers of finished and of all runs in words, and the time that the rest takes on one core."""
    store = open_store(study, folder, ())
    plan = plan_of(study, store.runs, folder)
    count = study.count(plan.entries)
    done = sum(cell in store.runs for one in plan.entries for cell in plan.tuning(one))
    ready = [one for one in plan.entries if all(cell in store.runs for cell in plan.tuning(one))]
    done += sum(cell in store.runs for one in ready for cell in plan.reported(one))
    whole = [one for one in ready if (base := plan.baseline(one)) is None or base in ready]
    done += sum(cell in store.runs for one in whole for cell in plan.timed(one))
    flight = len(list((folder / "checkpoints").glob("*.pt")))
    seconds = [run.seconds for run in store.runs.values()]
    left = f", about {(count - done) * fmean(seconds) / 60:.1f} minutes left on one core" if seconds else ""
    return f"{done} of {count} runs are finished, {flight} have a checkpoint{left if done < count else ''}."


def _in_worker(study: Study, entry: Entry, cell: Cell, checkpoint: Path, parent: int) -> Run:
    """Train one run in a process that ends with the parent."""
    if os.getpid() != parent and not any(one.name == "parent" for one in threading.enumerate()):
        threading.Thread(target=_end_with, args=[parent], name="parent", daemon=True).start()
    return train_cell(study, entry, cell, checkpoint)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@cache
def _environment() -> dict[str, str]:
    names = {record.distribution for record in registry.plugins() if record.distribution}
    others = {"nlcore", "numpy", "scikit-learn", "scipy", "numba"}
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        **{name: installed(name) for name in sorted(names | others)},
    }
