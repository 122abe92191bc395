"""A loss that cannot train as it is says so on first use, by name; one that is as it should be passes in silence.

A gradient of exact zeros while the loss moves, statistics of the batch, random numbers of the loss's own, and changes
of the prediction in place. What counts as told is an error of nlcore or a `NumericalWarning`.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Traits, compose, diagnose, newton_step
from nlcore.errors import NlcoreError, NumericalWarning

COUNT, SIZE = 24, 5
ONCE = Traits(transforms="autograd")

NAMED = {
    "zero": r"(?i)gradient|detach",
    "batch": r"(?i)batch|other samples|independent",
    "random": r"(?i)random|dropout|determinis|stochastic|same value|twice",
    "in place": r"(?i)in[- ]place|changes its input|changed|modif",
}
"""What a message has to speak of."""


def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(90)
    y, t = torch.randn(2, COUNT, SIZE, generator=generator, dtype=torch.float64)
    return y.to(dtype), t.to(dtype)


@dataclass(frozen=True)
class Faulty:
    """A simulator with a fault.

    Attributes:
        run: `[N, m] -> [N, *features]`.
        fault: Which.
        traits: For `compose`.
    """

    run: Any
    fault: str
    traits: Traits | None = None


def by_numpy(z):
    return torch.from_numpy(z.detach().numpy().cumsum(-1))


def without_gradient(z):
    with torch.no_grad():
        return z.cumsum(-1)


def through_a_list(z):
    return torch.tensor(z.tolist(), dtype=z.dtype).sin()


def doubled_in_place(z):
    return z.mul_(2).cumsum(-1)


def written_in_place(z):
    z[:, 0] = 0.0
    return z.cumsum(-1)


def normalised(z):
    return F.batch_norm(z, None, None, training=True)


def dropping(z):
    return F.dropout(z, 0.5, training=True).cumsum(-1)


with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    LAYER = nn.TransformerEncoderLayer(SIZE, 1, 8, dropout=0.3, batch_first=True).double().requires_grad_(False).train()
NORM = nn.BatchNorm1d(SIZE).double().requires_grad_(False).train()

FAULTY = {
    "detach": Faulty(lambda z: z.detach().cumsum(-1), "zero"),
    "data": Faulty(lambda z: z.data.sin(), "zero"),
    "numpy": Faulty(by_numpy, "zero", ONCE),
    "no_grad": Faulty(without_gradient, "zero"),
    "a list": Faulty(through_a_list, "zero", ONCE),
    "detach at the end": Faulty(lambda z: (z @ torch.ones(SIZE, 3, dtype=z.dtype)).sin().detach(), "zero"),
    "batch norm": Faulty(normalised, "batch"),
    "BatchNorm1d, training": Faulty(NORM, "batch"),
    "mean over the batch": Faulty(lambda z: z - z.mean(0), "batch"),
    "standard deviation of the batch": Faulty(lambda z: z / z.std(0), "batch"),
    "softmax over the batch": Faulty(lambda z: z.softmax(0), "batch"),
    "cumsum over the batch": Faulty(lambda z: z.cumsum(0), "batch"),
    "dropout": Faulty(dropping, "random"),
    "transformer layer, training": Faulty(lambda z: LAYER(z.unsqueeze(1)).squeeze(1), "random"),
    "noise": Faulty(lambda z: z.sin() + 0.1 * torch.randn_like(z), "random"),
    "mul_": Faulty(doubled_in_place, "in place"),
    "written": Faulty(written_in_place, "in place"),
    "relu, in place": Faulty(lambda z: F.relu(z, inplace=True).cumsum(-1), "in place"),
}


def told(call):
    """Return what nlcore says about a call, an empty text for nothing."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            call()
        except NlcoreError as error:
            return f"{type(error).__name__}: {error}"
    return "; ".join(str(one.message) for one in seen if issubclass(one.category, NumericalWarning))


def first_use(loss, curvature, y, t):
    """Return a call that trains for one step with a loss that was not used before."""
    return lambda: NewtonLoss(loss, curvature)(y.clone().requires_grad_(), t).backward()


def features_of(faulty, y):
    with torch.no_grad():
        return torch.zeros_like(faulty.run(y.clone()))


def plain(run):
    """Return a callable loss; its name, which messages hold, gives nothing away."""

    def loss(p, q):
        return (run(p) - q).square().flatten(1).sum(1)

    return loss


@pytest.mark.parametrize("how", ["default", "gauss-newton", "step"])
@pytest.mark.parametrize("name", FAULTY)
def test_a_simulator_with_a_fault_is_told_by_name_on_first_use(name, how):
    torch.manual_seed(0)  # a dropout may by chance change nothing
    faulty = FAULTY[name]
    y, _ = data()
    target = features_of(faulty, y)
    loss = compose(faulty.run, traits=faulty.traits)
    if how == "step":
        text = told(lambda: newton_step(loss, y.clone(), target, GaussNewton(damping=0.1)))
    else:
        text = told(first_use(loss, None if how == "default" else GaussNewton(damping=0.1), y, target))
    assert text
    assert re.search(NAMED[faulty.fault], text), text


@pytest.mark.parametrize("name", [n for n, f in FAULTY.items() if f.fault == "zero"])
def test_a_callable_whose_gradient_is_cut_is_told(name):
    faulty = FAULTY[name]
    y, _ = data()
    target = features_of(faulty, y) + 1.0
    text = told(lambda: newton_step(plain(faulty.run), y, target, EmpiricalFisher(), backend="autograd"))
    assert re.search(NAMED["zero"], text), text


@pytest.mark.parametrize("name", [n for n, f in FAULTY.items() if f.fault == "zero"])
def test_a_diagnosis_of_a_cut_gradient_says_what_is_wrong(name):
    faulty = FAULTY[name]
    y, _ = data()
    target = features_of(faulty, y) + 1.0
    try:
        found = diagnose(compose(faulty.run, traits=faulty.traits), y, target)
    except NlcoreError as error:
        text = str(error)
    else:
        text = f"{found.verdict}: {found.reason}"
    assert "nothing to gain" not in text
    assert not re.search(r"\bnan\b", text)
    assert re.search(NAMED["zero"], text), text


@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian(damping=20.0)], ids=["fisher", "hessian"])
def test_a_callable_with_batch_statistics_is_told(curvature):
    text = told(first_use(plain(lambda z: z - z.mean(0)), curvature, *data()))
    assert re.search(NAMED["batch"], text), text


def test_a_callable_with_dropout_is_told():
    text = told(first_use(plain(dropping), EmpiricalFisher(), *data()))
    assert re.search(NAMED["random"], text), text


@pytest.mark.parametrize("name", [n for n, f in FAULTY.items() if f.fault == "in place"])
def test_a_change_in_place_never_reaches_the_users_prediction(name):
    faulty = FAULTY[name]
    y, _ = data()
    kept, target = y.clone(), features_of(faulty, y)
    told(lambda: newton_step(compose(faulty.run), y, target, GaussNewton(damping=0.1)))
    assert torch.equal(y, kept)


def hinge(p, q):
    """Return a margin loss that is zero, and stays so, for a sample on the right side."""
    return (q - p).clamp(min=0).square().sum(1)


def seeded(z):
    """Return a simulator with the same noise every time, drawn sample by sample."""
    return z.sin() + 0.1 * torch.randn(SIZE, generator=torch.Generator().manual_seed(1), dtype=z.dtype)


def steady_norm(z):
    return F.batch_norm(z, torch.zeros(SIZE, dtype=z.dtype), torch.ones(SIZE, dtype=z.dtype), training=False)


def changed_copy(z):
    out = z.clone()
    out.mul_(2)
    out[:, 0] = 0.0
    return out.cumsum(-1)


def cumulative(z):
    return z.cumsum(-1)


SOUND = {
    "at its optimum": (compose(cumulative), lambda y, _: y.cumsum(-1), None),
    "at its optimum, through a network": (compose(torch.tanh), lambda y, _: y.tanh(), GaussNewton(damping=0.1)),
    "most samples at their optimum": (compose(cumulative), lambda y, t: torch.cat([y[:-1].cumsum(-1), t[-1:]]), None),
    "partial stop-gradient": (compose(lambda z: z * z.detach().sigmoid()), lambda _, t: t, None),
    "scaled by its own norm": (compose(lambda z: z / z.detach().norm(dim=1, keepdim=True)), lambda _, t: t, None),
    "half of it detached": (compose(lambda z: torch.cat([z[:, :3], z[:, 3:].detach()], 1)), lambda _, t: t, None),
    "a constant region": (hinge, lambda y, _: y - 5.0, EmpiricalFisher()),
    "a constant region, half the batch": (
        hinge,
        lambda y, _: y + torch.where(torch.arange(len(y)) < 12, -5.0, 0.5).unsqueeze(1),
        EmpiricalFisher(),
    ),
    "the same noise every time": (compose(seeded), lambda _, t: t, None),
    "a copy changed in place": (compose(changed_copy), lambda _, t: t, None),
    "batch norm, evaluation": (compose(steady_norm), lambda _, t: t, None),
    "dropout of nothing": (compose(lambda z: F.dropout(z, 0.0, training=True)), lambda _, t: t, None),
    "dropout, evaluation": (compose(lambda z: F.dropout(z, 0.5, training=False)), lambda _, t: t, None),
    "softmax": (compose(lambda z: z.softmax(-1)), lambda _, t: t.softmax(-1), None),
    "statistics of a sample": (compose(lambda z: z - z.mean(1, keepdim=True)), lambda _, t: t, None),
    "saturated": (compose(lambda z: (60 * z).tanh()), lambda y, _: y.sign(), None),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_loss_passes_in_silence(name, dtype):
    loss, target_of, curvature = SOUND[name]
    y, t = data(dtype)
    target = target_of(y, t)
    criterion = NewtonLoss(loss, curvature)
    for _ in range(3):
        leaf = y.clone().requires_grad_()
        value = criterion(leaf, target)
        value.backward()
        assert torch.isfinite(leaf.grad).all()
        assert value >= 0
        plain = loss(y, target).mean()
        torch.testing.assert_close(value.detach(), plain)


@pytest.mark.filterwarnings("error")
def test_one_sample_alone_passes_in_silence():
    y, t = data()
    for loss in (compose(cumulative), compose(lambda z: z.sin() + z.mean(1, keepdim=True))):
        leaf = y[:1].clone().requires_grad_()
        NewtonLoss(loss)(leaf, t[:1]).backward()
        assert leaf.grad.abs().max() > 0


def test_looking_costs_nothing_after_the_first_use():
    calls = []

    def inner(z):
        calls.append(len(z))
        return z.cumsum(-1)

    y, t = data()
    criterion = NewtonLoss(compose(inner), GaussNewton(damping=0.1))
    counts = []
    for _ in range(6):
        calls.clear()
        criterion(y.clone().requires_grad_(), t).backward()
        counts.append(sum(calls))
    assert counts[1:] == [COUNT] * 5
    assert counts[0] <= 6 * COUNT


def test_the_helpers_simulators_have_the_fault_they_are_listed_for():
    y, _ = data()
    for name, faulty in FAULTY.items():
        torch.manual_seed(0)
        once = faulty.run(y.clone())
        if faulty.fault == "zero":
            assert not faulty.run(y.clone().requires_grad_()).requires_grad, name
            assert not torch.allclose(faulty.run(y + 0.1), once), name
        elif faulty.fault == "batch":
            assert not torch.allclose(faulty.run(y[9:].clone()), once[9:]), name
        elif faulty.fault == "random":
            assert not torch.allclose(faulty.run(y.clone()), once), name
        else:
            changed = y.clone()
            faulty.run(changed)
            assert not torch.equal(changed, y), name


@pytest.mark.parametrize(("prediction", "target"), [((12, 1), (12,)), ((12,), (12, 1))])
def test_prediction_and_target_that_are_broadcast_against_each_other_are_noticed(prediction, target):
    """[N, 1] − [N] is [N, N]: every sample is compared with the targets of all."""

    def loss(y, t):
        return (y - t).square().reshape(12, -1).sum(-1) / 2

    given = torch.Generator().manual_seed(0)
    y = torch.randn(prediction, generator=given, dtype=torch.float64, requires_grad=True)
    t = torch.randn(target, generator=given, dtype=torch.float64)
    with pytest.warns(NumericalWarning, match=r"targets of others.*broadcast"):
        NewtonLoss(loss)(y, t)


def test_a_mean_over_the_batch_of_equal_shapes_is_not_blamed_on_broadcasting():
    def loss(y, t):
        return (y - t).square().sum(1) + (y - t).square().mean()

    given = torch.Generator().manual_seed(0)
    y, t = torch.randn(2, 12, 3, generator=given, dtype=torch.float64)
    with pytest.warns(NumericalWarning, match="targets of others") as caught:
        NewtonLoss(loss)(y.requires_grad_(), t)
    assert not any("broadcast" in str(one.message) for one in caught)


def test_one_feature_for_each_sample_needs_no_further_dimension():
    loss = compose(lambda y: y.sum(1))
    y, t = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, dtype=torch.float64)
    step = newton_step(loss, y, t, GaussNewton(damping=0.5))
    ones = torch.ones(3, 3, dtype=torch.float64)
    errors = (y.sum(1) - t).detach()
    assert torch.allclose(step.value, errors.square() / 2)
    expected = torch.linalg.solve(ones + 0.5 * torch.eye(3), errors * torch.ones(3, 1, dtype=torch.float64))
    assert torch.allclose(step.direction, expected.mT)


NOT_CONVEX = {
    "cauchy": lambda f, t: (5 * (f - t)).square().log1p().sum(-1),
    "a little": lambda f, t: (f - t).square()[:, 1:].sum(-1) - 1e-3 * f[:, 0].square(),
}
CONVEX = {
    "squares": lambda f, t: (f - t).square().sum(-1),
    "huber": lambda f, t: F.huber_loss(f, t, reduction="none").sum(-1),
    "softmax": lambda f, t: f.logsumexp(-1) - (f * t.softmax(-1)).sum(-1),
    "logistic": lambda f, t: F.binary_cross_entropy_with_logits(f, t.sigmoid(), reduction="none").sum(-1),
}


@pytest.mark.parametrize("name", NOT_CONVEX)
def test_an_outer_loss_that_is_not_convex_is_noticed(name):
    y, t = data()
    with pytest.warns(NumericalWarning, match=r"not convex in the features.*inner function.*EmpiricalFisher"):
        newton_step(compose(torch.sin, NOT_CONVEX[name]), y, t, GaussNewton(damping=1e4))


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_convex_outer_loss_passes_in_silence(name, dtype):
    y, t = data(dtype)
    newton_step(compose(torch.sin, CONVEX[name]), y, t, GaussNewton(damping=1.0))


def test_a_sample_that_does_not_count_may_have_any_curvature():
    y, t = data()
    weight = torch.ones(COUNT, dtype=torch.float64)
    weight[0] = 0.0
    t[0] = torch.inf

    def outer(features, target):
        bent = torch.where(target.isinf(), -features.square(), (features - target.nan_to_num(posinf=0.0)).square())
        return bent.sum(-1)

    newton_step(compose(torch.sin, outer), y, t, GaussNewton(damping=1.0), weight=weight)
