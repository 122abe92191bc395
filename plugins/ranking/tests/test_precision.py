"""Extreme scores and grades, ties, half precision: finite, and right to the digits that there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nlcore.errors import NonFiniteError
from nlcore.protocol import SuppliesHessian
from nlcore_ranking import ApproxNDCG, LambdaLoss, ListLoss, ListMLE, ListNet, NeuralNDCG, PiRank, RankNet

Draw = Callable[..., tuple[Tensor, Tensor]]


def value_and_gradient(loss: ListLoss, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e2, 1e4, 1e30])
def test_float32_agrees_with_float64_at_any_scale(loss: ListLoss, scale: float, draw: Draw) -> None:
    scores, target = draw(loss, 8, 6, dtype=torch.float32)
    # Gaps of at least ¼: where the relaxed sort is sharp, closer scores tell more about rounding than about the loss.
    scores = scale * (scores.argsort(1).argsort(1) - 2.25).float()
    value, slope = value_and_gradient(loss, scores, target)
    exact, exact_slope = value_and_gradient(loss, scores.double(), target if target.ndim == 1 else target.double())
    assert value.isfinite().all()
    assert slope.isfinite().all()
    torch.testing.assert_close(value.double(), exact, rtol=2e-4, atol=1e-5)
    torch.testing.assert_close(
        slope.double(), exact_slope, rtol=2e-3, atol=2e-5 * max(1.0, float(exact_slope.abs().max()))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_and_equal_scores_are_finite(loss: ListLoss, dtype: torch.dtype, draw: Draw) -> None:
    _, target = draw(loss, 3, 6, dtype=dtype)
    for scores in (torch.zeros(3, 6, dtype=dtype), torch.tensor([[1.0, 1, 0, 0, 2, 2]] * 3, dtype=dtype)):
        value, slope = value_and_gradient(loss, scores, target)
        assert value.isfinite().all()
        assert slope.isfinite().all()


def test_the_largest_scores_that_are_let_in_do_not_overflow(loss: ListLoss, draw: Draw) -> None:
    scores, target = draw(loss, 4, 5, dtype=torch.float32)
    scores = scores.sign() * loss._limit(scores) * 0.999
    value, slope = value_and_gradient(loss, scores, target)
    assert value.isfinite().all()
    assert slope.isfinite().all()
    with pytest.raises(NonFiniteError, match="overflows"):
        loss(scores * 1.01, target)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_at_the_end(loss: ListLoss, dtype: torch.dtype, draw: Draw) -> None:
    scores, target = draw(loss, 3, 5, dtype=dtype)
    found = loss(scores, target)
    assert found.dtype == dtype
    assert torch.equal(found, loss(scores.float(), target if target.ndim == 1 else target.float()).to(dtype))


def test_a_large_offset_costs_no_digits(loss: ListLoss, draw: Draw) -> None:
    scores, target = draw(loss, 4, 6, dtype=torch.float32)
    scores = (scores * 64).round() / 64  # so that all sums are exact in float32
    results = []
    for shift in (0.0, 8192.0):
        leaf = (scores + shift).requires_grad_()
        value = loss(leaf, target)
        found = [value.detach(), *torch.autograd.grad(value.sum(), leaf)]
        if isinstance(loss, SuppliesHessian):
            found.append(loss.hessian(leaf.detach(), target))
        results.append(found)
    for plain, shifted in zip(*results, strict=True):
        torch.testing.assert_close(shifted, plain, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("listwise", [LambdaLoss(), ApproxNDCG(), NeuralNDCG(), PiRank(), ListNet()], ids=repr)
def test_grades_of_any_size_do_not_overflow(listwise: ListLoss) -> None:
    scores = torch.tensor([[0.5, -1.0, 2.0]])
    for grades in ([0.0, 300.0, 346.0], [1e-30, 0.0, 2e-30], [1e4, 2e4, 0.0]):
        value, slope = value_and_gradient(listwise, scores, torch.tensor([grades]))
        assert value.isfinite().all()
        assert slope.isfinite().all()
        exact = listwise(scores.double(), torch.tensor([grades], dtype=torch.float64))
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_confident_mistake_costs_its_margin_and_pulls_with_full_strength() -> None:
    scores, target = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    for loss in (RankNet(), ListMLE(normalize=False)):
        value, slope = value_and_gradient(loss, scores, target)
        assert value.item() == pytest.approx(2e4)
        assert slope.tolist() == [[1.0, -1.0]]
