"""Lists along any dimension and of different length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlcore.errors import DeviceError, DtypeError, ShapeError
from nlcore.protocol import GaussNewtonSplit, SuppliesHessian
from nlcore_sorting import PermutationLoss, RankingLoss, ranks

LENGTHS = (6, 3, 0, 1, 5)
NAN = float("nan")


def padded(generator: torch.Generator, filling: float = NAN) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Lists of different length with padding at random places: scores, mask and the short lists."""
    scores = torch.randn(len(LENGTHS), 6, generator=generator, dtype=torch.float64)
    mask = torch.ones_like(scores, dtype=torch.bool)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[torch.randperm(6, generator=generator)[:length]] = False
    return scores.masked_fill(mask, filling), mask, [s[~m] for s, m in zip(scores, mask, strict=True)]


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("descending", [False, True])
def test_a_masked_list_is_a_shorter_list(operator: RankingLoss, descending: bool, generator: torch.Generator) -> None:
    scores, mask, short = padded(generator)
    ordered = operator.sort(scores, mask=mask, descending=descending)
    places = operator.rank(scores, mask=mask, descending=descending)
    for b, one in enumerate(short):
        n = len(one)
        assert (ordered[b, n:] == 0).all()
        assert places[b][mask[b]].tolist() == list(range(n, 6))
        if n:
            same(ordered[b, :n], operator.sort(one, descending=descending))
            same(places[b][~mask[b]], operator.rank(one, descending=descending))


@pytest.mark.parametrize("descending", [False, True])
def test_a_masked_matrix_is_that_of_the_shorter_list(
    matrix_operator: PermutationLoss, descending: bool, generator: torch.Generator
) -> None:
    scores, mask, short = padded(generator)
    p = matrix_operator.permutation(scores, mask=mask, descending=descending)
    log_p = matrix_operator.log_permutation(scores, mask=mask, descending=descending)
    same(p.sum(-1), torch.ones_like(scores))
    for b, one in enumerate(short):
        n = len(one)
        assert (p[b, :n][:, mask[b]] == 0).all()
        assert (p[b, n:][:, mask[b]] == torch.eye(6 - n)).all()
        assert (log_p[b, n:][:, mask[b]].diagonal() == 0).all()
        if n:
            same(p[b, :n][:, ~mask[b]], matrix_operator.permutation(one, descending=descending))
            same(log_p[b, :n][:, ~mask[b]], matrix_operator.log_permutation(one, descending=descending))
    for k in (0, 2, 6):
        values, weights = matrix_operator.topk(scores, k, mask=mask, descending=descending)
        same(weights, p[:, :k])
        for b, one in enumerate(short):
            n = min(k, len(one))
            assert (values[b, n:] == 0).all()
            if len(one):
                same(values[b, :n], matrix_operator.topk(one, n, descending=descending)[0])


def test_a_masked_loss_is_that_of_the_shorter_list(loss: RankingLoss, generator: torch.Generator) -> None:
    scores, mask, short = padded(generator)
    values = torch.randn(len(LENGTHS), 6, generator=generator)
    leaf = scores.clone().requires_grad_()
    # Whether the padded items have places of their own does not matter.
    for target in (ranks(values), ranks(values, mask=mask)):
        found = loss(leaf, target, mask=mask)
        (gradient,) = torch.autograd.grad(found.sum(), leaf)
        assert (gradient[mask] == 0).all()
        for b, one in enumerate(short):
            if not len(one):
                assert found[b] == 0
                continue
            own = one.clone().requires_grad_()
            expected = loss(own.unsqueeze(0), ranks(values[b][~mask[b]]).unsqueeze(0))
            same(found[b : b + 1], expected)
            same(gradient[b][~mask[b]], torch.autograd.grad(expected.sum(), own)[0])


def test_masked_curvature_is_that_of_the_shorter_list(loss: Any, generator: torch.Generator) -> None:
    scores, mask, short = padded(generator)
    target = ranks(torch.randn(len(LENGTHS), 6, generator=generator))
    if isinstance(loss, GaussNewtonSplit):
        features = loss.inner(scores, mask=mask)  # type: ignore[call-arg]
        same(loss.outer(features, target, mask=mask), loss(scores, target, mask=mask))  # type: ignore[call-arg,operator]
    if not isinstance(loss, SuppliesHessian):
        return
    found = loss.hessian(scores, target, mask=mask)  # type: ignore[call-arg]
    for b, one in enumerate(short):
        real = ~mask[b]
        assert (found[b][mask[b]] == 0).all()
        assert (found[b][:, mask[b]] == 0).all()
        if len(one):
            own = ranks(target[b][real]).unsqueeze(0)
            same(found[b][real][:, real], loss.hessian(one.unsqueeze(0), own)[0])


def test_a_mask_of_nothing_changes_nothing(loss: RankingLoss, generator: torch.Generator) -> None:
    scores, target = loss.example(4, generator=generator, dtype=torch.float64, device="cpu")
    nothing = torch.zeros_like(scores, dtype=torch.bool)
    same(loss(scores, target, mask=nothing), loss(scores, target))
    assert loss.traits.takes_mask


def test_items_along_any_dimension(operator: RankingLoss, generator: torch.Generator) -> None:
    scores = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 4, 3, generator=generator) < 0.3
    for padding in (None, mask):
        moved = None if padding is None else padding.movedim(1, -1)
        for dim in (1, -2):
            for method in (operator.sort, operator.rank):
                expected = method(scores.movedim(1, -1), mask=moved, descending=True).movedim(-1, 1)
                torch.testing.assert_close(method(scores, dim=dim, mask=padding, descending=True), expected)
            if isinstance(operator, PermutationLoss):
                expected = operator.permutation(scores.movedim(1, -1), mask=moved)
                torch.testing.assert_close(operator.permutation(scores, dim=dim, mask=padding), expected)
                values, weights = operator.topk(scores, 2, dim=dim, mask=padding)
                assert values.shape == (2, 2, 3)
                assert weights.shape == (2, 3, 2, 4)
    assert operator.sort(scores, dim=0).shape == scores.shape


@pytest.mark.parametrize("n", [60, 130])
def test_long_lists_with_and_without_padding(operator: RankingLoss, n: int, generator: torch.Generator) -> None:
    scores = torch.randn(2, n, generator=generator, dtype=torch.float64)
    scores[0, 3] = scores[0, 1]
    mask = torch.rand(2, n, generator=generator) < 0.1
    places = operator.rank(scores, mask=mask)
    for b in range(2):
        same(places[b][~mask[b]], operator.rank(scores[b][~mask[b]]))


def test_ranks_with_a_mask_and_descending() -> None:
    values = torch.tensor([[30, 10, 20, 10], [1, 5, 1, 1]])
    mask = torch.tensor([[False, False, True, False], [True, True, False, False]])
    assert ranks(values, mask=mask).tolist() == [[2, 0, 3, 1], [2, 3, 0, 1]]
    assert ranks(values, descending=True).tolist() == [[0, 2, 1, 3], [1, 0, 2, 3]]
    assert ranks(values.mT, dim=0).mT.tolist() == ranks(values).tolist()


def test_masks_and_dimensions_that_do_not_fit(operator: RankingLoss) -> None:
    scores = torch.zeros(2, 3)
    with pytest.raises(DtypeError, match=r"mask is torch\.float32"):
        operator.sort(scores, mask=torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"mask has shape \[3\], but \[...\] = \[2, 3\]"):
        operator.rank(scores, mask=torch.zeros(3, dtype=torch.bool))
    with pytest.raises(DeviceError, match="mask is on meta"):
        operator.rank(scores, mask=torch.zeros(2, 3, dtype=torch.bool, device="meta"))
    with pytest.raises(ShapeError, match="dim = 2 is none"):
        operator.sort(scores, dim=2)
    with pytest.raises(ShapeError, match="no item along dim = 0"):
        operator.sort(torch.zeros(0, 3), dim=0)
