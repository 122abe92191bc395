"""Knapsacks by every algorithm, against all selections and HiGHS."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import product
from typing import Any

import pytest
import torch

from nlcore.compiled import torch_alone
from nlcore.errors import ConfigError
from nlcore_decisions.solvers import knapsack
from nlcore_decisions.solvers.knapsack import Knapsack

torch.set_num_threads(1)

WAYS = [torch_alone] + ([nullcontext] if find_spec("numba") else [])
HIGHS = find_spec("scipy") is not None


def problem(seed: int) -> tuple[Knapsack, torch.Tensor, torch.Tensor]:
    """Return a small knapsack, costs with and without ties, and all its selections."""
    generator = torch.Generator().manual_seed(seed)
    n, dims = int(torch.randint(1, 9, (), generator=generator)), seed % 3 + 1
    if seed % 4 == 0:
        weights = torch.rand(dims, n, generator=generator, dtype=torch.float64)
        capacity = weights.sum(1) * torch.rand(dims, generator=generator, dtype=torch.float64)
        fits = None
    else:  # hundredths, whose sums are exact as whole numbers only
        whole = torch.randint(0 if seed % 4 == 1 else 300, 800, (dims, n), generator=generator)
        limit = (whole.sum(1) * torch.rand(dims, generator=generator)).long()
        weights, capacity, fits = whole.double() / 100, limit.double() / 100, (whole, limit)
    selections = torch.tensor(list(product([0.0, 1.0], repeat=n)), dtype=torch.float64)
    if fits is None:
        feasible = (selections @ weights.mT <= capacity).all(1)
    else:
        feasible = (selections.long() @ fits[0].mT <= fits[1]).all(1)
    solver = Knapsack(weights[0].tolist(), float(capacity[0])) if dims == 1 else Knapsack(weights, capacity)
    real = torch.randn(5, n, generator=generator, dtype=torch.float64) - 0.5
    costs = torch.cat([real, torch.randint(-5, 3, (5, n), generator=generator).double()])
    return solver, costs, selections[feasible]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(100))
def test_equals_the_best_of_all_selections(way: type[AbstractContextManager[None]], seed: int) -> None:
    solver, costs, selections = problem(seed)
    values = costs @ selections.mT
    least = values.amin(1)
    with way():
        result = solver.solve(costs, ties=True)
        single = solver(costs.float())
    torch.testing.assert_close(result.value, least, rtol=1e-12, atol=1e-12)
    assert torch.equal(result.tied, (values <= least[:, None] + 1e-9).sum(1) > 1)
    assert solver.is_feasible(result.solution).all() and solver.is_feasible(selections).all()
    assert not (result.solution[costs >= 0]).any()
    torch.testing.assert_close((costs * single.double()).sum(1), least, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not HIGHS, reason="scipy is not installed")
@pytest.mark.parametrize("seed", range(20))
def test_equals_the_best_of_all_by_highs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "_SELECTIONS", 0)
    monkeypatch.setattr(knapsack, "_TABLE", 0)
    solver, costs, selections = problem(seed)
    with torch_alone():
        found = solver(costs)
    torch.testing.assert_close((costs * found).sum(1), (costs @ selections.mT).amin(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.skipif(not HIGHS, reason="scipy is not installed")
def test_large_ones_equal_highs(dims: int) -> None:
    generator = torch.Generator().manual_seed(dims)
    weights = torch.randint(300, 800, (dims, 32), generator=generator).double() / 100
    solver = Knapsack(weights, [20.0] * dims)
    costs = -torch.randint(5, 60, (6, 32), generator=generator).double()
    expected = (costs * solver._by_highs(costs)).sum(1)
    for way in WAYS:
        with way():
            torch.testing.assert_close((costs * solver(costs)).sum(1), expected)


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_a_search_that_takes_too_long_is_left_to_dynamic_programming(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(10, 100, (30,), generator=generator)
    costs = -(weights + 10).double() * torch.ones(4, 1, dtype=torch.float64)  # strongly correlated, hence hard
    solver = Knapsack(weights.tolist(), int(weights.sum()) // 2)
    with torch_alone():
        expected = (costs * solver(costs)).sum(1)
    monkeypatch.setattr(knapsack, "_STEPS", 1)
    asked = list[int]()
    original = knapsack.by_capacity

    def noted(costs: torch.Tensor, *rest: Any) -> torch.Tensor:
        asked.append(len(costs))
        return original(costs, *rest)

    monkeypatch.setattr(knapsack, "by_capacity", noted)
    torch.testing.assert_close((costs * solver(costs)).sum(1), expected)
    assert asked == [4]


def test_weights_are_read_as_decimals() -> None:
    assert 0.1 + 0.2 > 0.3
    solver = Knapsack([0.1, 0.2], 0.3)
    for way in WAYS:
        with way():
            assert solver(-torch.ones(2)).tolist() == [1, 1]
    assert solver.is_feasible(torch.ones(2))
    assert not Knapsack([0.1, 0.2], 0.29).is_feasible(torch.ones(2))


@pytest.mark.parametrize("way", WAYS)
def test_items_without_weight_or_too_heavy(way) -> None:
    costs = torch.tensor([[-1.0, -2.0, -3.0, 0.0], [1.0, -1.0, -1.0, -1.0]])
    with way():
        assert Knapsack([0, 2, 9, 0], 2)(costs).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1]]
        assert Knapsack([0, 2, 9, 0], 0)(costs).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
        assert Knapsack([[0, 2, 9, 0], [1, 0, 0, 1]], [2, 0])(costs).tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


def test_weights_are_rows_of_one_resource_or_several() -> None:
    assert Knapsack([1, 2], 2) != Knapsack([[1, 2]], [2])
    assert Knapsack(torch.tensor([1, 2]), torch.tensor(2)) == Knapsack((1, 2), 2)
    assert Knapsack([[1, 2]], [2]).shape == (2,)


@pytest.mark.parametrize(
    ("weights", "capacity", "message"),
    [
        ([1, -2], 3, "weights holds -2"),
        ([1, 2], -3, "capacity holds -3"),
        ([1, float("nan")], 3, "weights holds nan"),
        ([1, 2], float("inf"), "capacity holds inf"),
        ([1, "a"], 3, "weights holds 'a'"),
        ([1, True], 3, "weights holds True"),
        ([[1, 2]], 3, "weights holds"),
        ([1, 2], [3], r"weights must be numbers \[dims, n\]"),
        (5, 3, r"weights must be numbers \[n\]"),
        ([[1, 2], [1]], [3, 3], r"have \[1, 2\] items"),
        ([[1, 2], [1, 2]], [3], "2 resources and capacities of 1"),
        ([], 3, r"have \[0\] items"),
        ([], [], "0 resources"),
    ],
)
def test_wrong_use(weights, capacity, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Knapsack(weights, capacity)
