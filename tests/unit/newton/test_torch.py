"""Compilation without a graph break, and no waiting for the device."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, inject_fisher
from nlcore.builtin.losses import CrossEntropy, SquaredError

from .losses import SPLIT, Wavy, data

WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "item", "equal", "masked_select", "unique", "_unique2"}
INDEXING = {"index", "index_put", "index_put_"}


class NoReading(TorchFunctionMode):
    """Refuses the methods that read memory past the dispatcher."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu):
            raise AssertionError(f"{func.__name__} waits for the device")
        return func(*args, **(kwargs or {}))


class NoWaitingOperation(TorchDispatchMode):
    """Refuses every operation whose result the host must wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        by_mask = name in INDEXING and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITING or by_mask:
            raise AssertionError(f"{func.name()} waits for the device")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_waiting():
    """Refuse all of these."""
    with NoReading(), NoWaitingOperation():
        yield


CASES = {
    "fisher": (Wavy(), EmpiricalFisher()),
    "fisher-kernel": (Wavy(), EmpiricalFisher(damping=0.5, solver="kernel")),
    "definition-1": (Wavy(), Hessian(damping=20.0, psd="none")),
    "hessian-relative": (Wavy(), Hessian(damping=Relative(0.1), psd="none")),
    "hessian-per-sample": (Wavy(), Hessian(damping=Relative(0.1), psd="none", aggregate="sample")),
    "hessian-convex": (SquaredError(), Hessian(damping=Relative(0.1))),
    "gauss-newton": (SPLIT, GaussNewton(damping=Relative(0.1))),
    "gauss-newton-per-sample": (SPLIT, GaussNewton(damping=Relative(0.1), aggregate="sample")),
}
EACH = pytest.mark.parametrize(("loss", "curvature"), [pytest.param(*c, id=k) for k, c in CASES.items()])


def inputs(loss, count=5):
    prediction, target = data(count, dtype=torch.float32)
    if loss is SPLIT:
        target = data(count, 7, dtype=torch.float32, seed=1)[0]
    return prediction, target


def gradient(criterion, prediction, target, **options):
    y = prediction.clone().requires_grad_()
    loss = criterion(y, target, **options)
    loss.backward()
    return y.grad, loss.detach()


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
@EACH
def test_compiles_without_a_graph_break(loss, curvature):
    torch._dynamo.reset()
    criterion = NewtonLoss(loss, curvature, on_failure="fallback", reduction="sum")
    prediction, target = inputs(loss)
    expected = gradient(criterion, prediction, target)
    compiled = torch.compile(criterion, fullgraph=True, backend="eager")
    for _ in range(2):
        found = gradient(compiled, prediction, target)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=0)


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
def test_a_whole_training_step_compiles():
    torch._dynamo.reset()
    model = torch.nn.Linear(4, 4)
    criterion = NewtonLoss(CrossEntropy(), Hessian(damping=0.5), on_failure="fallback")
    x, target = data(dtype=torch.float32)[0], torch.tensor([0, 1, 2, 3, 0])

    def loss(x, target, weight, mask):
        return criterion(model(x), target, weight=weight, mask=mask)

    options = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0]), torch.rand(5, 4) < 0.2
    options[1][torch.arange(5), target] = False  # the true class is among those that a sample has
    loss(x, target, *options).backward()
    expected = model.weight.grad.clone()
    model.zero_grad()
    torch.compile(loss, fullgraph=True, backend="eager")(x, target, *options).backward()
    torch.testing.assert_close(model.weight.grad, expected, rtol=1e-5, atol=1e-7)


def test_the_guard_catches_waiting():
    tensor = torch.ones(3)
    for wait in (
        tensor.sum().item,
        lambda: bool(tensor.any()),
        tensor.tolist,
        tensor.nonzero,
        lambda: tensor[tensor > 0],
    ):
        with no_waiting(), pytest.raises(AssertionError, match="waits for the device"):
            wait()
    with no_waiting(), pytest.raises(AssertionError, match="waits for the device"):
        gradient(NewtonLoss(Wavy(), EmpiricalFisher(), on_failure="raise"), *inputs(Wavy()))


@EACH
def test_fallback_never_waits_for_the_device(loss, curvature):
    criterion = NewtonLoss(loss, curvature, on_failure="fallback")
    prediction, target = inputs(loss)
    bad = prediction.clone()
    bad[1] = float("nan")
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:2, 3] = True
    gradient(criterion, prediction, target, mask=mask)  # the checks of the first use wait
    with no_waiting():
        gradient(criterion, prediction, target)
        gradient(criterion, bad, target, weight=torch.ones(5), mask=mask)
    assert criterion.stats["nonfinite"] in (0, 1)


@pytest.mark.parametrize("psd", ["clip", "abs"])
def test_repairs_wait_for_nothing_but_the_decomposition(psd):
    criterion = NewtonLoss(Wavy(), Hessian(damping=0.5, psd=psd), on_failure="fallback")
    gradient(criterion, *inputs(Wavy()))  # the checks of the first use wait
    with no_waiting():
        gradient(criterion, *inputs(Wavy()))


def test_the_injected_step_never_waits():
    y = inputs(Wavy())[0].requires_grad_()
    with no_waiting():
        inject_fisher(y).square().sum().backward()
