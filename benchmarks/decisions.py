"""Whole trainings of decisions beside those with PyEPO: regret on unseen samples, and seconds of 20 epochs."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.decision_problems import PROBLEMS, Problem
from benchmarks.decision_tables import Row, Section, write_page
from benchmarks.pyepo_losses import LOSSES, RATIO, Answers, Criterion, version
from nlcore.errors import ConfigError
from nlcore_bench.files import write_whole
from nlcore_bench.timer import interleaved
from nlcore_bench.train import one_thread
from nlcore_decisions import (
    IMLE,
    AdaptiveIMLE,
    BlackBox,
    CentralDifference,
    ListwiseRanking,
    MaximumAPosteriori,
    NegativeIdentity,
    NoiseContrastive,
    PairwiseRanking,
    PerturbedFenchelYoung,
    PointwiseRanking,
    RegularizedFenchelYoung,
    SolutionPool,
    SPOPlus,
)

__all__ = ["METHODS", "Method", "Run", "Training", "own_criterion", "peer_criterion", "report"]

OWN, PEER, NOTEBOOK = "nlcore", "PyEPO", "PyEPO, its notebook's loss"

_EPOCHS, _SEEDS, _LEARNING_RATE = 20, 8, 0.01
_SAMPLED = {"num_samples": 3, "sigma": 1.0}


@dataclass(frozen=True)
class Method:
    """A method in both libraries.

    Attributes:
        title: Name in the table.
        peer: Key of `LOSSES`; with ", notebook" behind it there may be another.
        loss: Class of nlcore.
        published: Regret on the grid in PyEPO's notebook, in %, if the loss is there.
        options: Options of the class.
        target: What it receives: `solution`, `costs`, or `both`.
        pool: Whether it compares the solutions of a pool, and seldom solves.
        positive: Whether the predictions are made positive.
    """

    title: str
    peer: str
    loss: type[Any]
    published: float | None
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = "solution"
    pool: bool = False
    positive: bool = False

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries in which it is trained."""
        return (OWN, PEER, NOTEBOOK) if f"{self.peer}, notebook" in LOSSES else (OWN, PEER)


_MULTIPLICATIVE = {"num_samples": 3, "sigma": 0.5, "noise": "multiplicative"}
_IMPLICIT = {**_SAMPLED, "interpolation": 10.0}
_TWENTY = {"max_steps": 20}
_REGRET = {"interpolation": 20 / 32, "objective": "regret"}  # PyEPO divides by the size of the batch
_YOUNG, _YOUNGER = "perturbed Fenchel–Young", "perturbed Fenchel–Young, multiplicative"

METHODS = (
    Method("SPO+", "spo_plus", SPOPlus, 7.59, target="both"),
    Method(_YOUNG, "perturbed_fenchel_young", PerturbedFenchelYoung, 7.29, _SAMPLED),
    Method(_YOUNGER, "multiplicative", PerturbedFenchelYoung, 7.54, _MULTIPLICATIVE, positive=True),
    Method("regularised Fenchel–Young", "regularized_fenchel_young", RegularizedFenchelYoung, 7.79, _TWENTY),
    Method("perturbed optimiser", "perturbed_optimizer", CentralDifference, 9.88, _SAMPLED),
    Method("I-MLE", "imle", IMLE, 12.07, _IMPLICIT),
    Method("adaptive I-MLE", "adaptive_imle", AdaptiveIMLE, 7.24, _SAMPLED),
    Method("black box", "blackbox", BlackBox, None, {"interpolation": 20.0}),
    Method("black box, regret", "blackbox_regret", BlackBox, 15.12, _REGRET, target="both"),
    Method("negative identity", "negative_identity", NegativeIdentity, 8.90),
    Method("noise-contrastive", "noise_contrastive", NoiseContrastive, 10.29, pool=True),
    Method("contrastive MAP", "maximum_a_posteriori", MaximumAPosteriori, 12.97, pool=True),
    Method("pointwise ranking", "pointwise_ranking", PointwiseRanking, 8.47, target="costs", pool=True),
    Method("pairwise ranking", "pairwise_ranking", PairwiseRanking, 9.73, target="costs", pool=True),
    Method("listwise ranking", "listwise_ranking", ListwiseRanking, 9.59, target="costs", pool=True),
)

TWO_STAGE = "squared error of the costs"


def own_criterion(problem: Problem, method: Method, seed: int) -> Criterion:
    """Return the mean of a loss of nlcore; a pool begins with the solutions of the training data."""
    argmin = problem.solver
    if method.pool:
        argmin = SolutionPool(problem.solver, problem.train[1].solutions, solve_ratio=RATIO, seed=seed)
    loss = method.loss(argmin, sense=problem.sense, **method.options)

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
    path, epochs, sections = folder / "decisions_runs.json", 1 if quick else _EPOCHS, []
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # those of the peer
        for problem in (PROBLEMS[name]() for name in problems):
            libraries = (OWN, PEER, NOTEBOOK)[: (3 if problem.notebook else 2) if installed else 1]
            seeds = {one: 1 if quick else _SEEDS if one == OWN else problem.peer_seeds for one in libraries}
            runs = train_all(problem, path, epochs=epochs, seeds=seeds)
            rows = _rows(problem, runs, _times(problem, libraries, quick=quick), epochs)
            sections.append(Section(problem.name, problem.title, problem.peer_solver, rows))
    peer = version() if installed else "PyEPO is not installed"
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
        shown = problem.notebook and method is not None and library == method.libraries[-1]
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
                published=method.published if method is not None and shown else None,
            )
        )
    return rows
