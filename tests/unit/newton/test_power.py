"""Powers of every curvature, the low-rank solver and the normalised Fisher matrix against dense float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import nlcore
from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, Relative, newton_step
from nlcore.capabilities import read_capabilities
from nlcore.errors import ConfigError, UnsupportedCurvatureError
from nlcore.newton.derivatives import differentiate
from nlcore.newton.failures import Result
from nlcore.newton.low_rank import leading_eigenvectors
from nlcore.newton.problem import Problem
from nlcore.newton.second_order import form_features
from tests.unit.newton import reference
from tests.unit.newton.losses import Wavy, half_square

POWERS = [0.0, 0.25, 0.5, 1.0]
SIZES = [(5, 4, 3), (3, 8, 2), (6, 40, 3), (12, 12, 12), (3, 36, 36)]


def simulator(size, features, seed=0):
    torch.manual_seed(seed)
    matrix = torch.randn(features, size, dtype=torch.float64)
    return nlcore.compose(lambda y: torch.tanh(y @ matrix.T.to(y)))


def data(count, size, features, seed=1):
    torch.manual_seed(seed)
    return torch.randn(count, size, dtype=torch.float64), torch.randn(count, features, dtype=torch.float64)


def powered(matrices, strength, power, gradient):
    """Return (C + λI)^(−κ) g for [N, m, m] and [N, m]."""
    values, vectors = np.linalg.eigh(matrices + strength * np.eye(matrices.shape[-1]))
    along = np.einsum("nij,ni->nj", vectors, gradient) * values**-power
    return np.einsum("nij,nj->ni", vectors, along)


@pytest.mark.parametrize("damping", [0.1, 1e-3, Relative(0.1)])
@pytest.mark.parametrize("solver", ["auto", "eigen", "low_rank"])
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("shape", SIZES)
def test_gauss_newton(shape, power, aggregate, solver, damping):
    loss, (prediction, target) = simulator(*shape[1:]), data(*shape)
    gradient = reference.gradients(loss, prediction, target)
    blocks = reference.gauss_newton_matrices(loss.inner, loss.outer, prediction, target)
    mean = blocks.mean(0)
    strength = damping if isinstance(damping, float) else damping.rho * np.trace(mean) / shape[1]
    matrices = blocks if aggregate == "sample" else np.broadcast_to(mean, blocks.shape)
    curvature = GaussNewton(damping=damping, aggregate=aggregate, power=power, solver=solver, max_ratio=None)
    found = newton_step(loss, prediction, target, curvature).direction
    expected = powered(matrices, strength, power, gradient)
    assert reference.relative_error(found, expected) < 1e-9


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_hessian(aggregate, power):
    prediction, target = data(6, 5, 5)
    gradient = reference.gradients(Wavy(), prediction, target)
    values, vectors = np.linalg.eigh(reference.hessians(Wavy(), prediction, target))
    blocks = np.einsum("nij,nj,nkj->nik", vectors, np.abs(values), vectors)
    matrices = blocks if aggregate == "sample" else np.broadcast_to(blocks.mean(0), blocks.shape)
    curvature = Hessian(damping=0.2, aggregate=aggregate, power=power, max_ratio=None)
    found = newton_step(Wavy(), prediction, target, curvature).direction
    assert reference.relative_error(found, powered(matrices, 0.2, power, gradient)) < 1e-10


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("solver", ["auto", "eigen", "kernel"])
@pytest.mark.parametrize("weighting", ["raw", "normalized"])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("shape", [(4, 12), (20, 6)])
def test_fisher(shape, power, weighting, solver, weight):
    prediction, target = data(*shape, shape[1])
    weights = torch.arange(shape[0], dtype=torch.float64) if weight else torch.ones(shape[0], dtype=torch.float64)
    gradient = reference.gradients(half_square, prediction, target)
    rows = gradient / np.linalg.norm(gradient, axis=1, keepdims=True) if weighting == "normalized" else gradient
    share = weights.numpy() / weights.sum().item()
    matrix = np.einsum("n,ni,nj->ij", share, rows, rows)
    if weighting == "normalized":
        assert math.isclose(np.trace(matrix), 1.0)
    curvature = EmpiricalFisher(damping=0.05, weighting=weighting, power=power, solver=solver)
    found = newton_step(half_square, prediction, target, curvature, weight=weights if weight else None).direction
    expected = powered(np.broadcast_to(matrix, (shape[0], *matrix.shape)), 0.05, power, gradient)
    assert reference.relative_error(found, expected) < 1e-10


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("weighting", ["raw", "normalized"])
def test_a_normalised_fisher_does_not_depend_on_the_scale_of_the_loss(weighting, scale):
    prediction, target = data(20, 6, 6)
    curvature = EmpiricalFisher(damping=0.05, weighting=weighting)
    one = newton_step(half_square, prediction, target, curvature).direction
    other = newton_step(lambda y, t: scale * half_square(y, t), prediction, target, curvature).direction
    alike = torch.allclose(other / scale, one, rtol=1e-9)
    assert alike is (weighting == "normalized" or scale == 1.0)


def test_a_gradient_of_zero_has_no_weight_in_a_normalised_fisher():
    prediction, target = data(6, 4, 4)
    target[0] = prediction[0]
    step = newton_step(half_square, prediction, target, EmpiricalFisher(damping=0.1, weighting="normalized"))
    assert (step.direction[0] == 0).all()
    assert torch.isfinite(step.direction).all()


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("make", [Hessian, GaussNewton, EmpiricalFisher])
def test_the_ends_are_the_gradient_and_the_newton_step(make, power):
    loss, (prediction, target) = simulator(6, 6), data(8, 6, 6)
    found = newton_step(loss, prediction, target, make(power=power))
    if power in (0.0, 1.0):
        expected = newton_step(loss, prediction, target, make()).direction if power else found.gradient
        assert torch.equal(found.direction, expected)
    slope = (found.gradient * found.direction).sum(1)
    assert (slope > 0).all()  # a definite C gives a descent direction for every power


def test_a_padded_output_takes_no_part_in_a_power():
    def loss(prediction, target, mask=None):
        bent = torch.sin(prediction) - target
        return (bent if mask is None else bent.masked_fill(mask, 0.0)).square().sum(-1)

    prediction, target = data(6, 5, 5)
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 3:] = True
    curvature = EmpiricalFisher(damping=0.1, power=0.5)
    padded = newton_step(loss, prediction, target, curvature, mask=mask).direction
    assert (padded[:, 3:] == 0).all()
    assert torch.allclose(padded[:, :3], newton_step(loss, prediction[:, :3], target[:, :3], curvature).direction)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hessian(power=1.5), r"Hessian\(power=1.5\).*from 0, the gradient, to 1"),
        (lambda: GaussNewton(power=-0.1), r"GaussNewton\(power=-0.1\)"),
        (lambda: EmpiricalFisher(power="half"), r"EmpiricalFisher\(power='half'\)"),
        (lambda: Hessian(power=0.5, solver="cg"), r"solver='cg'\): a fractional power is taken of eigenvalues"),
        (lambda: Hessian(power=0.5, solver="cholesky"), r"solver='cholesky'"),
        (lambda: Hessian(power=0.5, psd="none"), r"psd='none'\): a negative eigenvalue has no fractional power"),
        (lambda: EmpiricalFisher(weighting="norm"), r"weighting='norm'.*'raw', 'normalized'"),
        (lambda: GaussNewton(damping=Bounded(), solver="low_rank"), r"solver='low_rank'\): this rule needs"),
        (lambda: GaussNewton(normalize=-1.0), r"normalize=-1.0"),
        (lambda: Bounded(validated=1), r"Bounded\(validated=1\): give True or False"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_low_rank_of_repaired_eigenvalues_is_refused():
    prediction, target = data(4, 5, 5)
    with pytest.raises(UnsupportedCurvatureError, match="solver='low_rank' forms none"):
        newton_step(Wavy(), prediction, target, Hessian(solver="low_rank"))


@pytest.mark.parametrize("rank", [0, 3, 20, 60])
def test_leading_eigenvectors_stop_at_the_rank(rank):
    torch.manual_seed(rank)
    root = torch.randn(2, 60, rank, dtype=torch.float64)
    matrix = root @ root.mT
    calls = []

    def product(rows):
        calls.append(len(rows))
        return torch.einsum("bij,rbj->rbi", matrix, rows)

    values, vectors = leading_eigenvectors(product, torch.zeros(2, 60, dtype=torch.float64), torch.tensor(1e-8))
    assert torch.allclose(vectors @ (values.unsqueeze(-1) * vectors.mT), matrix, atol=1e-8)
    assert torch.allclose(vectors.mT @ vectors, torch.eye(vectors.shape[-1], dtype=torch.float64), atol=1e-10)
    assert sum(calls) <= 2 * min(60, 16 * (rank // 16 + 1)) + 16


def test_many_outputs_of_low_rank_in_float32():
    torch.manual_seed(0)
    matrix = torch.randn(3, 600)
    loss = nlcore.compose(lambda y: y @ matrix.T.to(y))
    prediction, target = torch.randn(4, 600), torch.randn(4, 3)
    fast = newton_step(loss, prediction, target, GaussNewton(damping=Relative(0.1), power=0.5, solver="low_rank"))
    exact = newton_step(loss, prediction.double(), target.double(), GaussNewton(damping=Relative(0.1), power=0.5))
    assert reference.relative_error(fast.direction, exact.direction.numpy()) < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_cross_validation_finds_a_damping_near_the_best(noise):
    torch.manual_seed(3)
    place = torch.arange(40, dtype=torch.float64)
    blur = torch.exp(-0.5 * ((place[:, None] - place) / 1.5).square())
    blur = blur / blur.sum(1, keepdim=True)
    truth = torch.randn(60, 40, dtype=torch.float64).cumsum(1) * 0.3
    loss = nlcore.compose(lambda y: y @ blur.T)
    target = truth @ blur.T + noise * torch.randn(60, 40, dtype=torch.float64)

    def error(curvature):
        return (newton_step(loss, torch.zeros_like(truth), target, curvature).target - truth).norm() / truth.norm()

    best = min(error(GaussNewton(damping=Relative(10 ** (-4 + k / 4)))) for k in range(21))
    assert error(GaussNewton(damping=Bounded(validated=True))) < 1.5 * best + 0.03


def in_feature_space(loss, prediction, target, curvature, **given):
    problem = Problem.of(read_capabilities(loss), prediction, target, **given)
    return form_features(differentiate(problem, "gauss_newton"), problem)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("given", ["nothing", "weight", "mask"])
@pytest.mark.parametrize("damping", [0.1, Relative(0.01)])
def test_the_samples_own_matrices_in_feature_space(power, given, damping):
    def inner(y, mask=None):
        y = y if mask is None else y.masked_fill(mask, 0.0)
        return torch.stack([torch.sin(y).sum(-1), y.square().sum(-1), y[:, 0]], 1)

    loss = nlcore.compose(inner, lambda f, t: torch.cosh(f[:, 0] - t) + (f[:, 1] - t).square() + f[:, 2].exp())
    prediction, target = torch.randn(6, 9, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    mask = torch.zeros(6, 9, dtype=torch.bool)
    mask[1:4, 5:] = True
    options = {"nothing": {}, "weight": {"weight": torch.rand(6) + 0.1}, "mask": {"mask": mask}}[given]
    matrix = in_feature_space(loss, prediction, target, GaussNewton(), **options)
    few, dense = (
        newton_step(
            loss,
            prediction,
            target,
            GaussNewton(damping=damping, aggregate="sample", power=power, solver=solver),
            **options,
        )
        for solver in ("auto", "eigen")
    )
    assert matrix.root.shape == (6, 3, 9)
    assert torch.allclose(few.direction, dense.direction, rtol=1e-9, atol=1e-12)
    assert few.stats["mean_curvature"] == pytest.approx(dense.stats["mean_curvature"])
    whole = GaussNewton().matrix(
        differentiate(Problem.of(read_capabilities(loss), prediction, target, **options), "gauss_newton"),
        Problem.of(read_capabilities(loss), prediction, target, **options),
    )
    assert torch.allclose(matrix.dense(), whole.dense(), atol=1e-12)
    assert float(matrix.largest) == pytest.approx(float(whole.largest))


@pytest.mark.filterwarnings("ignore:.*the outer loss is not convex:nlcore.errors.NumericalWarning")
def test_an_outer_loss_that_is_not_convex_is_not_taken_by_its_root():
    loss = nlcore.compose(lambda y: y[:, :2], lambda f, t: torch.sin(f - t).sum(-1))
    prediction, target = data(6, 5, 2)
    assert in_feature_space(loss, prediction, target, GaussNewton()) is None
    few, dense = (
        newton_step(loss, prediction, target, GaussNewton(damping=2.0, aggregate="sample", solver=solver)).direction
        for solver in ("auto", "eigen")
    )
    assert torch.allclose(few, dense)


def test_a_sample_whose_features_are_not_finite_fails_alone():
    loss = nlcore.compose(lambda y: torch.stack([y.sum(-1), (y[:, 0]).sqrt() * 0 + y[:, 1]], 1))
    prediction, target = data(6, 5, 2)
    prediction[2, 0] = 0.0  # whose root has an infinite derivative, times zero
    curvature = GaussNewton(aggregate="sample")
    step = newton_step(loss, prediction, target, curvature, on_failure="fallback")
    others = [k for k in range(6) if k != 2 and prediction[k, 0] > 0]
    assert step.codes[2] == Result.nonfinite
    assert torch.isfinite(step.direction[others]).all()
