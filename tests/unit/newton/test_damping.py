"""Damping: relative, bounded by the amplification, and what a module remembers of it."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from nlcore import (
    Bounded,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    NewtonLoss,
    Relative,
    compose,
    inject_fisher,
    newton_step,
)
from nlcore.errors import ConfigError
from nlcore.newton.problem import Samples
from nlcore.newton.rho import amplification

from . import reference
from .losses import SPLIT, Wavy, data, half_square

CANDIDATES = [10 ** (-3 + k / 2) for k in range(7)]


def exact_amplification(matrix, blocks, lam):
    """Return ‖(C + λI)⁻¹H_i‖ / max(1, ‖H_i‖/‖C‖) of every sample, [N]."""
    inverse = np.linalg.inv(matrix + lam * np.eye(len(matrix)))
    norms = []
    for block in blocks:
        plain = np.linalg.norm(block, 2) / np.linalg.norm(matrix, 2)
        norms.append(np.linalg.norm(inverse @ block, 2) / max(1.0, plain))
    return np.array(norms)


def quadratic(prediction, target):
    """½ Σ_k a_k (y_k − t_k)² with a sample's own a; target [N, m, 2] holds t and a."""
    return (target[..., 1] * (prediction - target[..., 0]).square()).sum(1) / 2


def problem(steepness):
    """Return a prediction and target of `quadratic` with the diagonal Hessians [N, m]."""
    steepness = torch.as_tensor(steepness, dtype=torch.float64)
    prediction, target = data(*steepness.shape)
    return prediction, torch.stack([target, steepness], -1)


ALIKE = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).repeat(10, 1)
BETWEEN = torch.tensor([[10.0, 0.0]] * 8 + [[10.0, 2.0]] * 2)
STEEP_APART = torch.tensor([[10.0] + [0.0] * 7] * 8 + [[10.0, 9.0] + [0.0] * 6] * 2)


def test_amplification_is_within_a_few_per_cent_of_the_exact_one():
    ratios = []
    for seed in range(10):
        prediction, target = data(12, 5, seed=seed)
        blocks = np.stack([reference.repaired(b, "abs") for b in reference.hessians(Wavy(), prediction, target)])
        matrix = blocks.mean(0)
        strengths = np.array([1e-3, 0.1, 1.0]) * np.trace(matrix) / 5
        exact = [np.sort(exact_amplification(matrix, blocks, lam))[10] for lam in strengths]
        batch = Samples.of(torch.ones(12, dtype=torch.float64))
        found = amplification(*map(torch.from_numpy, (matrix, blocks, strengths)), batch, 0.9).numpy()
        ratios.append(found / exact)
    assert np.abs(np.array(ratios) - 1).max() < 0.05


@pytest.mark.parametrize(("steepness", "rho"), [(ALIKE, 1e-3), (BETWEEN, None), (STEEP_APART, "per sample")])
@pytest.mark.parametrize("psd", ["abs", "clip"])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_bounded_takes_the_smallest_candidate_within_the_limit(steepness, rho, psd, scope):
    prediction, target = problem(steepness)
    blocks = np.stack([np.diag(row) for row in steepness.double().numpy()])
    matrix = blocks.mean(0)
    mean_curvature = np.trace(matrix) / len(matrix)
    place = int(np.ceil(0.9 * len(blocks))) - 1
    fitting = [
        rho for rho in CANDIDATES if np.sort(exact_amplification(matrix, blocks, rho * mean_curvature))[place] <= 1.5
    ]
    curvature = Hessian(
        damping=Bounded(limit=1.5, quantile=0.9, per_sample_rho=0.01), psd=psd, psd_scope=scope, max_ratio=1.0
    )
    step = newton_step(quadratic, prediction, target, curvature)
    gradient = reference.gradients(quadratic, prediction, target)
    weighed = reference.Problem.of(gradient)
    if rho == "per sample":
        assert not fitting
        lam = 0.01 * mean_curvature
        expected = reference.newton_directions(weighed, blocks, ("absolute", lam), aggregate="sample", max_ratio=1.0)
    else:
        assert fitting
        assert rho is None or fitting[0] == pytest.approx(rho)
        assert rho is not None or 1e-3 < fitting[0] < 1
        lam = fitting[0] * mean_curvature
        expected = reference.newton_directions(weighed, blocks, ("absolute", lam))
    assert step.stats["damping"] == pytest.approx(lam, rel=1e-12)
    assert reference.relative_error(step.direction, expected) < 1e-11


@pytest.mark.parametrize("k", range(1, 5))
def test_the_limit_decides_between_neighbouring_candidates(k):
    prediction, target = problem(BETWEEN)
    blocks = np.stack([np.diag(row) for row in BETWEEN.double().numpy()])
    mean_curvature = np.trace(blocks.mean(0)) / 2
    edge = np.sort(exact_amplification(blocks.mean(0), blocks, CANDIDATES[k] * mean_curvature))[8]
    for limit, chosen in ((1.01 * edge, k), (0.99 * edge, k + 1)):
        step = newton_step(quadratic, prediction, target, Hessian(damping=Bounded(limit=limit, quantile=0.9)))
        assert step.stats["damping"] == pytest.approx(CANDIDATES[chosen] * mean_curvature, rel=1e-12)


def test_bounded_is_blind_to_the_scale_of_the_loss():
    prediction, target = data(12)
    step = newton_step(Wavy(), prediction, target, Hessian(damping=Bounded()))
    for factor in (1e-20, 1e-3, 1e5, 1e20):
        scaled = newton_step(lambda y, t, f=factor: f * Wavy()(y, t), prediction, target, Hessian(damping=Bounded()))
        torch.testing.assert_close(scaled.direction, step.direction, rtol=1e-9, atol=0)


def test_bounded_holds_for_repeated_and_removed_samples():
    prediction, target = problem(BETWEEN)
    counts = torch.tensor([3, 1, 1, 0, 0, 1, 2, 1, 0, 1])
    for curvature in (Hessian(damping=Bounded()), Hessian(damping=Bounded(limit=1.01))):
        weighted = newton_step(quadratic, prediction, target, curvature, weight=counts)
        repeated = newton_step(
            quadratic, prediction.repeat_interleave(counts, 0), target.repeat_interleave(counts, 0), curvature
        )
        assert weighted.stats["damping"] == pytest.approx(repeated.stats["damping"], rel=1e-12)
        torch.testing.assert_close(
            weighted.direction.repeat_interleave(counts, 0), repeated.direction, rtol=1e-11, atol=0
        )


@pytest.mark.filterwarnings("ignore:.*second derivative.* is zero:nlcore.errors.NumericalWarning")
@pytest.mark.parametrize("curvature", [Hessian, GaussNewton])
def test_bounded_zero_curvature_gives_the_gradient(curvature):
    prediction, target = data()[0], data(5, 7)[1]

    def flat(y, t):
        return (y * t[:, :4]).sum(1)

    if curvature is GaussNewton:
        flat = compose(lambda y: y, flat)
    step = newton_step(flat, prediction, target, curvature(damping=Bounded()))
    direction = step.direction / step.direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(direction, step.gradient / step.gradient.norm(dim=1, keepdim=True), rtol=1e-12, atol=0)


def train(criterion, steps, seed=0):
    """Return the damping of every step on fresh data."""
    found = []
    for k in range(steps):
        prediction, target = data(12, seed=seed + k)
        y = (2 * prediction).requires_grad_()
        criterion(y, target).backward()
        found.append(criterion.stats["damping"] / criterion.stats["mean_curvature"])
    return found


def alone(steps, **options):
    """Return what every step would choose by itself."""
    found = []
    for k in range(steps):
        prediction, target = data(12, seed=k)
        step = newton_step(Wavy(), 2 * prediction, target, Hessian(damping=Bounded(**options)))
        found.append(step.stats["damping"] / step.stats["mean_curvature"])
    return found


def test_a_module_looks_anew_every_so_many_steps():
    by_itself = alone(9)
    assert len({round(rho, 9) for rho in by_itself}) > 2, "otherwise this test sees nothing"
    assert train(NewtonLoss(Wavy(), Hessian(damping=Bounded(refresh=1))), 9) == pytest.approx(by_itself)
    expected = [by_itself[k - k % 3] for k in range(9)]
    assert train(NewtonLoss(Wavy(), Hessian(damping=Bounded(refresh=3))), 9) == pytest.approx(expected)


def test_state_dict_carries_the_damping_between_looks():
    curvature = Hessian(damping=Bounded(refresh=4))
    through = train(NewtonLoss(Wavy(), curvature), 9)
    criterion = NewtonLoss(Wavy(), curvature)
    train(criterion, 6)
    file = io.BytesIO()
    torch.save(nn.ModuleDict({"criterion": criterion}).state_dict(), file)
    file.seek(0)
    other = NewtonLoss(Wavy(), curvature)
    nn.ModuleDict({"criterion": other}).load_state_dict(torch.load(file, weights_only=True))
    assert train(other, 3, seed=6) == pytest.approx(through[6:], rel=1e-14)
    assert train(copy.deepcopy(criterion), 3, seed=6) == pytest.approx(through[6:], rel=1e-14)


def test_no_grad_does_not_age_the_damping():
    criterion = NewtonLoss(Wavy(), Hessian(damping=Bounded(refresh=3)))
    by_itself = alone(4)
    first = train(criterion, 1)
    for _ in range(5):
        with torch.no_grad():
            criterion(*data(12))
    assert first + train(criterion, 3, seed=1) == pytest.approx([by_itself[0]] * 3 + [by_itself[3]])


@pytest.mark.parametrize("cast", ["half", "bfloat16", "float"])
def test_casting_a_model_that_holds_the_loss(cast):
    model = nn.ModuleDict({"net": nn.Linear(4, 4), "criterion": NewtonLoss(Wavy(), Hessian(damping=Bounded()))})
    getattr(model, cast)()
    for k in range(3):
        prediction, target = data(12, seed=k, dtype=model["net"].weight.dtype)
        loss = model["criterion"](model["net"](prediction), target)
        loss.backward()
        assert torch.isfinite(model["net"].weight.grad).all()


@pytest.mark.parametrize("damping", [0, 0.0, 1, 1e-300, 1e300, Relative(1e-300), Relative(1), Bounded()], ids=str)
def test_right_dampings(damping):
    Hessian(damping=damping)
    GaussNewton(damping=damping)


@pytest.mark.parametrize("damping", [-1, -1e-300, float("nan"), float("inf"), True, "0.1", None, Relative], ids=str)
@pytest.mark.parametrize("curvature", [Hessian, GaussNewton, EmpiricalFisher])
def test_wrong_dampings(curvature, damping):
    with pytest.raises(ConfigError, match=rf"{curvature.__name__}\(damping=") as caught:
        curvature(damping=damping)
    assert repr(damping) in str(caught.value)
    assert "Relative" in str(caught.value)


def test_a_bound_means_nothing_for_a_fisher():
    with pytest.raises(ConfigError, match="Fisher"):
        EmpiricalFisher(damping=Bounded())
    with pytest.raises(ConfigError, match="Fisher"):
        inject_fisher(torch.zeros(2, 3), Bounded())


@pytest.mark.parametrize("rho", [0, 0.0, -1, float("nan"), float("inf"), True, "1", None], ids=str)
def test_wrong_relative_dampings(rho):
    with pytest.raises(ConfigError, match=r"Relative\(rho=") as caught:
        Relative(rho)
    assert repr(rho) in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 1.0},
        {"limit": 0.5},
        {"limit": float("nan")},
        {"quantile": 0.0},
        {"quantile": 1.5},
        {"quantile": "0.9"},
        {"per_sample_rho": 0.0},
        {"refresh": 0},
        {"refresh": True},
    ],
    ids=str,
)
def test_wrong_bounds(options):
    with pytest.raises(ConfigError) as caught:
        Bounded(**options)
    ((name, value),) = options.items()
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bounded(refresh=2.5),
        lambda: Hessian(chunk_size=0.5),
        lambda: Hessian(chunk_size=1.5),
        lambda: GaussNewton(chunk_size=float("inf")),
    ],
)
def test_counts_are_integers(make):
    with pytest.raises(ConfigError):
        make()


def test_the_relative_damping_of_a_huge_entry_has_a_floor():
    """The off-diagonal part of an indefinite matrix may be large where the trace is zero."""

    def saddle(prediction, target):
        return prediction[:, 0] * prediction[:, 1] * target[:, 0]

    prediction, target = data(1, 2)
    step = newton_step(saddle, prediction, target, Hessian(damping=Relative(0.1), psd="none"))
    assert step.stats["mean_curvature"] == 0
    assert step.stats["damping"] == pytest.approx(1e-12 * float(target[0, 0].abs()), rel=1e-12)
    torch.testing.assert_close(step.direction, prediction, rtol=1e-10, atol=0)


def test_where_a_gauss_newton_matrix_is_alike_for_all_the_bound_gives_the_floor():
    prediction, target = data()
    step = newton_step(half_square, prediction, target, Hessian(damping=Bounded()))
    torch.testing.assert_close(step.direction, (prediction - target) / 1.001, rtol=1e-12, atol=0)
    split = newton_step(SPLIT, data()[0], data(5, 7)[1], GaussNewton(damping=Bounded()))
    assert 1e-3 * split.stats["mean_curvature"] <= split.stats["damping"] * (1 + 1e-12)
