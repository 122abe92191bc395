"""Two problems with their data, of which the costs are predicted: a path on a grid and a knapsack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.pyepo_losses import Answers, grid_model, knapsack_model
from nlcore_bench.data.decisions import Samples, grid_samples, knapsack_samples
from nlcore_decisions import GridEdges, Knapsack, normalised_regret

__all__ = ["PROBLEMS", "Problem"]

_QUICKER = frozenset(
    {
        "SPO+",
        "perturbed Fenchel–Young",
        "black box",
        "negative identity",
        "noise-contrastive",
        "contrastive MAP",
        "pointwise ranking",
        "pairwise ranking",
        "listwise ranking",
    }
)
"""The methods that take less than ten minutes with an integer program."""

_BATCH, _TRAIN, _TEST, _SEED = 32, 1000, 1000, 42


@dataclass(frozen=True)
class Problem:
    """A problem with its data.

    Attributes:
        name: `grid` or `knapsack`.
        title: Title of its table.
        samples: Features and costs, those of the training first.
        solver: The argmin of nlcore.
        model: Makes PyEPO's model; `solver=` names another solver.
        sense: Whether costs are minimised or values maximised.
        peer_seeds: Trainings with every method of PyEPO, which take minutes.
        notebook: Whether it is that of PyEPO's notebook.
        methods: Titles of the methods that are compared; empty for all.
    """

    name: str
    title: str
    samples: Samples
    solver: Any
    model: Callable[..., Any]
    sense: Literal["minimise", "maximise"]
    peer_seeds: int
    notebook: bool = False
    methods: frozenset[str] = frozenset()

    @cached_property
    def train(self) -> tuple[Tensor, Answers]:
        """Features and answers of the training."""
        return self._part(slice(0, _TRAIN))

    @cached_property
    def test(self) -> tuple[Tensor, Answers]:
        """Features and answers of the test."""
        return self._part(slice(_TRAIN, None))

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.train[0]) // _BATCH)

    def decide(self, costs: Tensor) -> Tensor:
        """Return the best decisions, [N, m], by costs or values."""
        found: Tensor = self.solver(costs if self.sense == "minimise" else -costs)
        return found

    def regret(self, network: nn.Module) -> float:
        """Return Σ regret / Σ |best| on the test samples, in %."""
        features, truth = self.test
        with torch.no_grad():
            predicted = network(features)
        return 100 * float(
            normalised_regret(self.solver, predicted, truth.costs, sense=self.sense, solution=truth.solutions)
        )

    def network(self, *, positive: bool = False) -> nn.Module:
        """Return a new linear predictor; with `positive` its outputs are made positive."""
        features, truth = self.train
        linear = nn.Linear(features.shape[1], truth.costs.shape[1])
        return nn.Sequential(linear, nn.Softplus(), _Floor()) if positive else linear

    def batches(self) -> Iterator[tuple[Tensor, Answers]]:
        """Yield batches without end, every sample once per epoch, of which the last batch is smaller."""
        features, truth = self.train
        while True:
            for index in torch.split(torch.randperm(len(features)), _BATCH):
                yield features[index], Answers(truth.costs[index], truth.solutions[index], truth.objectives[index])

    def _part(self, index: slice) -> tuple[Tensor, Answers]:
        part = self.samples[index]
        solutions = self.decide(part.costs)
        return part.features, Answers(part.costs, solutions, (part.costs * solutions).sum(1, keepdim=True))


class _Floor(nn.Module):
    def forward(self, costs: Tensor) -> Tensor:
        return costs + 1e-6


def _split(samples: Samples) -> Samples:
    """Return the samples in the order of scikit-learn's split, the training first, as in PyEPO's notebook."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(range(len(samples)), test_size=_TEST, random_state=_SEED)
    return samples[torch.tensor([*train, *test])]


def _grid() -> Problem:
    size = {"height": 5, "width": 5}
    return Problem(
        name="grid",
        title="shortest path on a 5×5 grid, degree 4, noise 0.5",
        samples=_split(grid_samples(_TRAIN + _TEST, degree=4, noise=0.5, seed=_SEED, **size)),
        solver=GridEdges(**size),
        model=partial(grid_model, height=5, width=5),
        sense="minimise",
        peer_seeds=3,
        notebook=True,
    )


def _knapsack() -> Problem:
    drawn = knapsack_samples(_TRAIN + _TEST, items=32, dims=2, degree=4, noise=0.5, seed=_SEED)
    options: dict[str, Any] = {"weights": drawn.weights.tolist(), "capacity": [20.0, 20.0]}
    return Problem(
        name="knapsack",
        title="knapsack of 32 items with two capacities of 20, degree 4, noise 0.5",
        samples=_split(drawn.samples),
        solver=Knapsack(**options),
        model=partial(knapsack_model, drawn.weights, options["capacity"]),
        sense="maximise",
        peer_seeds=1,
        methods=_QUICKER,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {"grid": _grid, "knapsack": _knapsack}
"""Makers of the problems by name."""
