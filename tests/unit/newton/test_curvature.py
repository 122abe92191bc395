"""Every curvature, with every option, against the plain float64 reference."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch

from nlcore import EmpiricalFisher, GaussNewton, Hessian, Relative, Traits, newton_step

from . import reference
from .losses import SPLIT, Wavy, WavyGradient, WavyOld, WavySupplied, convex_outer, data, features, half_square

LIMIT = {torch.float64: 1e-12, torch.float32: 2e-5}
DTYPES = [pytest.param(torch.float64, id="f64"), pytest.param(torch.float32, id="f32")]
DAMPINGS = [
    pytest.param(("absolute", 0.5), id="abs0.5"),
    pytest.param(("absolute", 20.0), id="abs20"),
    pytest.param(("relative", 0.1), id="rel0.1"),
]
REPAIRS = [
    *itertools.product(["none", "clip", "abs"], ["sample"], ["batch", "sample"]),
    *itertools.product(["clip", "abs"], ["batch"], ["batch"]),
]
BACKENDS = ["func", "autograd", "old", "supplied"]
SOLVERS = ["cholesky", "eigen"]
WEIGHT = (0.5, 2.0, 1.0, 3.0, 0.0)
MASK = ((0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 1), (0, 0, 1, 1), (0, 0, 0, 1))
CASES = {"plain": (False, False), "weight": (True, False), "mask": (False, True), "both": (True, True)}


def made(damping):
    kind, number = damping
    return number if kind == "absolute" else Relative(number)


def extras(case, count=5):
    weighted, masked = CASES[case]
    weight = torch.tensor(WEIGHT[:count], dtype=torch.float64) if weighted else None
    mask = torch.tensor(MASK[:count], dtype=torch.bool) if masked else None
    return weight, mask


def loss_for(backend, *, hessian):
    if backend == "supplied":
        return WavySupplied() if hessian else WavyGradient()
    return WavyOld() if backend == "old" else Wavy()


def engine_backend(backend):
    return backend if backend in ("func", "autograd") else "auto"


@cache
def wavy(dtype):
    """Return the inputs with the gradients and Hessians of Wavy, by the reference."""
    prediction, target = data(dtype=dtype)
    gradient = reference.gradients(Wavy(), prediction, target)
    return prediction, target, gradient, reference.hessians(Wavy(), prediction, target)


@cache
def split(dtype):
    """Return the same of the split loss, with its Gauss–Newton matrices."""
    prediction, _ = data(dtype=dtype)
    target = data(5, 7, dtype=dtype, seed=1)[0]
    gradient = reference.gradients(SPLIT, prediction, target)
    return prediction, target, gradient, reference.gauss_newton_matrices(features, convex_outer, prediction, target)


def test_the_hessians_of_the_matrix_are_indefinite_one_by_one_and_in_the_mean():
    *_, blocks = wavy(torch.float64)
    assert (np.linalg.eigvalsh(blocks).min(1) < -0.1).all()
    assert np.linalg.eigvalsh(blocks.mean(0)).min() < -0.1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize(("psd", "scope", "aggregate"), REPAIRS)
def test_hessian(psd, scope, aggregate, damping, solver, backend, dtype, case, within):
    prediction, target, gradient, blocks = wavy(dtype)
    weight, mask = extras(case)
    problem = reference.Problem.of(gradient, weight, mask)
    expected = reference.newton_directions(problem, blocks, damping, psd=psd, scope=scope, aggregate=aggregate)
    curvature = Hessian(
        damping=made(damping), psd=psd, psd_scope=scope, aggregate=aggregate, max_ratio=None, solver=solver
    )
    step = newton_step(
        loss_for(backend, hessian=True),
        prediction,
        target,
        curvature,
        weight=weight,
        mask=mask,
        backend=engine_backend(backend),
    )
    assert step.direction.dtype == dtype
    error = reference.relative_error(step.direction, expected, problem.counted)
    within(f"Hessian {str(dtype)[6:]}", error, LIMIT[dtype])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_gauss_newton(aggregate, damping, solver, backend, dtype, case, within):
    prediction, target, gradient, blocks = split(dtype)
    weight, mask = extras(case)
    problem = reference.Problem.of(gradient, weight, mask)
    expected = reference.newton_directions(problem, blocks, damping, aggregate=aggregate)
    curvature = GaussNewton(damping=made(damping), aggregate=aggregate, max_ratio=None, solver=solver)
    step = newton_step(SPLIT, prediction, target, curvature, weight=weight, mask=mask, backend=backend)
    error = reference.relative_error(step.direction, expected, problem.counted)
    within(f"GaussNewton {str(dtype)[6:]}", error, LIMIT[dtype])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["func", "autograd", "supplied"])
@pytest.mark.parametrize("solver", ["auto", "kernel", *SOLVERS])
@pytest.mark.parametrize("count", [5, 3], ids=["N>m", "N<m"])
@pytest.mark.parametrize("max_step", [0.2, None], ids=["cap0.2", "nocap"])
@pytest.mark.parametrize("damping", DAMPINGS)
def test_fisher(damping, max_step, count, solver, backend, dtype, case, within):
    prediction, target, gradient, _ = wavy(dtype)
    prediction, target, gradient = prediction[:count], target[:count], gradient[:count]
    weight, mask = extras(case, count)
    problem = reference.Problem.of(gradient, weight, mask)
    expected = reference.fisher_directions(problem, damping, max_step=max_step)
    step = newton_step(
        loss_for(backend, hessian=False),
        prediction,
        target,
        EmpiricalFisher(damping=made(damping), max_step=max_step, solver=solver),
        weight=weight,
        mask=mask,
        backend=engine_backend(backend),
    )
    error = reference.relative_error(step.direction, expected, problem.counted)
    within(f"EmpiricalFisher {str(dtype)[6:]}", error, LIMIT[dtype])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("max_ratio", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_steps_per_sample_are_capped_by_the_batchs_median(kind, max_ratio, case, within):
    weight, mask = extras(case)
    damping = ("relative", 0.1)
    prediction, target, gradient, blocks = (wavy if kind == "hessian" else split)(torch.float64)
    problem = reference.Problem.of(gradient, weight, mask)
    options = {"psd": "abs", "aggregate": "sample"}
    expected = reference.newton_directions(problem, blocks, damping, max_ratio=max_ratio, **options)
    free = reference.newton_directions(problem, blocks, damping, **options)
    assert not np.allclose(expected[problem.counted], free[problem.counted])
    loss, curvature = (Wavy(), Hessian) if kind == "hessian" else (SPLIT, GaussNewton)
    step = newton_step(
        loss,
        prediction,
        target,
        curvature(damping=Relative(0.1), aggregate="sample", max_ratio=max_ratio),
        weight=weight,
        mask=mask,
    )
    within("max_ratio", reference.relative_error(step.direction, expected, problem.counted), 1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("solver", ["cholesky", "eigen", "cg"])
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_directions_of_a_normalised_length(aggregate, solver, case, within):
    weight, mask = extras(case)
    prediction, target, gradient, blocks = split(torch.float64)
    problem = reference.Problem.of(gradient, weight, mask)
    options = {"aggregate": aggregate, "max_ratio": 0.8}
    expected = reference.newton_directions(problem, blocks, ("relative", 0.1), **options)
    expected = reference.normalized(problem, expected)
    curvature = GaussNewton(damping=Relative(0.1), normalize=True, solver=solver, **options)
    step = newton_step(SPLIT, prediction, target, curvature, weight=weight, mask=mask)
    limit = 1e-9 if solver == "cg" else 1e-12
    within("normalised", reference.relative_error(step.direction, expected, problem.counted), limit)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_a_normalised_length_does_not_depend_on_the_scale_of_the_loss(scale):
    prediction, target, *_ = wavy(torch.float64)
    curvature = Hessian(damping=Relative(0.1), normalize=True)
    step = newton_step(Wavy(), prediction, target, curvature)
    assert step.stats["step"] == pytest.approx(1.0, rel=1e-12)
    scaled = newton_step(lambda y, t: scale * Wavy()(y, t), prediction, target, curvature)
    torch.testing.assert_close(scaled.direction, step.direction, rtol=1e-9, atol=0)


def test_where_no_sample_moves_a_normalised_length_is_zero():
    prediction, _, *_ = wavy(torch.float64)
    step = newton_step(half_square, prediction, prediction.clone(), Hessian(normalize=True))
    assert torch.equal(step.direction, torch.zeros_like(prediction))


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_chunks_change_nothing(kind, backend, chunk_size):
    prediction, target, *_ = (wavy if kind == "hessian" else split)(torch.float64)
    loss, curvature = (Wavy(), Hessian) if kind == "hessian" else (SPLIT, GaussNewton)
    whole = newton_step(loss, prediction, target, curvature(), backend=backend)
    chunked = newton_step(loss, prediction, target, curvature(chunk_size=chunk_size), backend=backend)
    torch.testing.assert_close(chunked.direction, whole.direction, rtol=1e-13, atol=0)


@pytest.mark.parametrize("psd", ["none", "clip", "abs"])
def test_the_scope_of_a_repair_means_nothing_for_own_matrices(psd):
    prediction, target, *_ = wavy(torch.float64)
    options = {"psd": psd, "aggregate": "sample", "damping": 0.5}
    one, other = (newton_step(Wavy(), prediction, target, Hessian(psd_scope=s, **options)) for s in ("sample", "batch"))
    assert torch.equal(one.direction, other.direction)


def test_a_promise_of_convexity_leaves_the_matrix_as_it_is():
    prediction, target, *_ = wavy(torch.float64)
    promised = newton_step(Wavy(Traits(psd_hessian=True)), prediction, target, Hessian(damping=20.0, psd="abs"))
    plain = newton_step(Wavy(), prediction, target, Hessian(damping=20.0, psd="none"))
    torch.testing.assert_close(promised.direction, plain.direction, rtol=1e-13, atol=0)


@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_the_share_of_negative_curvature_is_reported(aggregate):
    prediction, target, _, blocks = wavy(torch.float64)
    step = newton_step(Wavy(), prediction, target, Hessian(aggregate=aggregate))
    assert step.stats["negative"] == pytest.approx((np.linalg.eigvalsh(blocks) < 0).mean())


@pytest.mark.parametrize("damping", DAMPINGS)
def test_the_reported_damping_is_the_references(damping):
    prediction, target, gradient, blocks = wavy(torch.float64)
    step = newton_step(Wavy(), prediction, target, Hessian(damping=made(damping)))
    repaired = np.stack([reference.repaired(block, "abs") for block in blocks])
    over_batch = repaired.mean(0)
    assert step.stats["damping"] == pytest.approx(reference.strength(damping, over_batch, np.ones(4, bool)), rel=1e-12)
    assert step.stats["mean_curvature"] == pytest.approx(np.trace(over_batch) / 4, rel=1e-12)
    fisher = newton_step(Wavy(), prediction, target, EmpiricalFisher(damping=made(damping)))
    over_batch = reference.outer_products(gradient).mean(0)
    assert fisher.stats["damping"] == pytest.approx(
        reference.strength(damping, over_batch, np.ones(4, bool)), rel=1e-12
    )
    assert fisher.stats["mean_curvature"] == pytest.approx(np.trace(over_batch) / 4, rel=1e-12)
