"""What holds for any input: descent, permutations, scale, shift, size of the gradient."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, compose, newton_step
from nlcore.builtin.losses import CrossEntropy

from .losses import SPLIT, Wavy, convex_outer, data, features

settings.register_profile("newton", deadline=None, database=None, derandomize=True, max_examples=40)
PROFILE = settings.get_profile("newton")

counts = st.integers(1, 6)
sizes = st.integers(1, 6)
seeds = st.integers(0, 10**6)
dampings = st.one_of(
    st.floats(1e-3, 1e4), st.floats(1e-3, 10.0).map(Relative), st.just(Bounded()), st.floats(1.1, 3.0).map(Bounded)
)
fisher_dampings = st.one_of(st.floats(1e-3, 1e4), st.floats(1e-3, 10.0).map(Relative))
hessians = st.builds(
    Hessian,
    damping=dampings,
    psd=st.sampled_from(["abs", "clip"]),
    psd_scope=st.sampled_from(["sample", "batch"]),
    aggregate=st.sampled_from(["sample", "batch"]),
    max_ratio=st.sampled_from([None, 0.5, 1.0]),
    solver=st.sampled_from(["cholesky", "eigen"]),
    normalize=st.booleans(),
)
fishers = st.builds(
    EmpiricalFisher,
    damping=fisher_dampings,
    max_step=st.sampled_from([None, 0.1, 100.0]),
    solver=st.sampled_from(["auto", "cholesky", "eigen", "kernel"]),
)
gauss_newtons = st.builds(
    GaussNewton,
    damping=dampings,
    aggregate=st.sampled_from(["sample", "batch"]),
    max_ratio=st.sampled_from([None, 0.5, 1.0]),
)
curvatures = st.one_of(hessians, fishers)


def spread(seed, count, size):
    """Return inputs with samples of different sizes."""
    prediction, target = data(count, size, seed=seed)
    return prediction * torch.logspace(-1, 1, count, dtype=torch.float64).unsqueeze(1), target


def close(found, expected, rtol=1e-8):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * float(expected.abs().amax()))


@settings(PROFILE)
@given(curvatures, counts, sizes, seeds)
def test_a_psd_curvature_descends(curvature, count, size, seed):
    step = newton_step(Wavy(), *spread(seed, count, size), curvature)
    slope = (step.gradient * step.direction).sum(1)
    assert (slope > 0).all()
    assert step.result.name == "ok"


@pytest.mark.parametrize("psd", ["abs", "clip"])
def test_a_bounded_damping_descends_when_the_mean_is_repaired(psd):
    for seed in range(20):
        curvature = Hessian(damping=Bounded(), psd=psd, psd_scope="batch")
        step = newton_step(Wavy(), *spread(seed, 3, 2), curvature)
        assert ((step.gradient * step.direction).sum(1) > 0).all()


@settings(PROFILE)
@given(gauss_newtons, counts, st.integers(2, 6), seeds)
def test_gauss_newton_descends(curvature, count, size, seed):
    prediction, _ = spread(seed, count, size)
    target = data(count, 2 * size - 1, seed=seed + 1)[0]
    step = newton_step(SPLIT, prediction, target, curvature)
    assert ((step.gradient * step.direction).sum(1) > 0).all()


@settings(PROFILE)
@given(curvatures, counts, sizes, seeds)
def test_small_steps_lower_every_loss(curvature, count, size, seed):
    prediction, target = spread(seed, count, size)
    step = newton_step(Wavy(), prediction, target, curvature)
    length = step.direction.norm(dim=1, keepdim=True).clamp(min=1e-300)
    moved = Wavy()(prediction - 1e-6 * step.direction / length, target)
    slope = (step.gradient * step.direction).sum(1) / length.squeeze(1)
    certain = slope > 1e-3
    assert (moved < step.value)[certain].all()


@settings(PROFILE)
@given(curvatures, st.integers(2, 6), sizes, seeds)
def test_the_order_of_samples_does_not_matter(curvature, count, size, seed):
    prediction, target = spread(seed, count, size)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    step = newton_step(Wavy(), prediction, target, curvature)
    permuted = newton_step(Wavy(), prediction[order], target[order], curvature)
    close(permuted.direction, step.direction[order])


@settings(PROFILE)
@given(curvatures, counts, st.integers(2, 6), seeds)
def test_the_order_of_outputs_does_not_matter(curvature, count, size, seed):
    prediction, target = spread(seed, count, size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    back = order.argsort()

    def relabelled(y, t):
        return Wavy()(y[:, back], t)

    step = newton_step(Wavy(), prediction, target, curvature)
    permuted = newton_step(relabelled, prediction[:, order], target, curvature)
    close(permuted.direction, step.direction[:, order])


@settings(PROFILE)
@given(hessians, counts, sizes, seeds, st.floats(-60, 60), st.floats(0.01, 3.0))
def test_a_scaled_loss_has_the_same_hessian_direction(curvature, count, size, seed, power, rho):
    if isinstance(curvature.damping, float):
        curvature = dataclasses.replace(curvature, damping=Relative(rho))
    factor = 2.0**power
    prediction, target = spread(seed, count, size)
    step = newton_step(Wavy(), prediction, target, curvature)
    assume(step.stats["mean_curvature"] != 0)  # there the direction is the gradient, which scales
    scaled = newton_step(lambda y, t: factor * Wavy()(y, t), prediction, target, curvature)
    close(scaled.direction, step.direction, 1e-7)


@settings(PROFILE)
@given(counts, st.integers(2, 6), seeds, st.floats(-60, 60), st.floats(0.01, 3.0))
def test_a_scaled_loss_has_the_same_gauss_newton_direction(count, size, seed, power, rho):
    factor = 2.0**power
    prediction, _ = spread(seed, count, size)
    target = data(count, 2 * size - 1, seed=seed + 1)[0]
    scaled = compose(features, lambda f, t: factor * convex_outer(f, t))
    curvature = GaussNewton(damping=Relative(rho))
    step = newton_step(SPLIT, prediction, target, curvature)
    close(newton_step(scaled, prediction, target, curvature).direction, step.direction)


@settings(PROFILE)
@given(counts, sizes, seeds, st.floats(-60, 60), st.floats(0.01, 3.0), st.sampled_from(["cholesky", "eigen", "kernel"]))
def test_a_scaled_loss_divides_the_fisher_direction(count, size, seed, power, rho, solver):
    factor = 2.0**power
    prediction, target = spread(seed, count, size)
    curvature = EmpiricalFisher(damping=Relative(rho), max_step=None, solver=solver)
    step = newton_step(Wavy(), prediction, target, curvature)
    scaled = newton_step(lambda y, t: factor * Wavy()(y, t), prediction, target, curvature)
    close(scaled.direction * factor, step.direction)


@settings(PROFILE)
@given(curvatures, counts, sizes, seeds, st.floats(-3, 3))
def test_absolute_dampings_scale_with_the_loss(curvature, count, size, seed, power):
    assume(isinstance(curvature.damping, float))
    factor = 10.0**power
    square = isinstance(curvature, EmpiricalFisher)
    other = dataclasses.replace(curvature, damping=curvature.damping * (factor**2 if square else factor))
    prediction, target = spread(seed, count, size)
    step = newton_step(Wavy(), prediction, target, curvature)
    scaled = newton_step(lambda y, t: factor * Wavy()(y, t), prediction, target, other)
    close(scaled.direction * (factor if square else 1.0), step.direction, 1e-7)


@settings(PROFILE)
@given(curvatures, counts, st.integers(2, 6), seeds, st.floats(-20, 20))
def test_a_shift_that_changes_no_loss_changes_no_step(curvature, count, size, seed, shift):
    prediction, _ = data(count, size, seed=seed)
    target = torch.randint(size, (count,), generator=torch.Generator().manual_seed(seed))
    step = newton_step(CrossEntropy(), prediction, target, curvature)
    shifted = newton_step(CrossEntropy(), prediction + shift, target, curvature)
    close(shifted.direction, step.direction, 1e-7)
    assert step.direction.sum(1).abs().amax() <= 1e-9 * step.direction.abs().amax()


@settings(PROFILE)
@given(hessians, counts, sizes, seeds, st.floats(1.0, 1e3))
def test_more_damping_gives_shorter_steps(curvature, count, size, seed, factor):
    assume(not isinstance(curvature.damping, Bounded))
    curvature = dataclasses.replace(curvature, max_ratio=None, normalize=False)
    more = (
        Relative(curvature.damping.rho * factor)
        if isinstance(curvature.damping, Relative)
        else curvature.damping * factor
    )
    prediction, target = spread(seed, count, size)
    step = newton_step(Wavy(), prediction, target, curvature)
    damped = newton_step(Wavy(), prediction, target, dataclasses.replace(curvature, damping=more))
    assert (damped.direction.norm(dim=1) <= step.direction.norm(dim=1) * (1 + 1e-9)).all()


@settings(PROFILE)
@given(counts, sizes, seeds, st.floats(1e-6, 1e6), fisher_dampings)
def test_a_fisher_step_is_bounded_as_documented(count, size, seed, factor, damping):
    assume(isinstance(damping, Relative) or factor**2 < 1e6 * damping)  # else the matrix is singular in float64
    prediction, target = spread(seed, count, size)
    step = newton_step(
        lambda y, t: factor * Wavy()(y, t), prediction, target, EmpiricalFisher(damping=damping, max_step=2.0)
    )
    if isinstance(damping, Relative):
        assert step.direction.square().mean(1).sqrt().amax() <= 2.0 * (1 + 1e-12)
    else:
        bound = math.sqrt(count) / (2 * math.sqrt(damping))
        assert step.direction.norm(dim=1).amax() <= bound * (1 + 1e-9)


SCALES = [0.0, 1e-40, 1e-38, 1e-30, 1e-25, 1e-10, 1.0, 1e10, 1e25, 1e30]
DEFAULTS = [Hessian(), GaussNewton(), EmpiricalFisher(), Hessian(damping=Bounded()), GaussNewton(damping=Bounded())]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "curvature", [*DEFAULTS, Hessian(aggregate="sample"), GaussNewton(aggregate="sample")], ids=str
)
def test_gradients_of_any_size_give_finite_directions(curvature, dtype, scale):
    prediction, target = data(5, 4, dtype=dtype)[0], data(5, 7, dtype=dtype, seed=1)[0]
    split = compose(features, lambda f, t: scale * convex_outer(f, t))
    y = prediction.clone().requires_grad_()
    NewtonLoss(split, curvature, reduction="sum")(y, target).backward()
    assert torch.isfinite(y.grad).all()
    step = newton_step(split, prediction, target, curvature)
    assert ((step.gradient.double() * step.direction.double()).sum(1) >= 0).all()
    if scale == 0:
        assert not step.direction.any()
    elif scale >= 1e-30:
        assert (step.direction.abs().amax(1) > 0).all()


@pytest.mark.filterwarnings("ignore:.*second derivative.* is zero:nlcore.errors.NumericalWarning")
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("curvature", [Hessian(), EmpiricalFisher(), Hessian(aggregate="sample")], ids=str)
def test_a_linear_loss_of_any_size_goes_along_the_gradient(curvature, scale):
    prediction, target = data(dtype=torch.float32)
    step = newton_step(lambda y, t: scale * (y * t).sum(1), prediction, target, curvature)
    assert torch.isfinite(step.direction).all()
    if not isinstance(curvature, EmpiricalFisher) and curvature.aggregate == "batch":
        assert torch.equal(step.direction, step.gradient), "a zero trace gives the gradient"


@pytest.mark.parametrize("curvature", DEFAULTS, ids=str)
def test_one_gradient_far_larger_than_the_others(curvature):
    prediction, target = data()[0], data(5, 7, seed=1)[0]
    factor = torch.tensor([1.0, 1.0, 1e20, 1.0, 1e-20], dtype=torch.float64)

    def outer(f, t):
        return t[:, 0] * convex_outer(f, t[:, 1:])

    weighted = torch.cat([factor.unsqueeze(1), target], 1)
    step = newton_step(compose(features, outer), prediction, weighted, curvature)
    assert torch.isfinite(step.direction).all()
    assert ((step.gradient * step.direction).sum(1) >= 0).all()
