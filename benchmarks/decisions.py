"""Whole trainings of decisions beside those with PyEPO: regret on unseen samples, and seconds of 20 epochs."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

import nlcore
from benchmarks.decision_problems import PROBLEMS, Problem
from benchmarks.pyepo_losses import LOSSES, Answers, Criterion, version
from nlcore.errors import ConfigError
from nlcore_bench.files import write_whole
from nlcore_bench.tables import Table
from nlcore_bench.timer import interleaved
from nlcore_bench.train import one_thread

__all__ = ["METHODS", "Method", "Row", "Run", "Training", "own_criterion", "peer_criterion", "report"]

OWN, PEER, NOTEBOOK = "nlcore", "PyEPO", "PyEPO, its notebook's loss"

_EPOCHS, _LEARNING_RATE = 20, 0.01
_SAMPLED = {"num_samples": 3, "sigma": 1.0}
_POOL = {"solve_ratio": 0.05}
_INTRO = """\
A linear predictor is trained for {epochs} epochs in batches of 32 with Adam and a learning rate of 0.01, as in PyEPO's
notebook "Training and Testing", on its data: 1000 samples, and 1000 others for the test. The loop is the same for both
libraries, and so are seeds, weights and order of the samples. Regret is Σ (cost − best cost) / Σ best cost, the mean
and standard deviation over seeds. **Published** is what the notebook prints.

{peer}, torch {torch}; one thread, processor time, medians of interleaved calls. Solvers of PyEPO: {solvers}, one
process, as two slow it down on these small problems. The last column is the time divided by that of the same training
on the squared error of the costs, which solves nothing.

A layer of PyEPO that returns solutions has the loss of nlcore behind it, the number of differing entries (squares for
the perturbed optimiser); where the notebook takes another, that is a row of its own. The two differ in the interpolation
that a sample sees too: in the notebook it is divided by the size of the batch, and for I-MLE by the number of edges.
"""


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
    Method(
        "perturbed optimiser", "perturbed_optimizer", {"method": "central_difference", **_SAMPLED}, published=9.88
    ),
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
            loss.backward()
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


@dataclass(frozen=True, slots=True)
class Row:
    """A method in a library, on a problem.

    Attributes:
        problem: Name of the problem.
        method: Title of the method.
        library: Whose it is.
        regret: Mean over the seeds, in %.
        deviation: Standard deviation over the seeds; 0 for one.
        seeds: Number of seeds.
        seconds: Processor time of the training, from the median time of a step.
        faster: How many times as fast as PyEPO; `None` for others.
        loop: Time divided by that of the squared error.
        published: Regret in PyEPO's notebook, in %.
    """

    problem: str
    method: str
    library: str
    regret: float
    deviation: float
    seeds: int
    seconds: float
    faster: float | None
    loop: float
    published: float | None


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
    made = [PROBLEMS[name]() for name in problems]
    rows: list[Row] = []
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # those of the peer
        for problem in made:
            seeds, epochs = (1, 1) if quick else (problem.seeds, _EPOCHS)
            runs = train_all(problem, folder / "decisions_runs.json", epochs=epochs, seeds=seeds, libraries=libraries)
            rows += _rows(problem, runs, _times(problem, libraries, quick=quick), epochs)
    page = _page(made, rows, 1 if quick else _EPOCHS)
    write_whole(folder / "decisions.md", page)
    write_whole(folder / "decisions.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return page


def train_all(problem: Problem, path: Path, *, epochs: int, seeds: int, libraries: Sequence[str]) -> list[Run]:
    """Return the runs of a problem; those in the file are not repeated, and each is written when it ends.

    Args:
        problem: The problem.
        path: JSON file of the runs.
        epochs: Length of a training.
        seeds: Trainings with every method.
        libraries: Whose methods.
    """
    runs = [Run(**one) for one in json.loads(path.read_text())] if path.is_file() else []
    for seed in range(seeds):
        for method, library in _contestants(libraries):
            title = method.title if method else TWO_STAGE
            if (problem.name, title, library, seed, epochs) not in {one.key for one in runs}:
                training = Training(problem, method, library, seed)
                seconds = training.advance(epochs * problem.steps)
                regret = problem.regret(training.network)
                runs.append(Run(problem.name, title, library, seed, epochs, regret, seconds))
                write_whole(path, json.dumps([asdict(one) for one in runs], indent=1) + "\n")
    return [one for one in runs if one.problem == problem.name and one.epochs == epochs and one.library in libraries]


def _installed() -> bool:
    try:
        import pyepo.model.ort  # noqa: F401
    except ImportError:
        return False
    return True


def _contestants(libraries: Sequence[str]) -> list[tuple[Method | None, str]]:
    """Return method and library of every row of a table."""
    pairs = [(method, library) for method in METHODS for library in method.libraries if library in libraries]
    return [(None, OWN), *pairs]


def _times(problem: Problem, libraries: Sequence[str], *, quick: bool) -> dict[tuple[str, str], float]:
    """Return the seconds of a step by method and library, medians of interleaved calls."""
    times: dict[tuple[str, str], float] = {}
    for method in (None, *METHODS):
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


def _rows(
    problem: Problem, runs: Sequence[Run], times: Mapping[tuple[str, str], float], epochs: int
) -> list[Row]:
    rows, bare = [], times[TWO_STAGE, OWN]
    published = {method.title: method.published for method in METHODS} if problem.name == "grid" else {}
    for (title, library), step in times.items():
        regrets = [one.regret for one in runs if (one.method, one.library) == (title, library)]
        peer = times.get((title, PEER)) if library == OWN else None
        whose = NOTEBOOK if (title, NOTEBOOK) in times else PEER
        rows.append(
            Row(
                problem=problem.name,
                method=title,
                library=library,
                regret=fmean(regrets),
                deviation=stdev(regrets) if len(regrets) > 1 else 0.0,
                seeds=len(regrets),
                seconds=step * problem.steps * epochs,
                faster=peer / step if peer else None,
                loop=step / bare,
                published=published.get(title) if library == whose else None,
            )
        )
    return rows


def _page(problems: Sequence[Problem], rows: Sequence[Row], epochs: int) -> str:
    solvers = ", ".join(f"{one.peer_solver} ({one.name})" for one in problems)
    about = {"epochs": epochs, "solvers": solvers, "torch": torch.__version__.partition("+")[0]}
    parts = ["# Training on decisions, beside PyEPO\n", *_finding(problems, rows)]
    parts.append(_INTRO.format(peer=version() if _installed() else "PyEPO is not installed", **about))
    for problem in problems:
        title = f"{problem.title[:1].upper()}{problem.title[1:]}"
        parts += [f"## {title}\n", _table([row for row in rows if row.problem == problem.name]).markdown()]
    return "\n".join(parts)


def _finding(problems: Sequence[Problem], rows: Sequence[Row]) -> list[str]:
    """Return in a sentence for each problem how much faster nlcore is."""
    pools = {method.title: method.pool for method in METHODS}
    found = []
    for problem in problems:
        for pool, words in ((False, "methods that solve every sample"), (True, "methods with a pool of solutions")):
            faster = [
                row.faster
                for row in rows
                if row.problem == problem.name and row.faster is not None and pools[row.method] == pool
            ]
            if faster:
                span = f"{min(faster):.3g} to {max(faster):.3g}"
                found.append(f"**{problem.name.capitalize()}, {words}: nlcore is {span} times as fast as PyEPO.**\n")
    return found


def _table(rows: Sequence[Row]) -> Table:
    head = ("method", "library", "regret, %", "published, %", "seconds", "× as fast as PyEPO", "time / bare loop")
    cells = [
        (
            row.method,
            row.library,
            f"{row.regret:.2f} ± {row.deviation:.2f}" if row.seeds > 1 else f"{row.regret:.2f}",
            "" if row.published is None else f"{row.published:.2f}",
            f"{row.seconds:.3g}",
            "" if row.faster is None else f"{row.faster:.1f}",
            f"{row.loop:.1f}",
        )
        for row in rows
    ]
    return Table(head=head, rows=tuple(cells), words=2)
