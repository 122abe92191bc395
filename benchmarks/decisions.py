"""Whole trainings of decisions beside those with PyEPO: regret on unseen samples, and seconds of 20 epochs."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import nlcore
from benchmarks.decision_problems import PROBLEMS, Problem
from benchmarks.decision_tables import Row, Section, write_page
from benchmarks.pyepo_losses import LOSSES, Answers, Criterion, version
from nlcore.errors import ConfigError
from nlcore_bench.files import write_whole
from nlcore_bench.timer import interleaved
from nlcore_bench.train import one_thread

__all__ = ["METHODS", "Method", "Run", "Training", "own_criterion", "peer_criterion", "report"]

OWN, PEER, NOTEBOOK = "nlcore", "PyEPO", "PyEPO, its notebook's loss"

_EPOCHS, _SEEDS, _LEARNING_RATE = 20, 8, 0.01
_SAMPLED = {"num_samples": 3, "sigma": 1.0}
_POOL = {"solve_ratio": 0.05}


@dataclass(frozen=True)
class Method:
    """A method in both libraries.

    Attributes:
        title: Name in the table.
        peer: Key of `LOSSES`; with ", notebook" behind it there may be another.
        options: Options of the registered loss of nlcore.
        target: What that loss receives: `solution`, `costs`, or `both`.
        pool: Whether it seldom solves.
        positive: Whether the predictions are made positive.
        published: Regret on the grid in PyEPO's notebook, in %.
    """

    title: str
    peer: str
    options: Mapping[str, Any]
    target: str = "solution"
    pool: bool = False
    positive: bool = False
    published: float | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries in which it is trained."""
        return (OWN, PEER, NOTEBOOK) if f"{self.peer}, notebook" in LOSSES else (OWN, PEER)


def _method(title: str, peer: str, options: Mapping[str, Any], published: float, **others: Any) -> Method:
    return Method(title, peer, {"method": peer, **options}, published=published, **others)


METHODS = (
    _method("SPO+", "spo_plus", {}, 7.59, target="both"),
    _method("perturbed Fenchel–Young", "perturbed_fenchel_young", _SAMPLED, 7.29),
    Method(
        "perturbed Fenchel–Young, multiplicative",
        "perturbed_fenchel_young_multiplicative",
        {"method": "perturbed_fenchel_young", "num_samples": 3, "sigma": 0.5, "noise": "multiplicative"},
        positive=True,
        published=7.54,
    ),
    _method("regularised Fenchel–Young", "regularized_fenchel_young", {}, 7.79),
    Method("perturbed optimiser", "perturbed_optimizer", {"method": "central_difference", **_SAMPLED}, published=9.88),
    _method("I-MLE", "imle", {"interpolation": 10.0, **_SAMPLED}, 12.07),
    _method("adaptive I-MLE", "adaptive_imle", _SAMPLED, 7.24),
    _method("black box", "blackbox", {"interpolation": 20.0}, 15.12),
    _method("negative identity", "negative_identity", {}, 8.90),
    _method("noise-contrastive", "noise_contrastive", _POOL, 10.29, pool=True),
    _method("contrastive MAP", "maximum_a_posteriori", _POOL, 12.97, pool=True),
    _method("pointwise ranking", "pointwise_ranking", _POOL, 8.47, target="costs", pool=True),
    _method("pairwise ranking", "pairwise_ranking", _POOL, 9.73, target="costs", pool=True),
    _method("listwise ranking", "listwise_ranking", _POOL, 9.59, target="costs", pool=True),
)

TWO_STAGE = "squared error of the costs"


def own_criterion(problem: Problem, method: Method) -> Criterion:
    """Return the mean of a loss of nlcore."""
    loss = nlcore.make(problem.algorithm, **problem.options, **method.options)

    def criterion(prediction: Tensor, truth: Answers) -> Tensor:
        targets: dict[str, Any] = {"costs": truth.costs, "solution": truth.solutions}
        target = targets if method.target == "both" else targets[method.target]
        mean: Tensor = loss(prediction, target).mean()
        return mean

    return criterion


def peer_criterion(problem: Problem, method: Method, library: str, seed: int) -> Criterion:
    """Return a loss of PyEPO, with the loss of nlcore or that of its notebook behind a layer."""
    from pyepo.data.dataset import optDataset

    model, (features, truth) = problem.model(), problem.train
    dataset = optDataset(model, features, truth.costs) if method.pool else None
    name = method.peer if library == PEER else f"{method.peer}, notebook"
    return LOSSES[name](model, dataset, seed)


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
            self.criterion = own_criterion(problem, method)
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
    libraries = (OWN, PEER, NOTEBOOK) if _installed() else (OWN,)
    path, epochs, sections = folder / "decisions_runs.json", 1 if quick else _EPOCHS, []
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # those of the peer
        for problem in (PROBLEMS[name]() for name in problems):
            seeds = {one: 1 if quick else _SEEDS if one == OWN else problem.peer_seeds for one in libraries}
            runs = train_all(problem, path, epochs=epochs, seeds=seeds)
            rows = _rows(problem, runs, _times(problem, libraries, quick=quick), epochs)
            sections.append(Section(problem.name, problem.title, problem.peer_solver, rows))
    peer = version() if len(libraries) > 1 else "PyEPO is not installed"
    return write_page(folder, "decisions", sections, epochs=epochs, peer=peer)


def train_all(problem: Problem, path: Path, *, epochs: int, seeds: Mapping[str, int]) -> list[Run]:
    """Return the runs of a problem; those in the file are not repeated, and each is written when it ends.

    Args:
        problem: The problem.
        path: JSON file of the runs.
        epochs: Length of a training.
        seeds: Number of trainings with every method of a library.
    """
    runs = [Run(**one) for one in json.loads(path.read_text())] if path.is_file() else []
    for seed in range(max(seeds.values())):
        for method, library in _contestants(problem, list(seeds)):
            title = method.title if method else TWO_STAGE
            if seed < seeds[library] and (problem.name, title, library, seed, epochs) not in {one.key for one in runs}:
                training = Training(problem, method, library, seed)
                seconds = training.advance(epochs * problem.steps)
                regret = problem.regret(training.network)
                runs.append(Run(problem.name, title, library, seed, epochs, regret, seconds))
                write_whole(path, json.dumps([asdict(one) for one in runs], indent=1) + "\n")
    return [one for one in runs if one.problem == problem.name and one.epochs == epochs and one.library in seeds]


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


def _times(problem: Problem, libraries: Sequence[str], *, quick: bool) -> dict[tuple[str, str], float]:
    """Return the seconds of a step by method and library, medians of interleaved calls."""
    times: dict[tuple[str, str], float] = {}
    for method in (None, *_methods(problem)):
        rivals = [OWN] if method is None else [one for one in method.libraries if one in libraries]
        calls, steps = {}, {}
        for library in rivals:
            training = Training(problem, method, library, seed=0)
            slow = training.advance(2) > 0.2
            steps[library] = 2 if slow or quick else problem.steps
            calls[library] = partial(training.advance, steps[library])
        found = interleaved(calls, 0.0 if quick else 2.0, warm=False)
        title = method.title if method else TWO_STAGE
        for library in rivals:
            times[title, library] = found[library].milliseconds[1] / 1e3 / steps[library]
    return times


def _rows(problem: Problem, runs: Sequence[Run], times: Mapping[tuple[str, str], float], epochs: int) -> list[Row]:
    known = {method.title: method for method in METHODS}
    bare, rows = times[TWO_STAGE, OWN], []
    for (title, library), step in times.items():
        method = known.get(title)
        peer = times.get((title, PEER)) if library == OWN else None
        shown = problem.name == "grid" and method is not None and library == method.libraries[-1]
        rows.append(
            Row.of(
                [one.regret for one in runs if (one.method, one.library) == (title, library)],
                problem=problem.name,
                method=title,
                library=library,
                pool=method is not None and method.pool,
                seconds=step * problem.steps * epochs,
                faster=peer / step if peer else None,
                loop=step / bare,
                published=method.published if method and shown else None,
            )
        )
    return rows
