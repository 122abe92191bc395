"""Losses that do what one does not expect: buffers, fused outer losses, odd dtypes, and healthy ones that look odd."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nlcore
from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, compose, newton_step
from nlcore.errors import DtypeError, NumericalWarning, UnsupportedCurvatureError

from .losses import data, half_square

BUFFER = np.zeros((6, 4))


class Solver(torch.autograd.Function):
    """y², with a backward that fills one buffer again and again."""

    @staticmethod
    def forward(ctx, y):
        ctx.y = y.detach().numpy().copy()
        return y * y

    @staticmethod
    def backward(ctx, g):
        np.multiply(2 * ctx.y, g.detach().numpy(), out=BUFFER)
        return torch.from_numpy(BUFFER)


class Greedy(torch.autograd.Function):
    """y², with a backward that changes its cotangent in place."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y * y

    @staticmethod
    def backward(ctx, g):
        return g.mul_(2 * ctx.saved_tensors[0])


class Fused(torch.autograd.Function):
    """4‖f − t‖², its gradient made in the forward pass and a constant to autograd."""

    @staticmethod
    def forward(ctx, f, t):
        ctx.save_for_backward(8 * (f - t))
        return 4 * (f - t).square().sum(-1)

    @staticmethod
    def backward(ctx, g):
        return g.unsqueeze(-1) * ctx.saved_tensors[0], None


@pytest.mark.parametrize("curvature", [GaussNewton(damping=0.1), GaussNewton(damping=0.1, aggregate="sample")])
@pytest.mark.parametrize("solver", [Solver, Greedy])
def test_a_backward_may_keep_its_buffer(solver, curvature):
    y, t = data(6, 4)
    got = newton_step(compose(solver.apply), y, t, curvature)
    wanted = newton_step(compose(lambda y: y * y), y, t, curvature)
    torch.testing.assert_close(got.gradient, wanted.gradient, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.direction, wanted.direction, rtol=1e-10, atol=1e-12)


def test_a_fused_outer_loss_is_refused_and_a_flat_one_is_told():
    y, t = data(8, 3)
    for outer in (Fused.apply, lambda f, t: Fused.apply(f, t) + (f - t).square().sum(-1)):
        with pytest.raises(UnsupportedCurvatureError, match=r"outer loss misses differences.*EmpiricalFisher"):
            newton_step(compose(lambda y: y.cumsum(-1), outer), y, t, GaussNewton(damping=0.1))
    with pytest.warns(NumericalWarning, match="second derivative of the outer loss is zero"):
        newton_step(compose(lambda y: y.cumsum(-1), lambda f, t: (f - t).abs().sum(-1)), y, t, GaussNewton())


class Cut(torch.autograd.Function):
    """Σ w y⁴/4 with a right gradient that is a constant to autograd."""

    @staticmethod
    def forward(ctx, y, w):
        ctx.save_for_backward(y, w)
        return (w * y.pow(4)).sum(-1) / 4

    @staticmethod
    def backward(ctx, g):
        y, w = ctx.saved_tensors
        return (g.unsqueeze(-1) * w * y.pow(3)).detach(), None


@pytest.mark.parametrize(
    "case",
    ["one output beside steep ones", "some of the samples", "a tiny loss", "a small weight", "beside a sharp one"],
)
def test_a_part_of_a_second_derivative_that_is_missing_is_found(case):
    y, t = data(20, 3)
    weight, steep, scale = torch.ones_like(y), 0.0, 1.0
    if case == "one output beside steep ones":
        weight[:, 1:], steep = 0.0, torch.tensor([0.0, 1e3, 1e3], dtype=y.dtype)
    elif case == "some of the samples":
        weight[8:] = 0.0
    elif case == "a tiny loss":
        scale = 1e-9
    elif case == "a small weight":
        weight = 0.05 * weight

    def loss(p, q):
        rest = half_square(p, q) + (steep * (p - q).square()).sum(-1)
        sharp = (30 * p).sigmoid().sum(-1) if case == "beside a sharp one" else 0.0
        return scale * (Cut.apply(p, weight) + rest + sharp)

    with pytest.raises(UnsupportedCurvatureError, match="misses differences"):
        newton_step(loss, y, t, Hessian(damping=scale))


HEALTHY = {
    "logits in float32": lambda p, q: F.cross_entropy(
        p.float(), q.abs().mul(2).long().clamp(max=3)[:, 0], reduction="none"
    ),
    "focal weight": lambda p, q: ((p - q).square() * (p - q).detach().abs()).sum(-1),
    "straight through": lambda p, q: (p + (p.round() - p).detach() - q).square().sum(-1),
    "a kink": lambda p, q: ((p - q).relu().square() + 0.1 * (p - q).abs()).sum(-1),
    "very steep": lambda p, q: (1e4 * (p - q)).sigmoid().sum(-1) + half_square(p, q),
    "huge predictions": lambda p, q: (1e6 * p).sin().sum(-1) * 1e-12 + half_square(p, q),
    "two scales": lambda p, q: (p * torch.tensor([1e7, 1.0, 1.0, 1.0])).sin().sum(-1) * 1e-14 + half_square(p, q),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_healthy_loss_raises_no_alarm(name, dtype):
    y, t = data(24, 4, dtype=dtype)
    newton_step(HEALTHY[name], y, t, Hessian())


def test_checks_stay_in_the_domain_of_a_loss():
    costs, path = nlcore.make("shortest_paths/bellman_ford").example(
        4, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
    )
    costs[:, 1, 2] = 1e-6
    newton_step(nlcore.make("shortest_paths/bellman_ford"), costs, path, EmpiricalFisher())

    def positive(p, q):
        assert bool((p > 0).all()), "outside the domain"
        return (p.log() - q).square().sum(-1)

    y, t = data()
    y = y.abs() + 1e-9
    y[0, 0] = 1e-9
    newton_step(positive, y, t, Hessian())


@pytest.mark.parametrize("make", [lambda y: y * (1 + 2j), lambda y: torch.fft.fft(y)], ids=["product", "fft"])
@pytest.mark.parametrize("features", ["as many", "more"])
def test_complex_features_are_pairs_of_real_ones(make, features):
    y, t = data(6, 3)
    inner = make if features == "as many" else lambda y: torch.cat([make(y)] * 3, -1)
    got = newton_step(compose(inner, lambda f, t: f.abs().square().sum(-1) / 2), y, t, GaussNewton(damping=0.1))
    real = newton_step(
        compose(lambda y: torch.view_as_real(inner(y)), lambda f, t: f.flatten(1).square().sum(-1) / 2), y, t,
        GaussNewton(damping=0.1),
    )  # fmt: skip
    torch.testing.assert_close(got.direction, real.direction, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float64, torch.float32])
def test_features_may_have_another_dtype(dtype, own):
    y, t = data(6, 3, dtype=own)
    step = newton_step(
        compose(lambda y: y.to(dtype).cumsum(-1), lambda f, t: half_square(f, t.to(f))), y, t, GaussNewton()
    )
    wanted = newton_step(compose(lambda y: y.cumsum(-1)), y, t, GaussNewton())
    assert step.direction.dtype == own
    torch.testing.assert_close(step.direction, wanted.direction, rtol=0.1, atol=0.05)
    with pytest.raises(DtypeError, match="floating-point features"):
        newton_step(compose(lambda y: y.long(), lambda f, t: half_square(f, t)), y, t, GaussNewton())


@pytest.mark.parametrize("loss", [half_square, nlcore.make("core/squared_error"), compose(lambda y: y.cumsum(-1))])
def test_inference_mode_changes_nothing(loss):
    y, t = data()
    wanted = newton_step(loss, y, t)
    with torch.inference_mode():
        inside = newton_step(loss, y, t)
        value = NewtonLoss(loss, value="newton")(y, t)
        made_inside = y.clone()
    assert torch.equal(inside.direction, wanted.direction)
    assert value > 0
    assert torch.equal(newton_step(loss, made_inside, t).direction, wanted.direction)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_further_derivatives_are_refused_by_name():
    y, t = data()
    leaf = y.clone().requires_grad_()
    criterion = NewtonLoss(half_square, Hessian(damping=0.5))
    (slope,) = torch.autograd.grad(criterion(leaf, t).square(), leaf, create_graph=True)
    with pytest.raises(UnsupportedCurvatureError, match="no derivative of its own"):
        torch.autograd.grad(slope.square().sum(), leaf)
    (slope,) = torch.autograd.grad(criterion(leaf, t), leaf, create_graph=True)  # constant, but for plain training not
    with pytest.raises(UnsupportedCurvatureError, match="no derivative of its own"):
        slope.square().sum().backward()
    with pytest.raises(UnsupportedCurvatureError, match="forward-mode"):
        torch.func.jvp(lambda y: criterion(y, t), (y,), (torch.ones_like(y),))


def test_what_would_learn_nothing_is_told():
    network, encoder, (x, t) = nn.Linear(4, 4).double(), nn.Linear(4, 2).double(), data()
    loss = compose(lambda y, s: (y + s[:, :1]).cumsum(-1) * s[:, 1:])
    with pytest.warns(NumericalWarning, match="asks for a gradient, and gets none"):
        NewtonLoss(loss)(network(x), t, context=encoder(x)).backward()


def test_a_mask_that_a_loss_does_not_heed_is_told():
    y, t = data()
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:, 3] = mask[0, 2] = True

    def deaf(prediction, target, mask=None):
        return half_square(prediction, target)

    def flipped(y):
        return y.flip(-1).cumsum(-1)

    for loss in (deaf, compose(flipped, lambda f, t, mask: (f - t).masked_fill(mask, 0.0).square().sum(-1))):
        with pytest.warns(NumericalWarning, match="changes with what stands at padded outputs"):
            NewtonLoss(loss, EmpiricalFisher())(y.clone().requires_grad_(), t, mask=mask)


def test_batches_that_show_nothing_leave_the_checks_for_later():
    y, t = data()
    criterion = NewtonLoss(compose(lambda y: y.detach().cumsum(-1) + 0 * y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(y.clone().requires_grad_(), y.cumsum(-1))  # at its optimum
        criterion(y[:0].clone().requires_grad_(), t[:0])
    with pytest.warns(NumericalWarning, match="gradient is exactly zero"):
        criterion(y.clone().requires_grad_(), t)
    bounded = NewtonLoss(compose(lambda y: y.cumsum(-1)))
    bounded(y.clone().requires_grad_(), t)
    kept = bounded.get_extra_state()
    bounded(y[:0].clone().requires_grad_(), t[:0])
    assert torch.equal(bounded.get_extra_state(), kept)
    assert kept.any()


@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian(damping=50.0)])
def test_the_checks_leave_no_trace(curvature):
    norm = nn.BatchNorm1d(4).double().train()

    def counting(prediction, target):
        random.random()
        np.random.rand()
        norm(prediction.detach())
        return half_square(prediction, target)

    y, t = data()
    found = []
    for checked in (False, True):
        norm.reset_running_stats()
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        criterion = NewtonLoss(counting, curvature)
        if not checked:
            counting(y, t)
        else:
            criterion(y.clone().requires_grad_(), t)
        found.append(
            (
                random.random(),
                np.random.rand(),
                torch.rand(()).item(),
                norm.running_mean.clone(),
                norm.num_batches_tracked.item(),
            )
        )
    assert found[0][:3] == found[1][:3]
    assert torch.equal(found[0][3], found[1][3])
    assert found[0][4] == found[1][4] == 1


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_fallback_leaves_out_a_sample_with_a_weight_that_means_nothing(weight):
    y, t = data()
    given = torch.tensor([1.0, 2.0, weight, 1.0, 1.0])
    leaf = y.clone().requires_grad_()
    criterion = NewtonLoss(half_square, Hessian(damping=0.5), on_failure="fallback")
    with pytest.warns(NumericalWarning, match=r"of the samples 2 is negative or not finite, and counts as 0"):
        criterion(leaf, t, weight=given).backward()
    assert criterion.stats["invalid_weights"] == 1
    zero = y.clone().requires_grad_()
    sound = NewtonLoss(half_square, Hessian(damping=0.5), on_failure="fallback")
    sound(zero, t, weight=given.nan_to_num(0.0, 0.0).clamp(min=0)).backward()
    assert torch.equal(leaf.grad, zero.grad)
    assert sound.stats["invalid_weights"] == 0


def test_invalid_weights_are_counted_at_every_step_and_warned_of_at_the_first():
    y, t = data()
    criterion = NewtonLoss(half_square, Hessian(damping=0.5), on_failure="fallback")
    with pytest.warns(NumericalWarning, match="negative or not finite"):
        criterion(y.clone().requires_grad_(), t, weight=-torch.ones(5))
    for count in (5, 0, 2):
        weight = torch.ones(5)
        weight[:count] = -1.0
        criterion(y.clone().requires_grad_(), t, weight=weight)
        assert criterion.stats["invalid_weights"] == count
    criterion(y.clone().requires_grad_(), t)
    assert "invalid_weights" not in criterion.stats


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_value_without_gradients_and_a_single_step_warn_of_invalid_weights(reduction):
    y, t = data()
    weight = torch.tensor([1.0, -2.0, 1.0, 1.0, 1.0])
    criterion = NewtonLoss(half_square, Hessian(), on_failure="fallback", reduction=reduction)
    with torch.no_grad(), pytest.warns(NumericalWarning, match="of the samples 1 is negative or not finite"):
        criterion(y, t, weight=weight)
    with pytest.warns(NumericalWarning, match="of the samples 1 is negative or not finite"):
        step = newton_step(half_square, y, t, Hessian(), weight=weight, on_failure="fallback")
    assert step.stats["invalid_weights"] == 1
