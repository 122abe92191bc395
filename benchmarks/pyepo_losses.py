"""Models and losses of PyEPO for the comparison of whole trainings; the library is imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

__all__ = ["LOSSES", "RATIO", "SOLVERS", "Answers", "Criterion", "grid_model", "knapsack_model", "version"]

SOLVERS = {"grid": ("GLOP", "CLP", "PDLP", "HIGHS", "SCIP"), "knapsack": ("SCIP", "CBC", "SAT", "HIGHS")}
"""Solvers of OR-Tools by problem; the first is the default of PyEPO and the fastest, and the one of the trainings."""

RATIO = 0.05
"""Share of the steps in which the losses with a pool solve."""


@dataclass(frozen=True)
class Answers:
    """The true costs of some samples and what follows from them.

    Attributes:
        costs: [N, m], costs of the edges or values of the items.
        solutions: [N, m], the best decision, 0 or 1.
        objectives: [N, 1], its cost or value.
    """

    costs: Tensor
    solutions: Tensor
    objectives: Tensor


Criterion: TypeAlias = Callable[[Tensor, Answers], Tensor]
"""Maps predictions [N, m] and the answers to a scalar."""


def version() -> str:
    """Return the versions of PyEPO and of OR-Tools."""
    from importlib.metadata import version

    return f"PyEPO {version('pyepo')} with OR-Tools {version('ortools')}"


def grid_model(height: int, width: int, solver: str = SOLVERS["grid"][0]) -> Any:
    """Return PyEPO's linear program of a path on a grid, right and down, with costs on edges."""
    from pyepo.model.ort import shortestPathModel

    return shortestPathModel((height, width), solver=solver.lower())


def knapsack_model(weights: Tensor, capacity: list[float], solver: str = SOLVERS["knapsack"][0]) -> Any:
    """Return PyEPO's integer program of a knapsack.

    Args:
        weights: [dims, m], the weights of the items in every dimension.
        capacity: Of every dimension.
        solver: One of `SOLVERS`.
    """
    from pyepo.model.ort import knapsackModel

    return knapsackModel(weights.numpy(), np.array(capacity), solver=solver.lower())


def _differing(solution: Tensor, truth: Answers) -> Tensor:
    """Return the number of entries that differ from the best decision, as it is for 0 and 1, summed over the batch."""
    return (solution * (1 - 2 * truth.solutions) + truth.solutions).sum()


def _squares(solution: Tensor, truth: Answers) -> Tensor:
    return (solution - truth.solutions).square().sum()


def _mean_difference(solution: Tensor, truth: Answers) -> Tensor:
    return (solution - truth.solutions).abs().mean()


def _objective(solution: Tensor, truth: Answers) -> Tensor:
    return ((solution * truth.costs).sum(1, keepdim=True) - truth.objectives).abs().mean()


def _layer(name: str, outer: Callable[[Tensor, Answers], Tensor], **options: Any) -> Callable[..., Criterion]:
    """Return the maker of a module that returns solutions, with the loss behind it."""

    def make(model: Any, dataset: Any, seed: int) -> Criterion:
        layer = _made(name, model, seed, options)
        return lambda prediction, truth: outer(layer(prediction), truth)

    return make


def _to_solution(name: str, **options: Any) -> Callable[..., Criterion]:
    """Return the maker of a loss whose target is the solution."""

    def make(model: Any, dataset: Any, seed: int) -> Criterion:
        loss = _made(name, model, seed, options)
        return lambda prediction, truth: loss(prediction, truth.solutions)

    return make


def _pooled(name: str, target: str) -> Callable[..., Criterion]:
    """Return the maker of a loss over a pool of solutions."""

    def make(model: Any, dataset: Any, seed: int) -> Criterion:
        loss = _made(name, model, seed, {"solve_ratio": RATIO, "dataset": dataset})
        loss._branch_rng.seed(seed)
        return lambda prediction, truth: loss(prediction, getattr(truth, target))

    return make


def _spo_plus(model: Any, dataset: Any, seed: int) -> Criterion:
    loss = _made("SPOPlus", model, seed, {})
    return lambda prediction, truth: loss(prediction, truth.costs, truth.solutions, truth.objectives)


def _made(name: str, model: Any, seed: int, options: dict[str, Any]) -> Any:
    """Return a module of PyEPO; the noise of some has a seed of its own."""
    from pyepo import func
    from pyepo.func.utils import sumGammaDistribution

    more: dict[str, Any] = {}
    if name in {"perturbedOpt", "perturbedFenchelYoung", "perturbedFenchelYoungMul"}:
        more["seed"] = seed
    if name in {"implicitMLE", "adaptiveImplicitMLE"}:
        more["distribution"] = sumGammaDistribution(kappa=5, seed=seed)
    return getattr(func, name)(model, **options, **more)


_SAMPLED = {"n_samples": 3, "sigma": 1.0}

LOSSES: dict[str, Callable[..., Criterion]] = {
    "spo_plus": _spo_plus,
    "perturbed_fenchel_young": _to_solution("perturbedFenchelYoung", **_SAMPLED),
    "multiplicative": _to_solution("perturbedFenchelYoungMul", n_samples=3, sigma=0.5),
    "regularized_fenchel_young": _to_solution("regularizedFrankWolfeFenchelYoung", lambd=1.0, max_iter=20),
    "perturbed_optimizer": _layer("perturbedOpt", _squares, **_SAMPLED),
    "perturbed_optimizer, notebook": _layer("perturbedOpt", _mean_difference, **_SAMPLED),
    "imle": _layer("implicitMLE", _differing, lambd=10.0, **_SAMPLED),
    "imle, notebook": _layer("implicitMLE", _mean_difference, lambd=10.0, **_SAMPLED),
    "adaptive_imle": _layer("adaptiveImplicitMLE", _differing, **_SAMPLED),
    "adaptive_imle, notebook": _layer("adaptiveImplicitMLE", _mean_difference, **_SAMPLED),
    "blackbox": _layer("blackboxOpt", _differing, lambd=20.0),
    "blackbox_regret": _layer("blackboxOpt", _objective, lambd=20.0),
    "negative_identity": _layer("negativeIdentity", _squares),
    "negative_identity, notebook": _layer("negativeIdentity", _objective),
    "noise_contrastive": _pooled("noiseContrastiveEstimation", "solutions"),
    "maximum_a_posteriori": _pooled("contrastiveMAP", "solutions"),
    "pointwise_ranking": _pooled("pointwiseLearningToRank", "costs"),
    "pairwise_ranking": _pooled("pairwiseLearningToRank", "costs"),
    "listwise_ranking": _pooled("listwiseLearningToRank", "costs"),
}
"""Makers `(model, dataset, seed) -> criterion` by the method: with the loss of nlcore behind a layer that returns
solutions, and with that of PyEPO's notebook "Training and Testing" where it is another; options are the notebook's."""
