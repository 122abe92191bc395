"""Subsets of k elements, against all subsets."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from nlcore.errors import ConfigError, ShapeError
from nlcore_decisions.solvers.top_k import TopK


@pytest.mark.parametrize("seed", range(50))
def test_equals_the_best_of_all_subsets(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, 8, (), generator=generator))
    k = int(torch.randint(1, n + 1, (), generator=generator))
    real = torch.randn(10, n, generator=generator, dtype=torch.float64)
    costs = torch.cat([real, torch.randint(-3, 4, (10, n), generator=generator).double()])
    subsets = torch.zeros(0, n, dtype=torch.float64)
    for chosen in combinations(range(n), k):
        subsets = torch.cat([subsets, torch.zeros(1, n, dtype=torch.float64).index_fill(1, torch.tensor(chosen), 1)])
    values = costs @ subsets.mT
    least = values.amin(1)
    result = TopK(k).solve(costs, ties=True)
    assert (result.solution.sum(1) == k).all()
    torch.testing.assert_close(result.value, least)
    assert torch.equal(result.tied, (values <= least[:, None] + 1e-9).sum(1) > 1)
    assert torch.equal(TopK(k).is_feasible(subsets), torch.ones(len(subsets), dtype=torch.bool))


def test_of_equal_costs_the_first_are_taken() -> None:
    assert TopK(2)(torch.zeros(5)).tolist() == [1, 1, 0, 0, 0]
    assert TopK(2)(torch.tensor([1.0, 0.0, 0.0, 0.0])).tolist() == [0, 1, 1, 0]


def test_infeasible_solutions() -> None:
    solutions = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0.5, 0.5, 1]])
    assert TopK(2).is_feasible(solutions).tolist() == [True, False, False, False]


def test_wrong_use() -> None:
    for k in (0, -1, 1.0, True, "2"):
        with pytest.raises(ConfigError, match=f"k was given {k!r}"):
            TopK(k)
    with pytest.raises(ShapeError, match=r"costs of shape \[4, 2\] have 2 elements, of which 3"):
        TopK(3)(torch.ones(4, 2))
