"""Compiled training steps: one graph, the gradient of the uncompiled one, compiled once; and no waiting for a device.

Both hold with `on_failure="fallback"`. Two things wait for the device all the same, and are the documented exceptions:
the eigen-decomposition (`psd="abs"` and `"clip"`, `Bounded()`, `solver="eigen"`), which waits within its one operation,
and `on_failure="raise"`, which has to know. On the CPU neither breaks a graph.
"""

from __future__ import annotations

import shutil

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative
from nlcore_sequences import PrefixSum
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork, ranks

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")

COUNT, SIZE = 12, 5
WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "bincount"}


def wavy(y, t):
    """Return a plain callable's losses, [N]."""
    return (t * y.sin()).sum(1) + 0.2 * y.sum(1).square()


def ranking(count=COUNT, size=SIZE):
    scores, values = torch.randn(2, count, size, generator=torch.Generator().manual_seed(0))
    return scores, ranks(values)


def sequences(count=COUNT, size=SIZE):
    prediction, totals = torch.randn(2, count, size, generator=torch.Generator().manual_seed(1))
    return prediction, totals


ENTRIES = NeuralSort(objective="entries")
CASES = {
    "neuralsort-fisher": (NeuralSort(), EmpiricalFisher(), ranking),
    "neuralsort-convex": (NeuralSort(), Hessian(), ranking),
    "neuralsort-gauss-newton": (NeuralSort(), GaussNewton(), ranking),
    "neuralsort-bounded": (NeuralSort(), GaussNewton(damping=Bounded(), normalize=True), ranking),
    "softsort-convex-sample": (SoftSort(), Hessian(aggregate="sample"), ranking),
    "entries-none": (ENTRIES, Hessian(damping=1.0, psd="none"), ranking),
    "entries-abs": (ENTRIES, Hessian(), ranking),
    "network-abs": (SortingNetwork(), Hessian(), ranking),
    "prefix-sum-fisher-kernel": (PrefixSum(), EmpiricalFisher(damping=Relative(0.1), solver="kernel"), sequences),
    "prefix-sum-gauss-newton": (PrefixSum(), GaussNewton(damping=Relative(0.1)), sequences),
    "prefix-sum-gauss-newton-cg": (PrefixSum(), GaussNewton(damping=5.0, solver="cg"), sequences),
    "prefix-sum-bounded": (PrefixSum(), GaussNewton(damping=Bounded(), normalize=True), sequences),
    "plain-fisher": (wavy, EmpiricalFisher(), sequences),
    "plain-none": (wavy, Hessian(damping=20.0, psd="none"), sequences),
    "plain-abs": (wavy, Hessian(psd="abs"), sequences),
    "plain-bounded": (wavy, Hessian(damping=Bounded(), normalize=True), sequences),
}
DECOMPOSED = {"neuralsort-bounded", "prefix-sum-bounded", "plain-bounded", "entries-abs", "network-abs", "plain-abs"}


def gradient(criterion, prediction, target):
    y = prediction.clone().requires_grad_()
    criterion(y, target).backward()
    return y.grad


def compiled(criterion, backend):
    torch._dynamo.reset()
    return torch.compile(criterion, fullgraph=True, backend=backend)


@pytest.mark.parametrize("name", CASES)
def test_one_graph_with_the_gradient_of_the_uncompiled_step(name):
    loss, curvature, make = CASES[name]
    criterion = NewtonLoss(loss, curvature, on_failure="fallback")
    first, second = make(), tuple(piece.flip(0) for piece in make())
    expected = [gradient(NewtonLoss(loss, curvature, on_failure="fallback"), *batch) for batch in (first, second)]
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    step = compiled(criterion, backend)
    torch.testing.assert_close(gradient(step, *first), expected[0], rtol=1e-4, atol=1e-6)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(gradient(step, *second), expected[1], rtol=1e-4, atol=1e-6)
    assert len(graphs) == 1


@pytest.mark.parametrize("name", ["neuralsort-convex", "prefix-sum-gauss-newton", "plain-fisher"])
def test_through_the_backward_tracer(name):
    loss, curvature, make = CASES[name]
    criterion = NewtonLoss(loss, curvature, on_failure="fallback")
    found = gradient(compiled(criterion, "aot_eager"), *make())
    torch.testing.assert_close(found, gradient(criterion, *make()), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the code generator needs a C++ compiler")
def test_through_the_code_generator():
    criterion = NewtonLoss(PrefixSum(), EmpiricalFisher(), on_failure="fallback")
    found = gradient(compiled(criterion, "inductor"), *sequences())
    torch.testing.assert_close(found, gradient(criterion, *sequences()), rtol=1e-4, atol=1e-6)


def test_a_batch_with_a_bad_sample_runs_through_the_same_graph():
    criterion = NewtonLoss(PrefixSum(), GaussNewton(), on_failure="fallback")
    prediction, target = sequences()
    step = compiled(criterion, "eager")
    gradient(step, prediction, target)
    bad = prediction.clone()
    bad[3, 1] = torch.nan
    with torch.compiler.set_stance("fail_on_recompile"):
        found = gradient(step, bad, target)
    torch.testing.assert_close(found, gradient(criterion, bad, target), rtol=1e-4, atol=1e-6)
    assert not found[3].any()
    assert torch.isfinite(found).all()
    assert criterion.stats["nonfinite"] == 1


def test_validation_compiles_too():
    criterion = NewtonLoss(NeuralSort(), Hessian(), on_failure="fallback")
    scores, target = ranking()
    with torch.no_grad():
        found = compiled(criterion, "eager")(scores, target)
    torch.testing.assert_close(found, NeuralSort()(scores, target).mean())


class Operations(TorchDispatchMode):
    """Notes every operation that is run, and refuses those whose result the host waits for."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        self.names.add(name)
        by_mask = name in {"index", "index_put", "index_put_"} and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        assert name not in WAITING, f"{name} waits for the device"
        assert not by_mask, "indexing by a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][2] is sequences])
def test_a_fallback_step_waits_for_nothing_but_a_decomposition(name):
    """The ranking losses look at their targets when not compiled; that check is theirs, not the engine's."""
    loss, curvature, make = CASES[name]
    criterion = NewtonLoss(loss, curvature, on_failure="fallback")
    gradient(criterion, *make())  # the checks of the first use wait
    with Operations() as seen:
        for _ in range(5):  # a bounded damping is looked up anew among them
            gradient(criterion, *make())
    decomposed = {"_linalg_eigh", "linalg_eigh"} & seen.names
    assert bool(decomposed) == (name in DECOMPOSED)
