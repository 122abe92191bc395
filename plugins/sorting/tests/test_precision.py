"""Float32 against float64, and numbers far from 1."""

from __future__ import annotations

import math

import mpmath  # type: ignore[import-untyped]
import pytest
import torch
from torch import Tensor

from nlcore.errors import NonFiniteError
from nlcore_sorting import (
    NeuralSort,
    RankingLoss,
    SoftSort,
    SortingNetwork,
    ranks,
)
from nlcore_sorting._cross_entropy import log_complement
from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting._lists import log_of_zero
from nlcore_sorting.sorting_network import log_add


def value_and_gradient(loss: RankingLoss, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_float32_is_right_where_the_ranking_is_wrong(
    sharp: RankingLoss, scale: float, generator: torch.Generator
) -> None:
    scores = torch.randn(40, 8, generator=generator) * scale
    target = ranks(-scores)
    value, gradient = value_and_gradient(sharp, scores, target)
    exact_value, exact_gradient = value_and_gradient(sharp, scores.double(), target)
    assert ((value - exact_value).abs() <= 1e-5 * exact_value.abs()).all()
    error = (gradient - exact_gradient).norm(dim=1) / exact_gradient.norm(dim=1).clamp(min=1e-30)
    assert error.max() <= 1e-4, error.max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_everything_is_finite_at_every_scale(
    sharp: RankingLoss, scale: float, dtype: torch.dtype, generator: torch.Generator
) -> None:
    scores = torch.randn(5, 6, generator=generator, dtype=dtype)
    scores[0] = 0.0
    scores[1] = scores[1, 0]
    scores[2, 3] = scores[2, 1]
    scores[3] = scores[3].sort(descending=True).values
    leaf = (scores * scale).requires_grad_()
    target = torch.arange(6).expand(5, 6)
    if getattr(sharp, "distribution", "") == "gaussian" and dtype == torch.float32 and scale > 1e18:
        with pytest.raises(NonFiniteError, match="overflows"):  # the loss is a square of the scores
            sharp(leaf, target)
        return
    value = sharp(leaf, target)
    gradient = torch.autograd.grad(value.sum(), leaf, create_graph=True)[0]
    rows = [torch.autograd.grad(gradient[:, i].sum(), leaf, retain_graph=True)[0] for i in range(6)]
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert torch.stack(rows).isfinite().all()


@pytest.mark.parametrize("pulling", [NeuralSort(), SortingNetwork(), SortingNetwork(distribution="logistic")], ids=repr)
def test_equal_scores_are_pulled_apart(pulling: RankingLoss) -> None:
    scores, target = torch.zeros(1, 3), torch.tensor([[2, 0, 1]])
    value, gradient = value_and_gradient(pulling, scores, target)
    assert pulling(scores - 0.01 * gradient, target) < value


def test_softsort_feels_nothing_at_equal_scores() -> None:
    _, gradient = value_and_gradient(SoftSort(), torch.zeros(1, 3), torch.tensor([[2, 0, 1]]))
    assert (gradient == 0).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_and_logarithms_agree(distribution: str, dtype: torch.dtype) -> None:
    swap = DISTRIBUTIONS[distribution]
    x = torch.linspace(-8, 8, 101, dtype=dtype)
    keep_log, swap_log = swap.logs(x)
    tolerance = 20 * torch.finfo(dtype).eps
    # The relative error of exp is the absolute one of its argument, up to 36 here.
    torch.testing.assert_close(swap_log.exp(), swap.swap(x), rtol=4 * tolerance, atol=0)
    torch.testing.assert_close(keep_log.exp(), swap.swap(-x), rtol=4 * tolerance, atol=0)
    torch.testing.assert_close(swap.swap(x) + swap.swap(-x), torch.ones_like(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("distribution", "tail", "slope"),
    [
        ("cauchy", lambda m: -math.log(math.pi * m), lambda m: -1 / m),
        ("reciprocal", lambda m: -math.log(4 * m), lambda m: -1 / m),
        ("optimal", lambda m: -math.log(16 * m), lambda m: -1 / m),
        ("logistic", lambda m: -m, lambda m: -1.0),
        ("gaussian", lambda m: -m * m / 2 - math.log(m) - math.log(2 * math.pi) / 2, lambda m: -m),
    ],
)
def test_far_tails(distribution: str, tail, slope, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    for m in (1e9, 1e18, 1e30):
        if distribution == "gaussian" and dtype == torch.float32 and m > 1e18:
            continue
        x = torch.tensor([m, -m], dtype=dtype, requires_grad=True)
        keep_log, swap_log = DISTRIBUTIONS[distribution].logs(x)
        assert swap_log[0].item() == pytest.approx(tail(m), rel=1e-6)
        assert keep_log[1].item() == pytest.approx(tail(m), rel=1e-6)
        assert torch.autograd.grad(swap_log[0] + keep_log[1], x)[0].tolist() == pytest.approx(
            [slope(m), -slope(m)], rel=1e-6
        )
        assert abs(swap_log[1].item()) <= 1 / m


@pytest.mark.parametrize("m", [0.0, 0.5, 3.0, 12.0, 39.999, 40.001, 100.0, 1e4])
def test_gaussian_tail_has_right_derivatives(m: float) -> None:
    x = torch.tensor(m, dtype=torch.float64, requires_grad=True)
    log_tail = DISTRIBUTIONS["gaussian"].logs(x)[1]
    (slope,) = torch.autograd.grad(log_tail, x, create_graph=True)
    (bend,) = torch.autograd.grad(slope, x)
    with mpmath.workdps(60):
        tail = mpmath.erfc(mpmath.mpf(m) / mpmath.sqrt(2)) / 2
        hazard = mpmath.exp(-(mpmath.mpf(m) ** 2) / 2) / mpmath.sqrt(2 * mpmath.pi) / tail
        expected = (mpmath.log(tail), -hazard, -hazard * (hazard - mpmath.mpf(m)))
    for found, exact in zip((log_tail, slope, bend), expected, strict=True):
        assert found.item() == pytest.approx(float(exact), rel=1e-11)


def test_complement_of_a_sharp_row() -> None:
    logits = torch.tensor([[0.0, -200.0, -300.0], [-1.0, -1.0, -1.0], [0.0, -0.5, -60.0]])
    expected = torch.log(-torch.expm1(logits.double().log_softmax(-1)))
    expected[0, 0] = -200.0
    torch.testing.assert_close(log_complement(logits.log_softmax(-1)).double(), expected, rtol=1e-6, atol=1e-12)


def test_log_add_absorbs_a_huge_negative_number_exactly() -> None:
    nothing = log_of_zero(torch.float32)
    a = torch.tensor([nothing, -3.0, nothing, -1e6], requires_grad=True)
    b = torch.tensor([-5.0, nothing, nothing, 1e6], requires_grad=True)
    total = log_add(a, b)
    assert total[:2].tolist() == [-5.0, -3.0]
    assert total[3].item() == 1e6
    slopes = torch.autograd.grad(total.sum(), (a, b), create_graph=True)
    assert [slope[[0, 1, 3]].tolist() for slope in slopes] == [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    second = torch.autograd.grad(slopes[0].sum(), (a, b))
    assert all(part.isfinite().all() and (part[[0, 1, 3]] == 0).all() for part in second)
