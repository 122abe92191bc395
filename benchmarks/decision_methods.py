"""The methods that both libraries have, with the options and the printed results of PyEPO's notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmarks.decision_problems import Problem
from benchmarks.pyepo_losses import LOSSES, RATIO, Answers, Criterion
from nlcore_decisions import SolutionPool
from nlcore_decisions.problems.config import POOLED, method_class

__all__ = ["METHODS", "NOTEBOOK", "OWN", "PEER", "Method", "own_criterion", "peer_criterion"]

OWN, PEER, NOTEBOOK = "nlcore", "PyEPO", "PyEPO, its notebook's loss"

_SAMPLED = {"num_samples": 3, "sigma": 1.0}


@dataclass(frozen=True)
class Method:
    """A method in both libraries.

    Attributes:
        title: Name in the table.
        peer: Key of `LOSSES`; with ", notebook" behind it there may be another.
        published: Regret on the grid, in %, and seconds, as PyEPO's notebook prints them; `None` if it lacks the loss.
        options: Options of the class of nlcore.
        name: Name of the method in nlcore; by default the key of `LOSSES`.
        target: What it receives: `solution`, `costs`, or `both`.
        positive: Whether the predictions are made positive.
    """

    title: str
    peer: str
    published: tuple[float, float] | None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    target: str = "solution"
    positive: bool = False

    @property
    def loss(self) -> type[Any]:
        """The class of nlcore."""
        return method_class(self.name or self.peer)

    @property
    def pool(self) -> bool:
        """Whether it compares the solutions of a pool, and seldom solves."""
        return (self.name or self.peer) in POOLED

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries in which it is trained."""
        return (OWN, PEER, NOTEBOOK) if f"{self.peer}, notebook" in LOSSES else (OWN, PEER)


_YOUNG = "perturbed_fenchel_young"
_MULTIPLICATIVE = {"num_samples": 3, "sigma": 0.5, "noise": "multiplicative"}
_IMPLICIT = {**_SAMPLED, "interpolation": 10.0}
_REGRET = {"interpolation": 20 / 32, "objective": "regret"}  # PyEPO divides by the size of the batch

METHODS = (
    Method("SPO+", "spo_plus", (7.59, 165), target="both"),
    Method("perturbed Fenchel–Young", _YOUNG, (7.29, 297), _SAMPLED),
    Method(
        "perturbed Fenchel–Young, multiplicative", "multiplicative", (7.54, 293), _MULTIPLICATIVE, _YOUNG, positive=True
    ),
    Method("regularised Fenchel–Young", "regularized_fenchel_young", (7.79, 3347), {"max_steps": 20}),
    Method("perturbed optimiser", "perturbed_optimizer", (9.88, 306), _SAMPLED, "central_difference"),
    Method("I-MLE", "imle", (12.07, 609), _IMPLICIT),
    Method("adaptive I-MLE", "adaptive_imle", (7.24, 614), _SAMPLED),
    Method("black box", "blackbox", None, {"interpolation": 20.0}),
    Method("black box, regret", "blackbox_regret", (15.12, 298), _REGRET, "blackbox", target="both"),
    Method("negative identity", "negative_identity", (8.90, 156)),
    Method("noise-contrastive", "noise_contrastive", (10.29, 19)),
    Method("contrastive MAP", "maximum_a_posteriori", (12.97, 21)),
    Method("pointwise ranking", "pointwise_ranking", (8.47, 17.4), target="costs"),
    Method("pairwise ranking", "pairwise_ranking", (9.73, 17.1), target="costs"),
    Method("listwise ranking", "listwise_ranking", (9.59, 16.2), target="costs"),
)
"""In the order of the tables; what is published stands in `benchmarks.decision_tables.NOTEBOOK_PAGE`."""


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
