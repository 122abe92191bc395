"""NDCG and pair accuracy against counting."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from nlcore.errors import ConfigError, ContractError, NonFiniteError, ShapeError
from nlcore_ranking import ndcg, pair_accuracy


def reference(scores: list[float], grades: list[float], k: int | None) -> float:
    """The mean over all orders that the scores allow."""
    n = len(scores)
    orders = [
        o for o in itertools.permutations(range(n)) if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))
    ]

    def dcg(order: tuple[int, ...]) -> float:
        return sum((2 ** grades[j] - 1) / math.log2(i + 2) for i, j in enumerate(order[:k]))

    best = max(dcg(order) for order in itertools.permutations(range(n)))
    return sum(map(dcg, orders)) / len(orders) / best


@pytest.mark.parametrize("k", [None, 1, 2, 3, 9])
def test_ndcg_is_the_mean_over_the_orders_that_the_scores_allow(k: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, grades = (torch.randint(high, (12, 5), generator=generator).double() for high in (3, 4))
    grades[:, 0] = 2
    expected = [reference(s, g, k) for s, g in zip(scores.tolist(), grades.tolist(), strict=True)]
    found = ndcg(scores, grades, k=k)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_ndcg_of_a_masked_list_is_that_of_the_shorter_list() -> None:
    scores = torch.tensor([[1.0, torch.nan, 3.0, 2.0], [5.0, 1.0, 1.0, 0.0]])
    grades = torch.tensor([[2.0, -1.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.0]])
    mask = torch.tensor([[False, True, False, False], [False] * 4])
    for k in (None, 1, 2):
        found = ndcg(scores, grades, k=k, mask=mask)
        torch.testing.assert_close(found[:1], ndcg(scores[:1, [0, 2, 3]], grades[:1, [0, 2, 3]], k=k))
        torch.testing.assert_close(found[1:], ndcg(scores[1:], grades[1:], k=k))
    whole = pair_accuracy(scores[:1, [0, 2, 3]], grades[:1, [0, 2, 3]])
    torch.testing.assert_close(pair_accuracy(scores, grades, mask=mask)[:1], whole)


def test_gains_may_be_linear_and_grades_huge() -> None:
    scores, grades = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0]])
    best = 3 + 1 / math.log2(3)
    assert ndcg(scores, grades, gain="linear").item() == pytest.approx((1 + 3 / math.log2(3)) / best)
    assert ndcg(scores, torch.tensor([[900.0, 899.0]])).item() == pytest.approx(
        (0.5 + 1 / math.log2(3)) / (1 + 0.5 / math.log2(3))
    )


def test_lists_without_relevant_items_have_the_value_that_is_asked_for() -> None:
    scores, grades = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert ndcg(scores, grades).tolist() == [0.0, 1.0]
    assert ndcg(scores, grades, empty=1.0).tolist() == [1.0, 1.0]
    assert pair_accuracy(scores, grades)[0].isnan()
    assert pair_accuracy(scores, grades, empty=0.5).tolist() == [0.5, 1.0]


def test_lists_of_nothing_but_padding_have_it_too() -> None:
    scores, grades = torch.tensor([[1.0, torch.nan], [1.0, 2.0]]), torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    mask = torch.tensor([[True, True], [False, False]])
    assert ndcg(scores, grades, mask=mask, empty=-1.0).tolist() == [-1.0, 1.0]
    assert pair_accuracy(scores, grades, mask=mask, empty=-1.0).tolist() == [-1.0, 1.0]


def test_pair_accuracy_counts_pairs_and_halves_ties() -> None:
    scores = torch.tensor([[3.0, 2.0, 2.0, 5.0]])
    grades = torch.tensor([[2.0, 2.0, 1.0, 0.0]])
    # Right: (0, 2). Half: (1, 2). Wrong: (0, 3), (1, 3), (2, 3). The pair (0, 1) has no order.
    assert pair_accuracy(scores, grades).item() == pytest.approx(1.5 / 5)


def test_metrics_have_no_graph_and_keep_the_dtype() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        scores = torch.tensor([[0.0, 1.0]], dtype=dtype, requires_grad=True)
        for found in (ndcg(scores, torch.tensor([[0, 1]])), pair_accuracy(scores, torch.tensor([[0, 1]]))):
            assert found.dtype == dtype
            assert not found.requires_grad
    assert ndcg(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


def test_wrong_use_of_metrics_is_refused() -> None:
    scores, grades = torch.zeros(1, 2), torch.ones(1, 2)
    with pytest.raises(ConfigError, match="k=0"):
        ndcg(scores, grades, k=0)
    with pytest.raises(ConfigError, match="choose 'exponential' or 'linear'"):
        ndcg(scores, grades, gain="square")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="ndcg: target has shape"):
        ndcg(scores, grades[:, :1])
    with pytest.raises(ContractError, match="pair_accuracy: target of samples 0 has negative"):
        pair_accuracy(scores, -grades)
    with pytest.raises(NonFiniteError, match="ndcg: scores of samples 0 are NaN"):
        ndcg(scores * torch.nan, grades)
