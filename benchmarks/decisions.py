"""Trainings of decisions beside those with PyEPO: regret on unseen samples, and seconds of 20 epochs.

Regrets are those of whole trainings. Seconds follow from the median time of a step, which is measured in turns with the
other library, see `_times`; the time of the whole trainings stands in `decisions_runs.json` alone.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.decision_methods import METHODS, NOTEBOOK, OWN, PEER, Method, own_criterion, peer_criterion
from benchmarks.decision_problems import PROBLEMS, Problem
from benchmarks.decision_tables import Row, Section, write_page
from benchmarks.measure import silent
from benchmarks.pyepo_losses import SOLVERS, Criterion, version
from nlcore.errors import ConfigError
from nlcore_bench.files import write_whole
from nlcore_bench.records import installed as installed_version
from nlcore_bench.timer import interleaved
from nlcore_bench.train import one_thread

__all__ = ["TWO_STAGE", "Run", "Training", "report", "train_all"]

TWO_STAGE = "squared error of the costs"
"""The title of the reference, whose loss contains no decision."""

_EPOCHS, _SEEDS, _LEARNING_RATE = 20, 8, 0.01


class Training:
    """A training that goes on where it stopped.

    Args:
        problem: What is decided.
        method: The method; `None` is the squared error of the costs.
        library: Whose it is.
        seed: Seed of the weights, of the order of the samples and of the noise.
    """

    def __init__(self, problem: Problem, method: Method | None, library: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = problem.network(positive=method is not None and method.positive)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=_LEARNING_RATE)
        self.batches = problem.batches()
        if method is None:
            self.criterion: Criterion = lambda prediction, truth: nn.functional.mse_loss(prediction, truth.costs)
        elif library == OWN:
            self.criterion = own_criterion(problem, method, seed)
        else:
            self.criterion = peer_criterion(problem, method, library, seed)

    def advance(self, steps: int) -> float:
        """Take some steps and return their processor time in seconds."""
        start = time.process_time()
        for _ in range(steps):
            features, truth = next(self.batches)
            loss = self.criterion(self.network(features), truth)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
        return time.process_time() - start


@dataclass(frozen=True, slots=True)
class Run:
    """A whole training.

    Attributes:
        problem: Name of the problem.
        method: Title of the method.
        library: Whose it is.
        seed: Of weights, order and noise.
        epochs: Its length.
        regret: On the test samples, in %.
        seconds: Processor time of the training.
    """

    problem: str
    method: str
    library: str
    seed: int
    epochs: int
    regret: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What distinguishes it from others."""
        return self.problem, self.method, self.library, self.seed, self.epochs


def report(folder: Path, *, quick: bool = False, device: str = "cpu", problems: Iterable[str] = PROBLEMS) -> str:
    """Train with every method of both libraries, write `decisions.md` and `decisions.json`, and return the tables.

    Whole trainings with PyEPO take minutes to an hour: they are kept in `decisions_runs.json`, and those that are there
    are not repeated. Without PyEPO the methods of nlcore are trained alone.

    Args:
        folder: Where the files go.
        quick: One epoch and one seed, to see that everything works.
        device: Where the tensors are; only the CPU.
        problems: Names of the problems.

    Raises:
        ConfigError: Another device.
    """
    if device != "cpu":
        raise ConfigError(f"decisions are compared on the CPU, where PyEPO's solvers are; device is {device!r}.")
    installed = _installed()
    path, epochs, steps = folder / "decisions_runs.json", 1 if quick else _EPOCHS, 0
    sections = []
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # those of the peer
        for problem in (PROBLEMS[name]() for name in problems):
            libraries = (OWN, PEER, NOTEBOOK)[: (3 if problem.notebook else 2) if installed else 1]
            seeds = {one: 1 if quick else _SEEDS if one == OWN else problem.peer_seeds for one in libraries}
            runs = train_all(problem, path, epochs=epochs, seeds=seeds)
            rows = _rows(problem, runs, _times(problem, libraries, quick=quick), epochs)
            solvers = _solvers(problem, installed=installed, quick=quick)
            steps = problem.steps
            sections.append(Section(problem.name, problem.title, solvers, rows))
    about = {
        "epochs": epochs,
        "steps": steps,
        "torch": torch.__version__.partition("+")[0],
        "peer": version() if installed else "not installed",
        "numba": installed_version("numba"),
        "machine": _machine(),
    }
    return write_page(folder, "decisions", sections, about)


def train_all(problem: Problem, path: Path, *, epochs: int, seeds: Mapping[str, int]) -> list[Run]:
    """Return the runs of a problem; those in the file are not repeated, and each is written when it ends.

    Args:
        problem: The problem.
        path: JSON file of the runs.
        epochs: Length of a training.
        seeds: Number of trainings with every method of a library.
    """
    runs = [Run(**one) for one in json.loads(path.read_text())] if path.is_file() else []
    known = {one.key for one in runs}
    for seed in range(max(seeds.values())):
        for method, library in _contestants(problem, list(seeds)):
            key = (problem.name, method.title if method else TWO_STAGE, library, seed, epochs)
            if seed < seeds.get(library, 0) and key not in known:
                training = Training(problem, method, library, seed)
                seconds = training.advance(epochs * problem.steps)
                runs.append(Run(*key, regret=problem.regret(training.network), seconds=seconds))
                write_whole(path, json.dumps([asdict(one) for one in runs], indent=1) + "\n")
    return [one for one in runs if one.problem == problem.name and one.epochs == epochs and one.library in seeds]


def _machine() -> str:
    """Return the kind of the processor, and its model where the system names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([platform.machine(), *models[:1]])


def _installed() -> bool:
    try:
        import pyepo.model.ort  # noqa: F401
    except ImportError:
        return False
    return True


def _methods(problem: Problem) -> list[Method]:
    return [method for method in METHODS if not problem.methods or method.title in problem.methods]


def _contestants(problem: Problem, libraries: Sequence[str]) -> list[tuple[Method | None, str]]:
    """Return method and library of every row of a table."""
    pairs = [(method, library) for method in _methods(problem) for library in method.libraries if library in libraries]
    return [(None, OWN), *pairs]


@dataclass(frozen=True, slots=True)
class _Time:
    """Processor time of a step in seconds, and the same divided by that of the squared error in the same rounds."""

    step: float
    loop: float


def _times(problem: Problem, libraries: Sequence[str], *, quick: bool) -> dict[tuple[str, str], _Time]:
    """Return the times by method and library: medians of interleaved calls of an epoch, or of two slow steps."""
    times = {}
    for method in _methods(problem):
        trainings = {"": Training(problem, None, OWN, seed=0)}
        trainings |= {one: Training(problem, method, one, seed=0) for one in method.libraries if one in libraries}
        steps = {one: 2 if quick or training.advance(2) > 0.2 else problem.steps for one, training in trainings.items()}
        calls = {one: partial(training.advance, steps[one]) for one, training in trainings.items()}
        found = interleaved(calls, 0.0 if quick else 2.0, warm=False)
        for library, timing in found.items():
            step = timing.milliseconds[1] / 1e3 / steps[library]
            key = (method.title, library) if library else (TWO_STAGE, OWN)
            times[key] = _Time(step, timing.ratio[1] * steps[""] / steps[library])
    return {key: times[key] for key in sorted(times, key=lambda key: key[0] != TWO_STAGE)}


def _rows(problem: Problem, runs: Sequence[Run], times: Mapping[tuple[str, str], _Time], epochs: int) -> list[Row]:
    known, rows = {method.title: method for method in METHODS}, []
    for (title, library), taken in times.items():
        method = known.get(title)
        peer = times.get((title, PEER)) if library == OWN else None
        shown = problem.notebook and method is not None and library == method.libraries[-1]
        rows.append(
            Row.of(
                [one.regret for one in runs if (one.method, one.library) == (title, library)],
                problem=problem.name,
                method=title,
                library=library,
                pool=method is not None and method.pool,
                seconds=taken.step * problem.steps * epochs,
                faster=peer.step / taken.step if peer else None,
                loop=taken.loop,
                published=method.published if method is not None and shown else None,
            )
        )
    return rows


def _solvers(problem: Problem, *, installed: bool, quick: bool) -> dict[str, float]:
    """Return the microseconds of a problem by the solver, medians of interleaved calls."""
    count = 10 if quick else 100
    costs = problem.test[1].costs[:count]

    def solve(model: Any) -> None:
        for one in costs.numpy():
            model.setObj(one)
            model.solve()

    calls: dict[str, Callable[[], object]] = {f"{OWN}, a batch of {count}": partial(problem.decide, costs)}
    for name in SOLVERS[problem.name] if installed else ():
        calls[f"{PEER}, {name}"] = partial(solve, problem.model(solver=name))
    with silent(1):  # HiGHS greets at every problem
        found = interleaved(calls, 0.0 if quick else 2.0)
    return {name: 1e3 * timing.milliseconds[1] / count for name, timing in found.items()}
