"""Newton steps that can be written down by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, compose, newton_step
from nlcore.builtin.losses import BinaryCrossEntropy, CrossEntropy, SquaredError

from . import reference
from .losses import SPLIT, Wavy, data, half_square

EXACT = {"rtol": 1e-12, "atol": 0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("loss", "curvature"),
    [
        pytest.param(SquaredError(), Hessian, id="supplied"),
        pytest.param(half_square, Hessian, id="plain"),
        pytest.param(compose(lambda y: y), Hessian, id="composed"),
        pytest.param(compose(lambda y: y), GaussNewton, id="split"),
    ],
)
def test_squared_error_lands_on_the_target_at_damping_zero(loss, curvature, dtype):
    prediction, target = data(dtype=dtype)
    step = newton_step(loss, prediction, target, curvature(damping=0.0))
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(step.target, target, rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("damping", [0.0, 1e-3, 0.1, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
@pytest.mark.parametrize("psd", ["none", "clip", "abs"])
def test_squared_error_goes_a_part_of_the_way(damping, aggregate, psd):
    prediction, target = data()
    curvature = Hessian(damping=damping, aggregate=aggregate, psd=psd, max_ratio=None)
    step = newton_step(half_square, prediction, target, curvature)
    torch.testing.assert_close(step.target, prediction - (prediction - target) / (1 + damping), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rho", [0.1, 1.0, 3.0])
def test_relative_damping_of_squared_error_is_the_number_itself(rho):
    prediction, target = data()
    step = newton_step(SquaredError(), prediction, target, Hessian(damping=Relative(rho)))
    torch.testing.assert_close(step.direction, (prediction - target) / (1 + rho), **EXACT)


def test_running_totals_solve_for_the_numbers_behind_them():
    prediction, target = data()
    totals = compose(lambda y: y.cumsum(-1))
    for curvature in (GaussNewton(damping=0.0), Hessian(damping=0.0)):
        step = newton_step(totals, prediction, target.cumsum(-1), curvature)
        torch.testing.assert_close(step.target, target, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_softmax_cross_entropy(damping):
    prediction, _ = data(6, 5)
    target = torch.tensor([0, 4, 2, 2, 1, 3])
    p = prediction.softmax(-1).numpy()
    gradient = p - np.eye(5)[target.numpy()]
    matrix = np.mean([np.diag(q) - np.outer(q, q) for q in p], axis=0) + damping * np.eye(5)
    expected = torch.from_numpy(np.linalg.solve(matrix, gradient.T).T)
    for loss in (CrossEntropy(), lambda y, t: CrossEntropy()(y, t)):
        step = newton_step(loss, prediction, target, Hessian(damping=damping))
        torch.testing.assert_close(step.gradient, torch.from_numpy(gradient), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(step.direction, expected, rtol=1e-11, atol=1e-13)
        assert step.direction.sum(1).abs().amax() < 1e-12


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
def test_binary_cross_entropy(damping):
    prediction, _ = data(6, 5)
    target = torch.rand(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    p = prediction.sigmoid()
    over_batch = newton_step(BinaryCrossEntropy(), prediction, target, Hessian(damping=damping))
    torch.testing.assert_close(over_batch.direction, (p - target) / ((p * (1 - p)).mean(0) + damping), **EXACT)
    curvature = Hessian(damping=damping, aggregate="sample", max_ratio=None)
    each = newton_step(BinaryCrossEntropy(), prediction, target, curvature)
    torch.testing.assert_close(each.direction, (p - target) / (p * (1 - p) + damping), **EXACT)


def curved():
    """Return a batch on which the mean Hessian of Wavy is clearly indefinite."""
    prediction, target = data(7, 4, seed=2)
    return 2 * prediction, target


@pytest.mark.parametrize("damping", [0.1, 0.5, 1.0, 10.0, 1000.0])
def test_definition_1_to_the_last_digits(damping):
    prediction, target = curved()
    gradient, blocks = reference.gradients(Wavy(), prediction, target), reference.hessians(Wavy(), prediction, target)
    matrix = sum(blocks) / 7 + damping * np.eye(4)
    expected = np.stack([np.linalg.solve(matrix, g) for g in gradient])
    for solver in ("cholesky", "eigen"):
        step = newton_step(Wavy(), prediction, target, Hessian(damping=damping, psd="none", solver=solver))
        assert reference.relative_error(step.direction, expected) < 1e-12


def test_definition_1_covers_an_indefinite_and_a_definite_matrix():
    prediction, target = curved()
    lowest = np.linalg.eigvalsh(reference.hessians(Wavy(), prediction, target).mean(0)).min()
    assert -10 < lowest < -0.2
    assert newton_step(Wavy(), prediction, target, Hessian(damping=0.1, psd="none")).result.name == "indefinite"
    assert newton_step(Wavy(), prediction, target, Hessian(damping=10.0, psd="none")).result.name == "ok"


@pytest.mark.parametrize("damping", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("count", [3, 4, 7])
def test_definition_2_to_the_last_digits(damping, count):
    prediction, target = data(count, 4, seed=3)
    gradient = reference.gradients(Wavy(), prediction, target)
    matrix = gradient.T @ gradient / count + damping * np.eye(4)
    expected = np.stack([np.linalg.solve(matrix, g) for g in gradient])
    for solver in ("auto", "cholesky", "eigen", "kernel"):
        step = newton_step(Wavy(), prediction, target, EmpiricalFisher(damping=damping, solver=solver))
        assert reference.relative_error(step.direction, expected) < 1e-12, solver


CURVATURES = [Hessian, GaussNewton, EmpiricalFisher]


def split_data():
    return data()[0], data(5, 7, seed=1)[0]


@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_huge_damping_gives_the_scaled_gradient(curvature):
    for damping in (1e6, 1e9, 1e12):
        step = newton_step(SPLIT, *split_data(), curvature(damping=damping))
        error = reference.relative_error(step.direction * damping, step.gradient.numpy())
        assert error < 1e2 / damping


@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_huge_relative_damping_gives_a_multiple_of_the_gradient(curvature):
    step = newton_step(SPLIT, *split_data(), curvature(damping=Relative(1e9)))
    ratio = step.direction / step.gradient
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-7, atol=0)
    assert ratio[0, 0] > 0


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_limit_of_no_damping_is_the_undamped_step(curvature):
    options = {"psd": "none"} if curvature is Hessian else {}
    undamped = newton_step(SPLIT, *split_data(), curvature(damping=0.0, **options))
    errors = []
    for damping in (1e-2, 1e-4, 1e-6):
        step = newton_step(SPLIT, *split_data(), curvature(damping=damping, **options))
        errors.append(reference.relative_error(step.direction, undamped.direction.numpy()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
    assert 50 < errors[1] / errors[2] < 200, "the distance shrinks in proportion to λ"


def test_the_newton_loss_of_one_number():
    prediction = torch.tensor([[3.0, 1.0]], requires_grad=True)
    NewtonLoss(half_square, Hessian(damping=1.0))(prediction, torch.zeros(1, 2)).backward()
    assert torch.equal(prediction.grad, torch.tensor([[1.5, 0.5]]))


def test_a_fisher_of_one_sample_and_one_output():
    prediction = torch.tensor([[4.0]], dtype=torch.float64)
    step = newton_step(half_square, prediction, torch.zeros(1, 1, dtype=torch.float64), EmpiricalFisher(damping=1.0))
    assert float(step.direction) == pytest.approx(4 / 17, rel=1e-15)


def test_eigenvalues_are_flipped_or_clipped():
    def saddle(prediction, target):
        return (prediction.square() * torch.tensor([1.0, -3.0], dtype=torch.float64)).sum(1) / 2

    prediction = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    target = torch.zeros(1, 2, dtype=torch.float64)
    for psd, damped in (("none", [3.0, -1.0]), ("abs", [3.0, 5.0]), ("clip", [3.0, 2.0])):
        step = newton_step(saddle, prediction, target, Hessian(damping=2.0, psd=psd))
        expected = torch.tensor([[2.0, -3.0]], dtype=torch.float64) / torch.tensor(damped, dtype=torch.float64)
        torch.testing.assert_close(step.direction, expected, rtol=1e-14, atol=0)
