"""Assignments, against all permutations and scipy."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from nlcore_decisions.solvers.assignment import Assignment

optimize = pytest.importorskip("scipy.optimize")


def assignments(n: int, k: int) -> torch.Tensor:
    """Return all assignments, [V, n, k]."""
    if n > k:
        return assignments(k, n).mT
    columns = torch.tensor(list(permutations(range(k), n)))
    return torch.nn.functional.one_hot(columns, k).double()


@pytest.mark.parametrize("seed", range(100))
def test_equals_the_best_of_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n, k = torch.randint(1, 6, (2,), generator=generator).tolist()
    real = torch.randn(5, n, k, generator=generator, dtype=torch.float64)
    costs = torch.cat([real, torch.randint(-3, 4, (5, n, k), generator=generator).double()])
    every = assignments(n, k)
    values = costs.flatten(1) @ every.flatten(1).mT
    least = values.amin(1)
    result = Assignment().solve(costs, ties=True)
    torch.testing.assert_close(result.value, least)
    assert Assignment().is_feasible(result.solution).all() and Assignment().is_feasible(every).all()
    assert torch.equal(result.tied, (values <= least[:, None] + 1e-9).sum(1) > 1)


@pytest.mark.parametrize("shape", [(20, 20), (7, 30), (30, 7)])
def test_equals_scipy(shape: tuple[int, int]) -> None:
    costs = torch.randn(10, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for one, solution in zip(costs, Assignment()(costs), strict=True):
        rows, columns = optimize.linear_sum_assignment(one.numpy())
        assert float((one * solution).sum()) == pytest.approx(float(one[rows, columns].sum()), rel=1e-12)


def test_infeasible_solutions() -> None:
    solutions = torch.tensor(
        [[[1, 0, 0], [0, 0, 1]], [[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]]
    ).double()
    assert Assignment().is_feasible(solutions).tolist() == [True, False, False, False]
