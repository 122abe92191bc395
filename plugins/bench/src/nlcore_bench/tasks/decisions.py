"""The task of decisions: a network predicts the costs of a problem, and the resulting decision is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import nlcore
from nlcore.errors import ConfigError
from nlcore_bench.config import DecisionsConfig
from nlcore_bench.data.decisions import Samples, grid_samples, knapsack_samples, patient_samples
from nlcore_bench.data.digits import PartName
from nlcore_bench.readers import DigitReader
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure, mlp, shuffled

__all__ = ["Decisions", "Problem"]

_HELD_OUT: dict[PartName, int] = {"validation": 500, "test": 1000}
_TIE = 1e-4  # relative difference up to which two decisions are equally good


@dataclass(frozen=True)
class Problem:
    """A problem with its data and its solver.

    Attributes:
        samples: Features and costs of all parts.
        solver: The exact solver, an argmin.
        sense: Whether costs are minimised or values maximised.
        algorithm: Id of the loss over this solver.
        options: Options of the solver in that loss.
    """

    samples: Samples
    solver: Any
    sense: Literal["minimise", "maximise"]
    algorithm: str
    options: Mapping[str, Any]

    def decide(self, costs: Tensor) -> Tensor:
        """Return the best decisions, [N, m], by costs or values [N, m]."""
        found: Tensor = self.solver(costs if self.sense == "minimise" else -costs)
        return found


class Decisions(DecisionsConfig, AlgorithmTask):
    """Costs of a problem from features; the loss receives the best decision, full supervision the costs.

    The data are those of `nlcore_bench.data.decisions`: shortest paths on a grid, or knapsacks, with costs that are
    polynomials of the features; or real patients, of whom those are chosen whose disease will progress most. A loss can
    ask for the costs (`target = "outputs"`), for the decision, or for a dictionary with `costs` and `solution`
    (`target = "both"`), so that SPO+ need not solve for the best decision.

    Attributes:
        problem: `"grid"`, the shortest path on a grid with costs on edges, `"knapsack"`, or `"patients"`, whose network
            sees the ten columns of one patient at a time.
        degree: Degree of the polynomial; a linear network can be exact for 1.
        noise: Half of the width of the multiplicative noise on costs.
        features: Numbers that the network sees.
        samples: Samples of the training data.
        height: Rows of nodes of the grid.
        width: Columns of nodes of the grid.
        items: Items of the knapsack, or patients of a group.
        dims: Dimensions of the knapsack.
        capacity: Capacity of the knapsack in every dimension; an item weighs between 3 and 8.
        chosen: Patients who are chosen from a group.
        seed: Seed of the data; the seed of a run changes only weights and order.
        batch: Samples in a step.
        hidden: Widths of the hidden layers; none is a linear network.
        algorithm: Id of the loss; empty for the registered loss of the problem.
        algorithm_options: Options of the loss.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("regret", "regret, %", "lower", unit=""),  # a difference of 5 % counts, not one of 2 points
        Measure("best", "best decisions"),
    )

    @cached_property
    def decided(self) -> Problem:
        """The problem with its data."""
        made = {"grid": self._grid, "knapsack": self._knapsack, "patients": self._patients}
        return made[self.problem]()

    def _grid(self) -> Problem:
        from nlcore_decisions import GridEdges

        size = {"height": self.height, "width": self.width}
        samples = grid_samples(self._count, **size, **self._law)
        return Problem(samples, GridEdges(**size), "minimise", "decisions/grid_edges-v1", size)

    def _knapsack(self) -> Problem:
        from nlcore_decisions import Knapsack

        drawn = knapsack_samples(self._count, items=self.items, dims=self.dims, **self._law)
        options: dict[str, Any] = {"weights": drawn.weights.tolist(), "capacity": [self.capacity] * self.dims}
        return Problem(drawn.samples, Knapsack(**options), "maximise", "decisions/knapsack-v1", options)

    def _patients(self) -> Problem:
        from nlcore_decisions import TopK

        if self.chosen > self.items:
            raise ConfigError(f"chosen={self.chosen}: a group has items={self.items} patients. Choose fewer.")
        samples = patient_samples((self.samples, *_HELD_OUT.values()), items=self.items, seed=self.seed)
        return Problem(samples, TopK(self.chosen), "maximise", "decisions/top_k-v1", {"k": self.chosen})

    @property
    def _count(self) -> int:
        return self.samples + sum(_HELD_OUT.values())

    @property
    def _law(self) -> dict[str, Any]:
        return {"features": self.features, "degree": self.degree, "noise": self.noise, "seed": self.seed}

    def make_loss(self, options: Mapping[str, Any]) -> Any:
        """Return the loss of the problem with some options; a pool is the best decisions of the training data."""
        from nlcore_decisions import SolutionPool
        from nlcore_decisions.problems.config import POOLED, method_class

        if self.algorithm:
            return nlcore.make(self.algorithm, **options)
        method = options.get("method")
        if method not in POOLED or "pool_size" in options:
            return nlcore.make(self.decided.algorithm, **self.decided.options, **options)
        own = {key: value for key, value in options.items() if key != "method"}
        pool = SolutionPool(self.decided.solver, self.part("train")[1])
        return method_class(method)(pool, sense=self.decided.sense, **own)

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from features to costs."""
        samples, _ = self.part("train")
        width = samples.features.shape[-1]
        if samples.features.ndim == 3:
            return DigitReader((width, *self.hidden, 1))
        return mlp((width, *self.hidden, samples.costs.shape[1]))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield features with the best decisions and the costs, every sample once per epoch."""
        samples, solutions = self.part(part)
        generator = torch.Generator().manual_seed(seed)
        for index in shuffled(len(samples), self.batch, generator):
            costs, solution = samples.costs[index], solutions[index]
            both = {"costs": costs, "solution": solution}
            yield Batch(samples.features[index], solution, costs, others={"both": both})

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return Σ regret / Σ |best objective| and the share of decisions that are as good as the best, in %."""
        from nlcore_decisions import regret

        samples, solutions = self.part(part)
        with torch.no_grad():
            predicted = network(samples.features)
        if not bool(predicted.isfinite().all()):
            return {"regret": torch.inf, "best": 0.0}
        problem, size = self.decided, (samples.costs * solutions).sum(1).abs()
        lost = regret(problem.solver, predicted, samples.costs, sense=problem.sense, solution=solutions)
        return {
            "regret": 100 * float(lost.sum() / size.sum()),
            "best": 100 * float((lost <= _TIE * size).float().mean()),
        }

    def part(self, name: PartName) -> tuple[Samples, Tensor]:
        """Return the samples of a part with their best decisions."""
        return self._parts[name]

    @cached_property
    def _parts(self) -> dict[PartName, tuple[Samples, Tensor]]:
        begin, parts = 0, {}
        counts: dict[PartName, int] = {"train": self.samples, **_HELD_OUT}
        for name, count in counts.items():
            samples = self.decided.samples[begin : begin + count]
            parts[name] = (samples, self.decided.decide(samples.costs))
            begin += count
        return parts
