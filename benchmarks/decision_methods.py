"""The methods that both libraries have, with the options of PyEPO's notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmarks.decision_problems import Problem
from benchmarks.pyepo_losses import LOSSES, RATIO, Answers, Criterion
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

__all__ = ["METHODS", "NOTEBOOK", "OWN", "PEER", "Method", "own_criterion", "peer_criterion"]

OWN, PEER, NOTEBOOK = "nlcore", "PyEPO", "PyEPO, its notebook's loss"

_SAMPLED = {"num_samples": 3, "sigma": 1.0}


@dataclass(frozen=True)
class Method:
    """A method in both libraries.

    Attributes:
        title: Name in the table.
        peer: Key of `LOSSES`; with ", notebook" behind it there may be another.
        loss: Class of nlcore.
        published: Regret on the grid, in %, and seconds in PyEPO's notebook, if the loss is there.
        options: Options of the class.
        target: What it receives: `solution`, `costs`, or `both`.
        pool: Whether it compares the solutions of a pool, and seldom solves.
        positive: Whether the predictions are made positive.
    """

    title: str
    peer: str
    loss: type[Any]
    published: tuple[float, float] | None
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
    Method("SPO+", "spo_plus", SPOPlus, (7.59, 165), target="both"),
    Method(_YOUNG, "perturbed_fenchel_young", PerturbedFenchelYoung, (7.29, 297), _SAMPLED),
    Method(_YOUNGER, "multiplicative", PerturbedFenchelYoung, (7.54, 293), _MULTIPLICATIVE, positive=True),
    Method("regularised Fenchel–Young", "regularized_fenchel_young", RegularizedFenchelYoung, (7.79, 3347), _TWENTY),
    Method("perturbed optimiser", "perturbed_optimizer", CentralDifference, (9.88, 306), _SAMPLED),
    Method("I-MLE", "imle", IMLE, (12.07, 609), _IMPLICIT),
    Method("adaptive I-MLE", "adaptive_imle", AdaptiveIMLE, (7.24, 614), _SAMPLED),
    Method("black box", "blackbox", BlackBox, None, {"interpolation": 20.0}),
    Method("black box, regret", "blackbox_regret", BlackBox, (15.12, 298), _REGRET, target="both"),
    Method("negative identity", "negative_identity", NegativeIdentity, (8.9, 156)),
    Method("noise-contrastive", "noise_contrastive", NoiseContrastive, (10.29, 19), pool=True),
    Method("contrastive MAP", "maximum_a_posteriori", MaximumAPosteriori, (12.97, 21), pool=True),
    Method("pointwise ranking", "pointwise_ranking", PointwiseRanking, (8.47, 17.4), target="costs", pool=True),
    Method("pairwise ranking", "pairwise_ranking", PairwiseRanking, (9.73, 17.1), target="costs", pool=True),
    Method("listwise ranking", "listwise_ranking", ListwiseRanking, (9.59, 16.2), target="costs", pool=True),
)


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
