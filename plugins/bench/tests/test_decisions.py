"""Synthetic costs with their features, and the task of decisions on them."""

from __future__ import annotations

from itertools import combinations, islice, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlcore.errors import ConfigError
from nlcore_bench import Decisions, find
from nlcore_bench.criteria import make_loss
from nlcore_bench.data.decisions import grid_samples, knapsack_samples, patient_samples
from nlcore_bench.parts import LossPart, TaskPart
from nlcore_bench.records import Cell
from nlcore_bench.run import train_cell
from nlcore_bench.study import Entry
from nlcore_bench.tasks import Totals
from nlcore_bench.tasks.base import task_settings


class Oracle(nn.Module):
    """Knows the costs that belong to features, up to what is done to them."""

    def __init__(self, task: Decisions, change=lambda costs: costs) -> None:
        super().__init__()
        self.known, self.change = task.decided.samples, change

    def forward(self, features: Tensor) -> Tensor:
        index = (features[:, None] == self.known.features).flatten(2).all(2).int().argmax(1)
        return self.change(self.known.costs[index])


def paths(height: int, width: int) -> Tensor:
    """Return all paths right and down, [V, m], by edges row by row."""
    edges: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
    for row in range(height):
        for column in range(width - 1):
            edges[(row, column), (row, column + 1)] = len(edges)
        for column in range(width if row < height - 1 else 0):
            edges[(row, column), (row + 1, column)] = len(edges)
    found = []
    for down in combinations(range(height + width - 2), height - 1):
        path, node = torch.zeros(len(edges)), (0, 0)
        for step in range(height + width - 2):
            after = (node[0] + 1, node[1]) if step in down else (node[0], node[1] + 1)
            path[edges[node, after]] = 1
            node = after
        found.append(path)
    return torch.stack(found)


def test_costs_follow_their_definition() -> None:
    plain, noisy = (grid_samples(400, degree=3, noise=noise, seed=5) for noise in (0.0, 0.3))
    assert plain.features.shape == (400, 5)
    assert plain.costs.shape == (400, 40)
    assert plain.features.dtype == plain.costs.dtype == torch.float32
    # B is read off the costs: x Bᵀ is the cubic root, up to a shift and a factor
    cubes = plain.costs.double() * 3.5**3 - 1
    sums = (cubes.sign() * cubes.abs().pow(1 / 3) - 3) * 5**0.5
    matrix = torch.linalg.lstsq(plain.features.double(), sums).solution
    torch.testing.assert_close(matrix, matrix.round(), atol=1e-3, rtol=0)
    assert set(matrix.round().unique().tolist()) == {0.0, 1.0}
    assert 0.3 < matrix.mean() < 0.7
    ratio = noisy.costs / plain.costs
    assert torch.equal(noisy.features, plain.features)
    assert 0.7 <= ratio.min() < 0.705
    assert 1.295 < ratio.max() <= 1.3001


def test_values_of_a_knapsack_are_whole_and_its_weights_between_three_and_eight() -> None:
    drawn = knapsack_samples(200, items=12, dims=2, degree=4, noise=0.5, seed=3)
    assert drawn.weights.shape == (2, 12)
    assert 3 <= drawn.weights.min() < drawn.weights.max() < 8
    values = drawn.samples.costs
    assert values.shape == (200, 12)
    assert torch.equal(values, values.round())
    assert values.min() >= 1


def test_data_depend_on_the_seed_alone() -> None:
    for make in (grid_samples, lambda count, seed: knapsack_samples(count, seed=seed).samples):
        first, other = make(20, seed=1), make(20, seed=2)
        make.cache_clear() if hasattr(make, "cache_clear") else knapsack_samples.cache_clear()
        again = make(20, seed=1)
        assert torch.equal(first.costs, again.costs)
        assert not torch.equal(first.costs, other.costs)


@pytest.mark.parametrize(("height", "width"), [(5, 5), (3, 4)])
def test_decisions_on_a_grid_are_the_best_of_all_paths(height: int, width: int) -> None:
    task = Decisions(height=height, width=width, samples=100)
    every = paths(height, width)
    for part in ("train", "test"):
        samples, solutions = task.part(part)
        torch.testing.assert_close((samples.costs * solutions).sum(1), (samples.costs @ every.T).amin(1))


@pytest.mark.parametrize("dims", [1, 2])
def test_decisions_of_a_knapsack_are_the_best_of_all_subsets(dims: int) -> None:
    task = Decisions(problem="knapsack", items=8, dims=dims, capacity=12.0, samples=100)
    subsets = torch.tensor(list(product((0.0, 1.0), repeat=8)))
    weights = torch.tensor(task.decided.options["weights"]).reshape(dims, 8)
    feasible = subsets[(subsets @ weights.T <= 12 + 1e-6).all(1)]
    samples, solutions = task.part("train")
    torch.testing.assert_close((samples.costs * solutions).sum(1), (samples.costs @ feasible.T).amax(1))
    assert bool((solutions @ weights.T <= 12 + 1e-6).all())


def test_the_patients_of_training_are_in_no_other_part() -> None:
    counts, names = (30, 20, 10), ("train", "validation", "test")
    samples = patient_samples(counts, items=20)
    assert samples.features.shape == (60, 20, 10)
    seen = {
        name: {tuple(row) for row in part.reshape(-1, 10).tolist()}
        for name, part in zip(names, samples.features.split(counts), strict=True)
    }
    assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"]
    assert all(len({tuple(row) for row in group.tolist()}) == 20 for group in samples.features)
    with pytest.raises(ConfigError, match="88 patients"):
        patient_samples(counts, items=100)


def test_the_patients_chosen_are_those_with_the_greatest_progression() -> None:
    task = Decisions(problem="patients", items=8, chosen=3, samples=40)
    samples, solutions = task.part("test")
    subsets = torch.tensor([choice for choice in product((0.0, 1.0), repeat=8) if sum(choice) == 3])
    torch.testing.assert_close((samples.costs * solutions).sum(1), (samples.costs @ subsets.T).amax(1))
    with pytest.raises(ConfigError, match="Choose fewer"):
        Decisions(problem="patients", items=4, chosen=5).part("train")


@pytest.mark.parametrize("problem", ["grid", "knapsack", "patients"])
def test_an_oracle_has_no_regret_and_its_opposite_has(problem: str) -> None:
    task = Decisions(problem=problem, samples=50)
    for part in ("train", "validation", "test"):
        assert task.evaluate(Oracle(task), part) == {"regret": pytest.approx(0.0, abs=1e-4), "best": 100.0}
    assert task.evaluate(Oracle(task, lambda costs: 3 * costs), "test")["best"] == 100.0
    opposite = task.evaluate(Oracle(task, torch.neg), "test")
    assert opposite["regret"] > 50
    assert opposite["best"] < 1
    nothing = task.evaluate(Oracle(task, lambda costs: costs * torch.nan), "test")
    assert nothing == {"regret": np.inf, "best": 0.0}


def test_regret_counted_by_hand() -> None:
    task = Decisions(samples=10)
    samples, solutions = task.part("test")
    flat = task.evaluate(Oracle(task, torch.ones_like), "test")
    best = (samples.costs * solutions).sum(1)
    one = task.decided.decide(torch.ones(1, 40))
    lost = (samples.costs * one).sum(1) - best
    assert flat["regret"] == pytest.approx(100 * float(lost.sum() / best.sum()), rel=1e-5)
    assert flat["best"] == pytest.approx(100 * float((lost <= 1e-4 * best).float().mean()))


def test_parts_have_the_same_law_and_no_sample_in_common() -> None:
    task = Decisions(samples=60)
    parts = [task.part(name)[0].features for name in ("train", "validation", "test")]
    assert [len(one) for one in parts] == [60, 500, 1000]
    rows = [{tuple(row) for row in part.tolist()} for part in parts]
    assert all(not one & other for one, other in combinations(rows, 2))


def test_every_sample_comes_once_an_epoch_with_all_its_targets() -> None:
    task = Decisions(samples=20, batch=5)
    batches = list(islice(task.batches(1), 8))
    for epoch in (batches[:4], batches[4:]):
        assert len({tuple(row) for batch in epoch for row in batch.inputs.tolist()}) == 20
    for batch in batches:
        assert torch.equal(batch.target, task.decided.decide(batch.outputs))
        targets = batch.targets()
        assert torch.equal(targets["both"]["costs"], batch.outputs)
        assert torch.equal(targets["both"]["solution"], batch.target)


def test_the_network_is_linear_or_deep() -> None:
    assert [type(one) for one in Decisions().network(0)] == [nn.Linear]
    deep = Decisions(hidden=(7,)).network(0)
    assert [tuple(one.weight.shape) for one in deep if isinstance(one, nn.Linear)] == [(7, 5), (40, 7)]


def test_options_that_are_wrong_are_named() -> None:
    with pytest.raises(ConfigError, match="degree"):
        Decisions(degree=0)
    with pytest.raises(ConfigError, match="problem"):
        Decisions(problem="salesman")
    assert task_settings("bench/decisions", {"degree": 1})["options"] == {"degree": 1}


def test_a_loss_of_a_study_takes_the_problem_from_the_task() -> None:
    part = LossPart(id="task", options={"method": "negative_identity"})
    grid, knapsack = Decisions(samples=8), Decisions(problem="knapsack", samples=8)
    for task in (grid, knapsack):
        batch = next(task.batches(0))
        assert make_loss(task, part)(batch.outputs, batch.target).abs().max() == 0
    assert make_loss(grid, part) != make_loss(knapsack, part)
    assert make_loss(Totals(length=3), LossPart(id="task")).id == "sequences/prefix_sum-v1"


def test_every_method_of_decisions_is_in_the_study() -> None:
    from nlcore_decisions.problems.config import METHODS

    losses = [entry.loss for entry in find("decisions").entries()]
    assert {loss.options["method"] for loss in losses if loss is not None and loss.id == "task"} == set(METHODS)


def test_a_pool_is_the_decisions_of_the_training_data() -> None:
    task = Decisions(samples=30)
    loss = make_loss(task, LossPart(id="task", options={"method": "listwise_ranking", "temperature": 2.0}))
    assert torch.equal(loss.argmin.solutions.unique(dim=0), task.part("train")[1].double().unique(dim=0))
    assert loss.temperature == 2.0


@pytest.mark.parametrize("entry", find("decisions").entries(tasks=["degree_4"]), ids=lambda entry: entry.name)
def test_every_method_trains(entry: Entry) -> None:
    options = {"samples": 16, "batch": 4, "height": 3, "width": 3}
    study = find("decisions").model_copy(
        update={"steps": 2, "tasks": {"degree_4": TaskPart(id="bench/decisions", options=options)}}
    )
    first = entry.candidates[0]
    cell = Cell("tune", entry.name, first.learning_rate, 0, first.damping, task="degree_4")
    assert train_cell(study, entry, cell).failure is None
