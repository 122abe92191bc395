"""Conjugate gradients and matrices taken a chunk at a time, against the dense path and the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlcore import EmpiricalFisher, GaussNewton, Hessian, Relative, Traits, compose, newton_step
from nlcore.builtin.losses import BinaryCrossEntropy
from nlcore.capabilities import read_capabilities
from nlcore.errors import ConfigError, NumericalWarning, UnsupportedCurvatureError
from nlcore.newton import chunks, second_order
from nlcore.newton.derivatives import differentiate
from nlcore.newton.problem import Problem

from . import reference
from .losses import SPLIT, Wavy, data
from .test_curvature import extras, made

DAMPINGS = [pytest.param(("absolute", 20.0), id="abs20"), pytest.param(("relative", 0.1), id="rel0.1")]


@pytest.mark.parametrize("case", ["plain", "weight", "mask", "both"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_gauss_newton_by_conjugate_gradients(aggregate, damping, dtype, case, backend, within):
    prediction, target = data(dtype=dtype)[0], data(5, 7, dtype=dtype, seed=1)[0]
    weight, mask = extras(case)
    problem = reference.Problem.of(reference.gradients(SPLIT, prediction, target), weight, mask)
    blocks = reference.gauss_newton_matrices(SPLIT.inner, SPLIT.outer, prediction, target)
    expected = reference.newton_directions(problem, blocks, damping, aggregate=aggregate, max_ratio=1.0)
    curvature = GaussNewton(damping=made(damping), aggregate=aggregate, solver="cg")
    step = newton_step(SPLIT, prediction, target, curvature, weight=weight, mask=mask, backend=backend)
    error = reference.relative_error(step.direction, expected, problem.counted)
    within(f"conjugate gradients {str(dtype)[6:]}", error, 1e-9 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("case", ["plain", "weight", "mask", "both"])
def test_a_definite_hessian_by_conjugate_gradients(case, within):
    prediction, target = data()
    weight, mask = extras(case)
    problem = reference.Problem.of(reference.gradients(Wavy(), prediction, target), weight, mask)
    blocks = reference.hessians(Wavy(), prediction, target)
    expected = reference.newton_directions(problem, blocks, ("absolute", 20.0))
    curvature = Hessian(damping=20.0, psd="none", solver="cg")
    step = newton_step(Wavy(), prediction, target, curvature, weight=weight, mask=mask)
    assert step.result.name == "ok"
    within("conjugate gradients float64", reference.relative_error(step.direction, expected, problem.counted), 1e-9)


def test_negative_curvature_is_seen_and_never_climbed():
    prediction, target = data(20)
    step = newton_step(Wavy(), prediction, target, Hessian(damping=0.0, psd="none", solver="cg", aggregate="sample"))
    assert step.stats["indefinite"] > 5
    assert ((step.gradient * step.direction).sum(1) >= 0).all()
    assert torch.isfinite(step.direction).all()


def test_a_saddle_keeps_the_gradient():
    def saddle(prediction, target):
        return -(prediction - target).square().sum(1) / 2

    prediction, target = data()
    step = newton_step(saddle, prediction, target, Hessian(damping=0.5, psd="none", solver="cg"))
    assert torch.equal(step.direction, step.gradient)
    assert step.stats["indefinite"] == 5


@pytest.mark.parametrize("size", [200, 1500])
def test_many_outputs(size, within):
    """Above 1024 outputs the trace is estimated, so there the damping is a number."""
    prediction, target = data(3, size)
    blur = compose(lambda y: y.cumsum(-1) / size**0.5)
    damping = Relative(0.1) if size < 1024 else 0.5
    dense = newton_step(blur, prediction, target, GaussNewton(damping=damping))
    free = newton_step(blur, prediction, target, GaussNewton(damping=damping, solver="cg"))
    within("conjugate gradients, many outputs", reference.relative_error(free.direction, dense.direction.numpy()), 1e-6)


def test_the_estimated_trace_is_near_the_exact_one():
    prediction, target = data(3, 1500)
    blur = compose(lambda y: y.cumsum(-1) / 1500**0.5)
    dense = newton_step(blur, prediction, target, GaussNewton(damping=Relative(0.1)))
    free = newton_step(blur, prediction, target, GaussNewton(damping=Relative(0.1), solver="cg"))
    assert free.stats["damping"] == pytest.approx(dense.stats["damping"], rel=0.5)
    assert free.stats["damping"] != dense.stats["damping"]


@pytest.mark.parametrize("kind", ["none", "clip", "abs"])
@pytest.mark.parametrize("case", ["plain", "weight", "mask", "both"])
def test_a_matrix_taken_a_row_at_a_time_is_the_same(kind, case, monkeypatch, within):
    prediction, target = data()
    weight, mask = extras(case)
    monkeypatch.setattr(second_order, "BUDGET", 5)
    monkeypatch.setattr(chunks, "_CACHED", 5)
    monkeypatch.setattr(chunks, "_FEW", 0)
    monkeypatch.setattr(chunks, "_TOGETHER", 0)
    problem = reference.Problem.of(reference.gradients(Wavy(), prediction, target), weight, mask)
    blocks = reference.hessians(Wavy(), prediction, target)
    expected = reference.newton_directions(problem, blocks, ("relative", 0.5), psd=kind, scope="batch")
    curvature = Hessian(damping=Relative(0.5), psd=kind, psd_scope="batch")
    for backend in ("func", "autograd"):
        step = newton_step(Wavy(), prediction, target, curvature, weight=weight, mask=mask, backend=backend)
        within("rows at a time", reference.relative_error(step.direction, expected, problem.counted), 1e-12)


def test_a_solve_that_does_not_converge_says_so():
    """A Hilbert-like spectrum over 2000 outputs needs more than 500 products."""
    values = torch.logspace(0, -12, 2000, dtype=torch.float64)
    loss = compose(lambda y: y * values.sqrt())
    prediction, target = data(2, 2000)
    step = newton_step(loss, prediction, target, GaussNewton(damping=0.0, solver="cg"), on_failure="fallback")
    gradient, direction = step.gradient, step.direction
    residual = ((direction * values - gradient).norm(dim=1) / gradient.norm(dim=1)).max()
    assert residual > 1e-8, "otherwise this test sees nothing"
    assert step.stats["residual"] == pytest.approx(float(residual), rel=0.1)
    with pytest.warns(NumericalWarning, match=r"stopped after 500 products .*Raise the damping"):
        newton_step(loss, prediction, target, GaussNewton(damping=0.0, solver="cg"))


def test_conjugate_gradients_need_a_psd_by_promise():
    for psd in ("abs", "clip"):
        with pytest.raises(UnsupportedCurvatureError, match=rf"psd='{psd}'.*psd='none'"):
            newton_step(Wavy(), *data(), Hessian(psd=psd, solver="cg"))
    prediction = data()[0]
    target = torch.rand(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    free = newton_step(BinaryCrossEntropy(), prediction, target, Hessian(solver="cg"))
    dense = newton_step(BinaryCrossEntropy(), prediction, target, Hessian())
    torch.testing.assert_close(free.direction, dense.direction, rtol=1e-9, atol=0)
    newton_step(Wavy(Traits(psd_hessian=True)), *data(), Hessian(damping=50.0, solver="cg"))


def test_solvers_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="'kernel'"):
        Hessian(solver="kernel")
    with pytest.raises(ConfigError, match="'cg'"):
        EmpiricalFisher(solver="cg")


def test_the_kernel_of_a_single_sample():
    """(ggᵀ + λI)⁻¹g = g/(|g|² + λ) for one sample of many outputs."""
    prediction, target = data(1, 5000)
    step = newton_step(lambda y, t: (y * t).sum(1), prediction, target, EmpiricalFisher(damping=0.5))
    expected = target / (target.square().sum() + 0.5)
    torch.testing.assert_close(step.direction, expected, rtol=1e-12, atol=0)
    assert np.isfinite(step.stats["condition"])


def problem(loss, prediction, target):
    return Problem.of(read_capabilities(loss), prediction, target)


def test_directions_pulled_back_at_a_time_follow_from_what_the_loss_keeps():
    """A running sum keeps little and takes many directions at a time, pairwise distances take few."""
    prediction, target = (one.float() for one in data(64, 64))

    def pairs(y, t):
        return ((y.unsqueeze(-1) - y.unsqueeze(-2)).tanh().sum(-1) - t).square().sum(-1)

    def sums(y, t):
        return (y.cumsum(-1) - t).square().sum(-1)

    few, many = (chunks.fitting_chunk(problem(one, prediction, target), 64) for one in (pairs, sums))
    kept = prediction.numel() * prediction.shape[1]
    assert 1 <= few <= chunks._CACHED // kept < many
    small = problem(pairs, prediction[:4, :8], target[:4, :8])
    assert chunks.fitting_chunk(small, 8) == chunks.BUDGET // small.prediction.numel()


def test_what_a_loss_keeps_is_counted_or_taken_as_much():
    prediction, target = data(3, 4)
    counted = chunks.intermediates(problem(lambda y, t: (y.exp() - t).square().sum(-1), prediction, target))
    assert prediction.numel() < counted < 10 * prediction.numel()

    def inside(y, t):
        return torch.func.vmap(torch.func.grad(lambda x: x.pow(3).sum()))(y).square().sum(-1)

    assert chunks.intermediates(problem(inside, prediction, target)) >= prediction.numel()


def test_a_gradient_takes_one_evaluation_of_the_loss():
    prediction, target = data(64, 64)
    calls = []

    def counted(y, t):
        calls.append(1)
        return (y - t).square().sum(-1)

    differentiate(problem(counted, prediction, target), "gradient")
    assert len(calls) == 1
