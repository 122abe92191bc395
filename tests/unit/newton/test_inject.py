"""The Fisher step injected behind a network, against the loss module and the paper's formula."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from nlcore import EmpiricalFisher, InjectFisher, NewtonLoss, Relative, inject_fisher
from nlcore.errors import ConfigError, DtypeError, ShapeError

from .losses import Wavy, data, half_square

DAMPINGS = [1e-3, 0.5, 100.0, Relative(0.1), Relative(1.0)]


def reduced(loss, reduction):
    return loss.mean() if reduction == "mean" else loss.sum()


def injected(prediction, target, damping, *, reduction="mean", scale=1.0, layer=inject_fisher, **options):
    """Return the gradient that reaches the prediction."""
    y = prediction.detach().clone().requires_grad_()
    (scale * reduced(Wavy()(layer(y, damping, reduction=reduction, **options), target), reduction)).backward()
    return y.grad


def by_loss(prediction, target, damping, reduction="mean", **options):
    y = prediction.detach().clone().requires_grad_()
    NewtonLoss(Wavy(), EmpiricalFisher(damping=damping, **options), reduction=reduction)(y, target).backward()
    return y.grad


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("damping", DAMPINGS, ids=str)
def test_it_equals_the_loss_module(damping, reduction, count):
    prediction, target = data(count)
    found = injected(prediction, target, damping, reduction=reduction)
    torch.testing.assert_close(found, by_loss(prediction, target, damping, reduction), rtol=1e-12, atol=0)


@pytest.mark.parametrize("max_step", [0.1, 10.0, None])
def test_the_cap_is_that_of_the_curvature(max_step):
    prediction, target = data()
    found = injected(prediction, target, Relative(0.1), max_step=max_step)
    expected = by_loss(prediction, target, Relative(0.1), max_step=max_step)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    free = by_loss(prediction, target, Relative(0.1), max_step=None)
    assert torch.equal(expected, free) == (max_step != 0.1)


@pytest.mark.parametrize("count", [3, 7])
@pytest.mark.parametrize("damping", [1e-3, 0.5, 100.0])
def test_algorithm_2_of_the_paper(damping, count):
    prediction, target = data(count)
    y = prediction.clone().requires_grad_()
    Wavy()(y, target).mean().backward()
    g = y.grad.numpy()
    expected = np.linalg.solve(g.T @ g * count + damping * np.eye(4), g.T).T
    torch.testing.assert_close(injected(prediction, target, damping), torch.from_numpy(expected), rtol=1e-12, atol=0)


def test_the_forward_pass_is_the_identity():
    prediction, _ = data()
    assert torch.equal(inject_fisher(prediction), prediction)
    y = prediction.clone().requires_grad_()
    out = inject_fisher(y)
    assert torch.equal(out, prediction)
    assert out.requires_grad
    assert not inject_fisher(prediction).requires_grad


@pytest.mark.parametrize("scale", [2.0**16, 2.0**-10, 3.7, 1e-6])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("damping", [0.5, Relative(1.0)], ids=str)
def test_a_scaled_loss_when_told(damping, reduction, scale):
    prediction, target = data()
    plain = injected(prediction, target, damping, reduction=reduction)
    found = injected(prediction, target, damping, reduction=reduction, scale=scale, loss_scale=scale)
    torch.testing.assert_close(found, scale * plain, rtol=1e-12, atol=0)


def test_a_scaled_loss_when_not_told_sees_another_fisher_matrix():
    prediction, target = data()
    plain = injected(prediction, target, 0.5)
    found = injected(prediction, target, 0.5, scale=1000.0)
    assert (found / 1000.0 - plain).abs().amax() > 0.1 * plain.abs().amax()


def test_under_a_gradient_scaler():
    prediction, target = data(dtype=torch.float32)
    model = torch.nn.Linear(4, 4)
    twin = copy.deepcopy(model)
    optimizer, plain_optimizer = (torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    loss = Wavy()(inject_fisher(model(prediction), 0.5, loss_scale=scaler.get_scale()), target).mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    Wavy()(inject_fisher(twin(prediction), 0.5), target).mean().backward()
    plain_optimizer.step()
    torch.testing.assert_close(model.weight, twin.weight, rtol=1e-6, atol=1e-7)


def test_as_a_layer():
    prediction, target = data()
    layer = InjectFisher(0.5, reduction="sum", loss_scale=2.0)
    expected = injected(prediction, target, 0.5, reduction="sum", scale=2.0, loss_scale=2.0)
    for made in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        y = prediction.clone().requires_grad_()
        model = torch.nn.Sequential(torch.nn.Identity(), made)
        (2.0 * Wavy()(model(y), target).sum()).backward()
        assert torch.equal(y.grad, expected)
    layer.loss_scale = 4.0
    y = prediction.clone().requires_grad_()
    (4.0 * Wavy()(layer(y), target).sum()).backward()
    torch.testing.assert_close(y.grad, 2 * expected, rtol=1e-12, atol=0)
    assert repr(layer) == "InjectFisher(damping=0.5, reduction='sum', loss_scale=4.0)"
    assert layer.state_dict() == {}


class BlackBox(torch.autograd.Function):
    """A scalar of the whole batch whose gradient nobody can look into."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return torch.tensor(float(y.detach().numpy().prod(axis=1).sum()), dtype=y.dtype)

    @staticmethod
    def backward(ctx, incoming):
        (y,) = ctx.saved_tensors
        return incoming * (y + y.sum())


@pytest.mark.parametrize("scalar", [BlackBox.apply, lambda y: y.logsumexp((0, 1)), lambda y: (y @ y.mT).tanh().sum()])
def test_any_scalar_loss(scalar):
    prediction, _ = data()
    y = prediction.clone().requires_grad_()
    scalar(y).backward()
    g = y.grad.numpy()
    expected = np.linalg.solve(g.T @ g / 5 + 0.3 * np.eye(4), g.T).T
    y = prediction.clone().requires_grad_()
    scalar(inject_fisher(y, 0.3, reduction="sum")).backward()
    torch.testing.assert_close(y.grad, torch.from_numpy(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("event", [(), (1,), (2, 3)], ids=str)
def test_events_of_any_number_of_dimensions(event):
    prediction, target = data(5, event=event)
    y = prediction.clone().requires_grad_()
    half_square(inject_fisher(y.reshape(5, -1), 0.5), target.reshape(5, -1)).mean().backward()
    flat = y.grad
    y = prediction.clone().requires_grad_()
    half_square(inject_fisher(y, 0.5).reshape(5, -1), target.reshape(5, -1)).mean().backward()
    assert y.grad.shape == prediction.shape
    assert torch.equal(y.grad, flat)


def test_an_empty_batch():
    y = torch.zeros(0, 4, requires_grad=True)
    inject_fisher(y, 0.5).sum().backward()
    assert y.grad.shape == (0, 4)


def test_a_view_of_another_layout():
    prediction, target = data()
    y = prediction.mT.contiguous().requires_grad_()
    Wavy()(inject_fisher(y.mT, 0.5), target).mean().backward()
    assert torch.equal(y.grad.mT, injected(prediction, target, 0.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    prediction, target = data(dtype=dtype)
    y = prediction.clone().requires_grad_()
    Wavy()(inject_fisher(y, 0.5), target).sum().backward()
    assert y.grad.dtype == dtype
    exact = prediction.double().requires_grad_()
    Wavy()(inject_fisher(exact, 0.5), target.double()).sum().backward()
    assert (y.grad.double() - exact.grad).norm() < 0.1 * exact.grad.norm()


@pytest.mark.parametrize("size", [0.0, 1e-25, 1e-38, 1e25, 1e30])
def test_gradients_of_any_size_give_finite_steps(size):
    y = torch.ones(3, 2, requires_grad=True)
    (inject_fisher(y) * torch.tensor([[1.0, -2.0]]) * size).sum().backward()
    assert torch.isfinite(y.grad).all()
    assert (y.grad * torch.tensor([[1.0, -2.0]]) >= 0).all()


def test_a_gradient_that_is_not_finite_passes_and_leaves_the_others_alone():
    prediction, target = data()
    factor = torch.ones(5, 1, dtype=torch.float64)
    factor[2] = torch.nan
    y = prediction.clone().requires_grad_()
    (Wavy()(inject_fisher(y, 0.5, reduction="sum") * factor, target)).sum().backward()
    assert y.grad[2].isnan().all(), "a gradient scaler must see it"
    rest = [0, 1, 3, 4]
    y_rest = prediction[rest].clone().requires_grad_()
    Wavy()(inject_fisher(y_rest, 0.5, reduction="sum"), target[rest]).sum().backward()
    torch.testing.assert_close(y.grad[rest], y_rest.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": -1.0}, "damping=-1.0"),
        ({"damping": "0.1"}, "damping='0.1'"),
        ({"damping": float("nan")}, "damping=nan"),
        ({"reduction": "men"}, "reduction='men'"),
        ({"reduction": "none"}, "reduction='none'"),
        ({"loss_scale": 0.0}, "loss_scale=0.0"),
        ({"loss_scale": -2.0}, "loss_scale=-2.0"),
        ({"loss_scale": float("nan")}, "loss_scale=nan"),
        ({"max_step": 0.0}, "max_step=0.0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        inject_fisher(torch.zeros(2, 3), **options)


@pytest.mark.parametrize("options", [{"damping": -1.0}, {"reduction": "men"}, {"loss_scale": 0.0}], ids=str)
def test_a_layer_refuses_wrong_options_when_it_is_made(options):
    with pytest.raises(ConfigError):
        InjectFisher(**options)


@pytest.mark.parametrize("loss_scale", ["2", None, float("inf")], ids=str)
def test_a_loss_scale_that_is_no_finite_number(loss_scale):
    with pytest.raises(ConfigError, match="loss_scale"):
        inject_fisher(torch.zeros(2, 3), loss_scale=loss_scale)


def test_wrong_predictions():
    with pytest.raises(DtypeError, match=r"torch\.int64"):
        inject_fisher(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(DtypeError, match="list"):
        inject_fisher([1.0])
    with pytest.raises(ShapeError, match=r"\[\]"):
        inject_fisher(torch.zeros(()))


def test_gradients_of_a_scaled_loss_in_half_precision_do_not_vanish():
    prediction = torch.zeros(2, 3, dtype=torch.float16, requires_grad=True)
    incoming = torch.full((2, 3), 1e-4, dtype=torch.float16)
    inject_fisher(prediction, 1.0, reduction="sum", loss_scale=65536.0).backward(incoming)
    torch.testing.assert_close(prediction.grad, incoming)
