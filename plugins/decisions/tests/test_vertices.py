"""Listed points, against a loop over them."""

from __future__ import annotations

import pytest
import torch

from nlcore.errors import ConfigError
from nlcore_decisions.solvers.vertices import Vertices


@pytest.mark.parametrize("seed", range(50))
def test_equals_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(-2, 3, (9, 2, 2), generator=generator).double()
    costs = torch.randint(-3, 4, (20, 2, 2), generator=generator).double()
    result = Vertices(points.tolist()).solve(costs, ties=True)
    for cost, solution, value, tied in zip(costs, result.solution, result.value, result.tied, strict=True):
        values = [float((cost * point).sum()) for point in points]
        best = {tuple(p.flatten().tolist()) for p, v in zip(points, values, strict=True) if v == min(values)}
        assert float(value) == min(values) and tuple(solution.flatten().tolist()) in best
        assert bool(tied) == (len(best) > 1)


def test_points_that_are_listed_twice_are_one() -> None:
    solver = Vertices([[1, 0], [0, 1], [1, 0]])
    assert solver.solve(torch.tensor([[1.0, 2.0], [1.0, 1.0]]), ties=True).tied.tolist() == [False, True]


def test_sums_that_differ_by_rounding_are_ties() -> None:
    solver = Vertices([[1, 1, 0], [0, 0, 1]])
    costs = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    assert float(costs[0, 0] + costs[0, 1]) != float(costs[0, 2])
    assert solver.solve(costs, ties=True).tied.item()


def test_arrays_and_tensors_are_read() -> None:
    points = [[1, 0, 0.5], [0, 1, 0]]
    assert Vertices(points) == Vertices(torch.tensor(points)) and Vertices(points).shape == (3,)
    assert Vertices(points).is_feasible(torch.tensor([[1, 0, 0.5], [1, 0, 0]])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 0], [1]], "not nested lists of numbers"),
        ([["a"]], "not nested lists of numbers"),
        ([], r"shape \[0\]"),
        ([1, 2], r"shape \[2\]"),
        ([[1.0, 0.0], [float("nan"), 0.0]], r"points \[1\] hold NaN"),
    ],
)
def test_wrong_use(points, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Vertices(points)
