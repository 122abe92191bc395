"""Half precision, autocast, gradient scalers, accumulation, and a training that is killed and goes on."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time

import pytest
import torch

from nlcore import (
    Bounded,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    InjectFisher,
    NewtonLoss,
    Relative,
    Traits,
    compose,
    newton_step,
)

from . import checkpointed


class Wavy:
    """Coupled, with Hessians of mixed signs."""

    traits = Traits()

    def __call__(self, prediction, target, *, generator=None):
        y = prediction
        return (target * y.sin()).sum(1) + 0.3 * (y[:, :-1].square() * y[:, 1:]).sum(1) + 0.2 * y.sum(1).square()

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 4, generator=generator, dtype=dtype, device=device))


CUMULATED = compose(lambda y: y.cumsum(1))
CASES = {
    "fisher": (CUMULATED, EmpiricalFisher()),
    "fisher-kernel": (CUMULATED, EmpiricalFisher(damping=0.1, solver="kernel")),
    "gauss-newton": (CUMULATED, GaussNewton()),
    "gauss-newton-bounded": (CUMULATED, GaussNewton(damping=Bounded(), normalize=True)),
    "hessian": (Wavy(), Hessian()),
    "hessian-sample": (Wavy(), Hessian(aggregate="sample")),
}
EACH = pytest.mark.parametrize(("loss", "curvature"), [pytest.param(*c, id=k) for k, c in CASES.items()])
LEARNS = pytest.mark.parametrize("name", [k for k, (loss, _) in CASES.items() if loss is CUMULATED])


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).to(dtype)


def batch(step=0, count=12):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(count, 6, generator=generator)
    return x, torch.tanh(x[:, :4]).cumsum(1)


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def mean_loss(loss, model, dtype=torch.float32):
    with torch.no_grad():
        x, t = batch(1000, 200)
        return loss(model(x.to(dtype)).float(), t).mean().item()


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_network_receives_the_rounded_step(loss, curvature, dtype):
    model = network(dtype)
    x, t = batch()
    y = model(x.to(dtype))
    y.retain_grad()
    value = NewtonLoss(loss, curvature, reduction="sum")(y, t)
    value.backward()
    step = newton_step(loss, y.detach().float(), t, curvature)
    assert value.dtype == torch.float32
    assert torch.equal(y.grad, step.direction.to(dtype))
    assert all(p.grad.dtype == dtype and torch.isfinite(p.grad).all() for p in model.parameters())


@EACH
def test_autocast_leaves_the_step_in_full_precision(loss, curvature):
    model = network()
    x, t = batch()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
        y.retain_grad()
        assert y.dtype == torch.bfloat16
        NewtonLoss(loss, curvature, reduction="sum")(y, t).backward()
    direction = newton_step(loss, y.detach().float(), t, curvature).direction
    assert torch.equal(y.grad, direction.to(torch.bfloat16))


@LEARNS
def test_training_under_autocast_with_a_scaler(name):
    loss, curvature = CASES[name]
    model, criterion = network(), NewtonLoss(loss, curvature)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=20)
    before = mean_loss(loss, model)
    for step in range(80):
        optimizer.zero_grad()
        x, t = batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            value = criterion(model(x), t)
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0**14  # it grew under way: no step overflowed
    assert mean_loss(loss, model) < 0.4 * before


@EACH
def test_a_scaler_changes_no_bit(loss, curvature):
    """Its factors are powers of two, and the step is linear in what comes in."""
    models = [network(), network()]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2)
    optimizers = [torch.optim.SGD(model.parameters(), 0.01) for model in models]
    criteria = [NewtonLoss(loss, curvature) for _ in models]
    for step in range(7):
        x, t = batch(step)
        for model, optimizer, criterion in zip(models, optimizers, criteria, strict=True):
            optimizer.zero_grad()
            value = criterion(model(x), t)
            if model is models[0]:
                scaler.scale(value).backward()
                scaler.step(optimizer)
                scaler.update()
            else:
                value.backward()
                optimizer.step()
    assert scaler.get_scale() > 2.0**16
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_float16_network_overflows_and_recovers():
    """GradScaler refuses float16 parameters, so the scale is kept by hand, as it would."""
    model = network(torch.float16)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    criterion = NewtonLoss(CUMULATED, GaussNewton())
    before, scale, skipped = mean_loss(CUMULATED, model, torch.float16), 2.0**24, 0
    for step in range(120):
        optimizer.zero_grad()
        x, t = batch(step)
        (scale * criterion(model(x.half()), t)).backward()
        if not torch.isfinite(flat_gradient(model)).all():
            scale, skipped = scale / 2, skipped + 1
            continue
        for parameter in model.parameters():
            parameter.grad /= scale
        optimizer.step()
    assert 0 < skipped < 24
    assert mean_loss(CUMULATED, model, torch.float16) < 0.5 * before


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_in_the_incoming_scalar(loss, curvature, dtype):
    x, t = batch()
    found = {}
    for factor in (1.0, 0.25, -8.0, 0.0):
        model = network(dtype)
        (factor * NewtonLoss(loss, curvature)(model(x.to(dtype)), t)).backward()
        found[factor] = flat_gradient(model)
    for factor, gradient in found.items():
        assert torch.equal(gradient, factor * found[1.0])


@EACH
def test_gradient_accumulation_under_autocast_with_a_scaler(loss, curvature):
    """k micro-batches add up k steps, each with the curvature of its own micro-batch."""
    parts = [batch(step) for step in range(4)]
    model, scaler = network(), torch.amp.GradScaler("cpu", init_scale=2.0**12)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    criterion = NewtonLoss(loss, curvature)
    expected = 0
    for x, t in parts:
        alone = network()
        with torch.autocast("cpu", torch.bfloat16):
            value = NewtonLoss(loss, curvature)(alone(x), t)
        value.backward()
        expected = expected + flat_gradient(alone) / 4
    for x, t in parts:
        if isinstance(getattr(curvature, "damping", None), Bounded):
            criterion = NewtonLoss(loss, curvature)  # one that remembers would carry the damping on
        with torch.autocast("cpu", torch.bfloat16):
            value = criterion(model(x), t)
        scaler.scale(value / len(parts)).backward()
    scaler.unscale_(optimizer)
    torch.testing.assert_close(flat_gradient(model), expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("damping", [0.05, Relative(0.5)], ids=str)
def test_the_injected_step_told_of_a_scale_that_changes(damping):
    """Scaler, two micro-batches and the loss's weight together, against none of them."""
    models = [network(), network()]
    layer, plain = InjectFisher(damping), InjectFisher(damping)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
    optimizers = [torch.optim.SGD(model.parameters(), 0.05) for model in models]
    for step in range(8):
        micro = [batch(2 * step), batch(2 * step + 1)]
        layer.loss_scale = 0.25 / len(micro) * scaler.get_scale()
        for optimizer in optimizers:
            optimizer.zero_grad()
        for x, t in micro:
            value = CUMULATED(layer(models[0](x)), t).mean()
            scaler.scale(0.25 * value / len(micro)).backward()
            (CUMULATED(plain(models[1](x)), t).mean()).backward()
        scaler.step(optimizers[0])
        scaler.update()
        for parameter in models[1].parameters():
            parameter.grad *= 0.125
        optimizers[1].step()
    assert scaler.get_scale() == 2.0**18
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_injected_step_in_half_precision():
    model = network(torch.bfloat16)
    x, t = batch()
    y = model(x.bfloat16())
    y.retain_grad()
    CUMULATED(InjectFisher(0.5)(y).float(), t).mean().backward()
    step = newton_step(CUMULATED, y.detach().float(), t, EmpiricalFisher(damping=0.5))
    torch.testing.assert_close(y.grad.float() * 12, step.direction, rtol=0.03, atol=0.02)


def test_a_killed_training_goes_on_where_it_was_saved(tmp_path):
    path = tmp_path / "checkpoint.pt"
    running = subprocess.Popen([sys.executable, checkpointed.__file__, str(path)])
    try:
        for _ in range(6000):
            if path.exists() or running.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(0.05)  # it trains on, and what it does then is lost
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGKILL)
        code = running.wait()
    assert code == -signal.SIGKILL
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected, found = _continued(path)
        _, forgetful = _continued(path, without=("criterion",))
    finally:
        torch.set_num_threads(before)
    assert found == expected
    assert forgetful != expected
    assert all(math.isfinite(loss) for loss in expected)


def _continued(path, without=()):
    """Return the losses of an uninterrupted training after the save, and of the one that was loaded."""
    whole, loaded = checkpointed.Training(), checkpointed.Training()
    whole.run(0, checkpointed.SAVED_AFTER)
    loaded.load(path, without)
    return [training.run(checkpointed.SAVED_AFTER, checkpointed.STEPS) for training in (whole, loaded)]
