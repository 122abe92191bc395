"""Precision of what a step is given: half precision, weights of any scale, a value that means the same everywhere."""

from __future__ import annotations

import pytest
import torch

import nlcore
from nlcore import EmpiricalFisher, Hessian, NewtonLoss, newton_step
from nlcore.errors import NlcoreError

from .losses import data, half_square


def float_example(name, count=6):
    """Return a loss with a floating-point target, or skip."""
    loss = nlcore.make(name)
    source = torch.Generator().manual_seed(4)
    y, t = loss.example(count, generator=source, dtype=torch.float32, device="cpu")
    if not (isinstance(t, torch.Tensor) and t.is_floating_point()):
        pytest.skip("the target is not a floating-point tensor")
    return loss, y, t


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", nlcore.names())
def test_half_precision_of_both_is_that_of_the_same_numbers_in_float32(name, dtype):
    loss, y, t = float_example(name)
    narrow, target = y.to(dtype), t.to(dtype)
    results = []
    for prediction, goal in ((narrow.float(), target.float()), (narrow, target)):
        leaf = prediction.clone().requires_grad_()
        criterion = NewtonLoss(loss, EmpiricalFisher(), generator=torch.Generator().manual_seed(1))
        try:
            value = criterion(leaf, goal)
            value.backward()
        except NlcoreError as error:  # a rounded target may be outside the domain, in any precision
            results.append(type(error))
            continue
        with torch.no_grad():
            criterion.generator.manual_seed(1)
            bare = criterion(prediction, goal)
        assert bare == pytest.approx(value.item(), rel=1e-5)
        results.append((value.detach(), leaf.grad))
    if isinstance(results[0], type):
        assert results[1] is results[0]
        return
    (wide, slope), (value, rounded) = results
    assert torch.equal(value, wide)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, slope.to(dtype))


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-46, 1e-30, 1.0, 1e38, 1e39, 1e200, 1e300])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("curvature", [Hessian(damping=1.0), EmpiricalFisher(damping=0.5)], ids=["hessian", "fisher"])
def test_the_scale_of_weights_does_not_matter(curvature, dtype, scale):
    y, t = data(8, 3)
    y, t = y.to(dtype), t.to(dtype)
    weight = torch.rand(8, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.5
    found = []
    for factor in (1.0, scale):
        leaf = y.clone().requires_grad_()
        criterion = NewtonLoss(half_square, curvature)
        value = criterion(leaf, t, weight=weight * factor)
        value.backward()
        with torch.no_grad():
            assert criterion(y, t, weight=weight * factor) == pytest.approx(value.item(), rel=1e-5)
        found.append((value.detach(), leaf.grad))
    limit = 1e-3 if scale == 1e-320 else 1e-6  # of which float64 itself keeps three digits
    if dtype == torch.bfloat16:
        limit = 1e-2
    torch.testing.assert_close(found[1], found[0], rtol=limit, atol=limit * float(found[0][1].abs().max()))


@pytest.mark.parametrize("solver", ["cholesky", "eigen", "kernel"])
@pytest.mark.parametrize("max_step", [None, 100.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_fisher_of_samples_that_do_not_count_is_the_gradient(solver, max_step, dtype):
    y, t = (one.to(dtype) for one in data(6, 3))
    at_optimum = t.clone()
    at_optimum[1:] = y[1:]
    one = torch.tensor([1.0, 0, 0, 0, 0, 0])
    curvature = EmpiricalFisher(solver=solver, max_step=max_step)
    for prediction, weight in ((y, torch.zeros(6)), (at_optimum, one)):
        step = newton_step(half_square, prediction, t, curvature, weight=weight)
        torch.testing.assert_close(step.direction, prediction - t)
        assert step.stats["damping"] == 1.0
        leaf = prediction.clone().requires_grad_()
        NewtonLoss(half_square, curvature)(leaf, t, weight=weight).backward()
        assert not leaf.grad.any()


def test_a_kernel_solve_gives_samples_without_weight_the_direction_of_the_same_matrix():
    y, t = data(3, 8)
    weight = torch.tensor([1.0, 0.0, 2.0])
    found = [
        newton_step(half_square, y, t, EmpiricalFisher(damping=0.5, solver=solver), weight=weight).direction
        for solver in ("kernel", "cholesky")
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_newton_value_means_the_same_without_gradients(reduction):
    stiff = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    y, t = data(7, 3)
    direction = stiff * (y - t) / (stiff + 0.5)
    each = direction.square().sum(-1) / 2
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]

    def bowl(prediction, target):
        return (stiff * (prediction - target).square()).sum(-1) / 2

    criterion = NewtonLoss(bowl, Hessian(damping=0.5), value="newton", reduction=reduction)
    training = criterion(y.clone().requires_grad_(), t)
    remembered = criterion.last_step
    with torch.no_grad():
        bare = criterion(y.clone().requires_grad_(), t)
    frozen = criterion(y, t)
    for value in (training.detach(), bare, frozen):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert not bare.requires_grad
    assert criterion.last_step is remembered, "an evaluation leaves no trace"
