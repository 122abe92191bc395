"""Properties of the relaxed operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nlcore.errors import ContractError, DtypeError, NonFiniteError, ShapeError
from nlcore_sorting import (
    LapSum,
    NeuralSort,
    PermutationLoss,
    RankingLoss,
    SoftSort,
    SortingNetwork,
    ranks,
)

HARD = {"temperature": 1e-9, "steepness": 1e12, "regularization_strength": 1e-9}


def hardened(operator: Any) -> RankingLoss:
    hard: RankingLoss = replace(operator, **{name: value for name, value in HARD.items() if hasattr(operator, name)})
    return hard


@pytest.mark.parametrize("n", [1, 2, 5, 7, 8])
def test_rows_add_up_to_one(matrix_operator: PermutationLoss, n: int, generator: torch.Generator) -> None:
    scores = torch.randn(3, n, generator=generator, dtype=torch.float64)
    p = matrix_operator.permutation(scores)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones_like(scores), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        matrix_operator.log_permutation(scores).logsumexp(-1), torch.zeros_like(scores), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 5, 7, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_network_is_doubly_stochastic_and_sorts(
    network_loss: SortingNetwork, n: int, dtype: torch.dtype, tolerance: float, generator: torch.Generator
) -> None:
    scores = torch.randn(6, n, generator=generator, dtype=dtype)
    p = network_loss.permutation(scores)
    torch.testing.assert_close(p.sum(-2), torch.ones_like(scores), rtol=0, atol=tolerance)
    ordered = network_loss.sort(scores)
    torch.testing.assert_close((p @ scores.unsqueeze(-1)).squeeze(-1), ordered, rtol=0, atol=tolerance)
    torch.testing.assert_close(ordered.sum(-1), scores.sum(-1), rtol=0, atol=10 * tolerance)


def test_hard_limit_is_the_permutation(operator: RankingLoss, generator: torch.Generator) -> None:
    hard = hardened(operator)
    scores = torch.randn(20, 7, generator=generator, dtype=torch.float64)
    true = F.one_hot(ranks(scores), 7).mT.double()
    torch.testing.assert_close(hard.sort(scores), scores.sort(-1).values, rtol=0, atol=1e-7)
    torch.testing.assert_close(hard.rank(scores), ranks(scores).double(), rtol=0, atol=1e-6)
    assert (hard(scores, ranks(scores)) < 1e-6).all()
    if isinstance(hard, PermutationLoss):
        torch.testing.assert_close(hard.permutation(scores), true, rtol=0, atol=1e-7)
        torch.testing.assert_close(hard.topk(scores, 3)[0], scores.topk(3).values, rtol=0, atol=1e-7)


@pytest.mark.parametrize("cls", [NeuralSort, SoftSort])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_largest_entry_of_a_row_is_the_item_that_belongs_there(
    cls: type[NeuralSort | SoftSort], temperature: float, generator: torch.Generator
) -> None:
    scores = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    assert (cls(temperature=temperature).permutation(scores).argmax(-1) == scores.argsort(-1)).all()


def test_equal_items_are_treated_alike_by_softmaxes(curved: PermutationLoss) -> None:
    p = curved.permutation(torch.tensor([1.0, 2.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(p[:, 0], p[:, 2], rtol=0, atol=1e-15)


def test_equal_scores_stay_what_they_are(matrix_operator: PermutationLoss) -> None:
    scores = torch.full((2, 5), 3.0, dtype=torch.float64)
    sums = matrix_operator.permutation(scores) @ scores.unsqueeze(-1)
    torch.testing.assert_close(sums.squeeze(-1), scores, rtol=0, atol=1e-12)
    assert matrix_operator.log_permutation(scores).isfinite().all()


@pytest.mark.parametrize("shift", [-7.0, 1000.0])
def test_a_shift_of_all_scores_changes_nothing(loss: RankingLoss, shift: float, generator: torch.Generator) -> None:
    scores = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    target = ranks(torch.randn(4, 5, generator=generator))
    torch.testing.assert_close(loss(scores + shift, target), loss(scores, target), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.rank(scores + shift), loss.rank(scores), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.sort(scores + shift), loss.sort(scores) + shift, rtol=1e-10, atol=1e-10)


def test_a_large_offset_costs_neuralsort_no_digits() -> None:
    scores = torch.tensor([[0.5, 0.25, 0.0, 0.75]])
    offset = 4096.0  # all sums are exact in float32
    torch.testing.assert_close(
        NeuralSort().permutation(scores + offset), NeuralSort().permutation(scores), rtol=0, atol=0
    )


def test_descending_reverses_the_rows(matrix_operator: PermutationLoss, generator: torch.Generator) -> None:
    scores = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    p = matrix_operator.permutation(scores, descending=True)
    torch.testing.assert_close(p, matrix_operator.permutation(scores).flip(-2), rtol=0, atol=0)
    torch.testing.assert_close(
        matrix_operator.log_permutation(scores, descending=True), matrix_operator.log_permutation(scores).flip(-2)
    )
    values, weights = matrix_operator.topk(scores, 2)
    torch.testing.assert_close(weights, p[..., :2, :])
    torch.testing.assert_close(values, matrix_operator.sort(scores, descending=True)[..., :2])
    values, weights = matrix_operator.topk(scores, 2, descending=False)
    torch.testing.assert_close(weights, p.flip(-2)[..., :2, :])
    torch.testing.assert_close(values, matrix_operator.sort(scores)[..., :2])
    torch.testing.assert_close(
        matrix_operator.rank(scores, descending=True), 4 - matrix_operator.rank(scores), rtol=0, atol=1e-12
    )
    if isinstance(matrix_operator, LapSum):  # defined by quantiles and counts, not through the matrix
        return
    ordered = (p @ scores.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(matrix_operator.sort(scores, descending=True), ordered)
    expected = (torch.arange(5.0, dtype=torch.float64) @ p) / p.sum(-2)
    torch.testing.assert_close(matrix_operator.rank(scores, descending=True), expected)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (0,), (2, 1, 3)])
def test_any_leading_shape(
    matrix_operator: PermutationLoss, leading: tuple[int, ...], generator: torch.Generator
) -> None:
    scores = torch.randn(*leading, 4, generator=generator, dtype=torch.float64)
    flat = scores.reshape(-1, 4)
    for method, event in (
        (matrix_operator.permutation, (4, 4)),
        (matrix_operator.log_permutation, (4, 4)),
        (matrix_operator.sort, (4,)),
        (matrix_operator.rank, (4,)),
    ):
        found = method(scores)
        assert found.shape == (*leading, *event)
        torch.testing.assert_close(found, method(flat).reshape(*leading, *event), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(matrix_operator: PermutationLoss, dtype: torch.dtype, generator: torch.Generator) -> None:
    scores, target = matrix_operator.example(3, generator=generator, dtype=dtype, device="cpu")
    assert scores.dtype == dtype
    results = [
        matrix_operator(scores, target),
        matrix_operator.permutation(scores),
        matrix_operator.sort(scores),
        matrix_operator.rank(scores),
    ]
    results += [matrix_operator.log_permutation(scores), *matrix_operator.topk(scores, 2)]
    for result in results:
        assert result.dtype == dtype
        assert result.isfinite().all()


def test_operators_refuse_what_they_cannot_sort(operator: RankingLoss) -> None:
    with pytest.raises(DtypeError, match=operator.id):
        operator.sort(torch.tensor([3, 1, 2]))
    with pytest.raises(ShapeError, match=r"shape \[\]"):
        operator.sort(torch.tensor(1.0))
    with pytest.raises(ShapeError, match=r"shape \[2, 0\]"):
        operator.rank(torch.zeros(2, 0))
    with pytest.raises(ContractError, match="scores is a list; a floating tensor"):
        operator.sort([1.0, 2.0])  # type: ignore[arg-type]
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(NonFiniteError, match="samples 1 are NaN or infinite"):
            operator.rank(torch.tensor([[1.0, 2.0], [0.0, wrong]]))


def test_top_k_out_of_range(matrix_operator: PermutationLoss) -> None:
    for k in (-1, 4):
        with pytest.raises(ShapeError, match=f"k = {k} of 3"):
            matrix_operator.topk(torch.zeros(3), k)
    with pytest.raises(ContractError, match=r"k is 2\.0; an int from 0 to 3"):
        matrix_operator.topk(torch.zeros(3), 2.0)  # type: ignore[arg-type]
