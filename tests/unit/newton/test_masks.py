"""A mask is honoured or refused: never a value or a direction that the padding changes."""

from __future__ import annotations

import functools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import nlcore
from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, compose, newton_step
from nlcore.errors import ContractError, NumericalWarning

from . import dense, reference
from .masked_losses import CALLABLES, COMPOSED, PROTOCOL, Splitting, many_features, many_outer, rolling, split

COUNT, SIZE = 9, 5


def ragged(lengths, size):
    """Return [N, m] bool, True behind each length."""
    return torch.arange(size) >= torch.tensor(lengths).unsqueeze(1)


def data(count=COUNT, size=SIZE, seed=80):
    generator = torch.Generator().manual_seed(seed)
    y, t = torch.randn(2, count, size, generator=generator, dtype=torch.float64)
    return y, t


# Losses that take none.


def plain(p, q):
    return (p - q).square().sum(-1) / 2


class PlainModule(torch.nn.Module):
    def forward(self, p, q):
        return plain(p, q)


TAKES_NONE = {
    "callable": (plain, EmpiricalFisher()),
    "callable under a Hessian": (plain, Hessian()),
    "lambda": (lambda p, q: plain(p, q), EmpiricalFisher()),
    "partial": (functools.partial(plain), EmpiricalFisher()),
    "module": (PlainModule(), EmpiricalFisher()),
    "composed": (compose(lambda z: z.cumsum(-1)), GaussNewton()),
    "composed with its own criterion": (compose(torch.sin, lambda f, q: (f - q).pow(4).sum(-1)), GaussNewton()),
    "composed, by default": (compose(lambda z: z.cumsum(-1)), None),
}


@pytest.mark.parametrize("way", ["step", "training", "validation"])
@pytest.mark.parametrize("name", TAKES_NONE)
def test_a_loss_that_takes_no_mask_refuses_one_and_says_how_to_take_it(name, way):
    loss, curvature = TAKES_NONE[name]
    y, t = data()
    mask = ragged([3] * COUNT, SIZE)
    with pytest.raises(NumericalWarning if way == "step" else ContractError, match="mask") as caught:
        if way == "step":
            newton_step(loss, y, t, curvature, mask=mask)
        elif way == "training":
            NewtonLoss(loss, curvature)(y.requires_grad_(), t, mask=mask)
        else:
            NewtonLoss(loss, curvature)(y, t, mask=mask)
    assert "parameter" in str(caught.value) or "mask=" in str(caught.value) or "takes_mask" in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*takes no mask:nlcore.errors.NumericalWarning")
@pytest.mark.parametrize("curvature", [EmpiricalFisher(damping=0.3), Hessian(damping=20.0)], ids=["fisher", "hessian"])
def test_a_step_of_a_loss_without_a_mask_holds_the_padded_outputs_fixed(curvature):
    y, t = data()
    mask = torch.zeros(COUNT, SIZE, dtype=torch.bool)
    mask[:, 3:] = True

    def coupled(p, q):
        return (p - q).pow(4).sum(-1) + p.prod(-1).sin()

    held = newton_step(coupled, y, t, curvature, mask=mask)
    rest = newton_step(lambda p, q: coupled(torch.cat([p, y[:, 3:]], 1), q), y[:, :3], t, curvature)
    torch.testing.assert_close(held.direction[:, :3], rest.direction, rtol=1e-10, atol=0)
    torch.testing.assert_close(held.value, rest.value, rtol=1e-12, atol=0)
    assert not held.direction[:, 3:].any()


def cut(name, target, i, length):
    """Return the target of one sample without what is padded."""
    if isinstance(target, dict):  # a series of its own length
        return {key: one[i : i + 1] for key, one in target.items()}
    if target.ndim == 1:  # a class
        return target[i : i + 1]
    kept = target[i : i + 1, :length]
    return kept.argsort(-1).argsort(-1) if name.startswith("sorting/") else kept


def padded_example(name):
    """Return a loss, a prediction, a target and a mask, and each sample alone; all float64."""
    loss = nlcore.make(name)
    generator = torch.Generator().manual_seed(81)
    y, target = loss.example(6, generator=generator, dtype=torch.float64, device="cpu")
    size = y.shape[-1]
    lengths = [size, 3, size - 1, 4, 3, size]
    if not isinstance(target, dict) and target.ndim == 1:
        target = target % 3
    mask = torch.arange(size).expand(y.shape) >= torch.tensor(lengths).reshape(-1, *[1] * (y.ndim - 1))
    alone = [(y[i : i + 1, ..., :k], cut(name, target, i, k)) for i, k in enumerate(lengths)] if y.ndim == 2 else []
    filled = y.masked_fill(mask, 7.0)
    if name.startswith("sorting/"):  # the padded items have the last places
        rows = [torch.cat([t, torch.arange(k, size).unsqueeze(0)], 1) for (_, t), k in zip(alone, lengths, strict=True)]
        target = torch.cat(rows)
    elif (
        not isinstance(target, dict)
        and target.shape == y.shape
        and target.is_floating_point()
        and not name.startswith("shortest_paths/")
    ):
        target = target.masked_fill(mask, 0.0 if name.startswith("core/binary") else 3.0)
    return loss, filled, target, mask, alone


SEPARATE = {
    "fisher": EmpiricalFisher(damping=0.5),
    "hessian": Hessian(damping=0.5, aggregate="sample", max_ratio=None),
    "gauss-newton": GaussNewton(damping=0.5, aggregate="sample", max_ratio=None),
}


@pytest.mark.parametrize(
    "name",
    nlcore.names(),
)
def test_a_registered_loss_honours_a_mask_or_refuses_it(name):
    loss, y, target, mask, alone = padded_example(name)
    for kind, curvature in SEPARATE.items():
        try:
            found = newton_step(loss, y, target, curvature, mask=mask, generator=torch.Generator().manual_seed(1))
        except nlcore.errors.UnsupportedCurvatureError:
            assert kind != "fisher"
            continue
        except (ContractError, NumericalWarning) as error:
            assert "mask" in str(error)
            return
        assert alone, "a mask was accepted where no sample can be cut"
        steps = [newton_step(loss, one, t, curvature) for one, t in alone]
        gradients = torch.zeros_like(y)
        directions = torch.zeros_like(y)
        for i, step in enumerate(steps):
            gradients[i, : step.gradient.shape[1]] = step.gradient[0]
            directions[i, : step.direction.shape[1]] = step.direction[0]
        if kind == "fisher":
            problem = reference.Problem.of(gradients.numpy(), None, mask)
            directions = torch.from_numpy(reference.fisher_directions(problem, ("absolute", 0.5)))
        torch.testing.assert_close(found.value, torch.cat([step.value for step in steps]), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.gradient, gradients, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found.direction, directions, rtol=1e-6, atol=1e-8)


# A parameter `mask`.


class Recording:
    """Keeps the masks that a function of it was handed."""

    def __init__(self):
        self.masks = []

    def keyword(self, p, q, *, mask=None):
        self.masks.append(mask)
        return rolling(p, q, mask)

    def features(self, z, mask=None):
        self.masks.append(mask)
        return many_features(z, mask)

    def criterion(self, f, q, mask=None):
        self.masks.append(mask)
        return many_outer(f, q, mask)


class MaskedModule(torch.nn.Module):
    def forward(self, p, q, mask=None):
        return rolling(p, q, mask)


HANDED = {
    "keyword": lambda note: note.keyword,
    "partial": lambda note: functools.partial(note.keyword),
    "inner alone": lambda note: compose(note.features, lambda f, q: f.flatten(1).square().sum(1)),
    "outer alone": lambda note: compose(
        lambda z: torch.stack([z, z.sin()], -1), lambda f, q, mask=None: note.criterion(f, q, mask)
    ),
    "inner and outer": lambda note: compose(note.features, note.criterion),
}


@pytest.mark.parametrize("name", HANDED)
def test_a_parameter_mask_is_handed_the_mask(name):
    y, t = data()
    mask = ragged([1, 2, 3, 4, 5, 4, 3, 2, 1], SIZE)
    for curvature in (
        EmpiricalFisher(),
        Hessian(damping=20.0),
        *([] if name in ("keyword", "partial") else [GaussNewton()]),
    ):
        note = Recording()
        newton_step(HANDED[name](note), y, t, curvature, mask=mask)
        assert note.masks
        assert all(isinstance(one, torch.Tensor) and torch.equal(one, mask) for one in note.masks)
        with torch.no_grad():
            NewtonLoss(HANDED[name](note), curvature)(y, t, mask=mask)
        assert torch.equal(note.masks[-1], mask)


@pytest.mark.parametrize("name", HANDED)
def test_without_a_mask_none_is_handed(name):
    note = Recording()
    newton_step(HANDED[name](note), *data(), EmpiricalFisher())
    assert note.masks
    assert all(one is None for one in note.masks)


FORMS = {
    **{f"protocol, {name}": family for name, family in PROTOCOL.items() if family.event_ndim == 1},
    **{f"callable, {name}": family for name, family in CALLABLES.items()},
    **{f"composed, {name}": family for name, family in COMPOSED.items() if family.event_ndim == 1},
    "module": replace(CALLABLES["an object"], loss=MaskedModule()),
}


@pytest.mark.parametrize("fill", [(0.7, -0.4), (7.0, 1e3), (0.0, float("nan"))], ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_value_and_direction_are_those_of_the_unpadded_samples_alone(name, fill):
    family = FORMS[name]
    y, t = data()
    mask = ragged([1, 2, 3, 4, 5, 4, 3, 2, 1], SIZE)
    keep = (~mask).numpy()
    curvature = EmpiricalFisher(damping=0.3) if family.inner is None else GaussNewton(damping=0.3)
    wanted = dense.expected(family, curvature, y, t, np.ones(COUNT), keep)
    leaf = y.masked_fill(mask, fill[0]).requires_grad_()
    target = t.masked_fill(mask, fill[1])
    for _ in range(2):
        leaf.grad = None
        loss = NewtonLoss(family.loss, curvature, reduction="none")(leaf, target, mask=mask)
        loss.sum().backward()
        torch.testing.assert_close(loss.detach().numpy(), wanted.values, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(leaf.grad.numpy(), wanted.directions, rtol=1e-8, atol=1e-10)


# The convention: True is padded.


def told(mask, steps=3):
    """Return the texts of the warnings about masks in a few steps of one NewtonLoss."""
    y, t = data(*mask.shape)
    criterion = NewtonLoss(PROTOCOL["rolling"].loss, EmpiricalFisher())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            criterion(y.clone().requires_grad_(), t, mask=mask).backward()
    return [str(one.message) for one in caught if issubclass(one.category, NumericalWarning)]


def test_an_attention_mask_is_told_once():
    lengths = [2, 3, 4, 3, 2, 5, 4, 3, 2]
    texts = told(~ragged(lengths, 7))
    assert len(texts) == 1
    assert "mask" in texts[0]
    assert "True" in texts[0]


def test_a_mask_that_pads_almost_everything_is_told_once():
    mask = torch.ones(COUNT, 50, dtype=torch.bool)
    mask[:, :2] = False
    texts = told(mask)
    assert len(texts) == 1
    assert "mask" in texts[0]


def test_ordinary_masks_are_not_told():
    generator = torch.Generator().manual_seed(82)
    scattered = torch.rand(COUNT, 8, generator=generator) < 0.4
    for mask in (
        ragged([2, 3, 7, 3, 2, 5, 4, 3, 2], 7),
        ragged([7] * COUNT, 7),
        torch.zeros(COUNT, 7, dtype=torch.bool),
        scattered,
        ragged([1, 1, 7, 1, 1, 1, 1, 1, 1], 7),
    ):
        assert told(mask) == []


# Bounded damping.


def cubes(z, mask=None):
    """Return y³, zero at padded outputs, [N, m]."""
    return (z if mask is None else torch.where(mask, 0.0, z)).pow(3)


def cubic_error(features, target, mask=None):
    """Return half the squared error over the outputs that count, [N]."""
    return (features - (target if mask is None else torch.where(mask, 0.0, target))).square().sum(1) / 2


CUBIC = split(Splitting(features=cubes, criterion=cubic_error), cubes, cubic_error)
LENGTHS = [1, 2, 3, 4, 5, 4, 3, 5, 2]
WEIGHTS = {
    "none": [1.0] * COUNT,
    "random": [0.3, 1.2, 2.0, 0.7, 1.0, 1.1, 0.4, 0.9, 3.0],
    "zeros": [1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0, 3.0],
}
BATCH, OWN = Bounded(limit=1e3), Bounded(limit=1.05, per_sample_rho=0.05)


def steep():
    """Return a batch in which the last sample is steep where the others are flat."""
    y = 0.2 * data(seed=83)[0]
    y[:-1, 0], y[-1, 1] = 2.0, 2.0
    return y, 0.1 * data(seed=84)[1]


BOUNDED = {
    "gauss-newton, batch": (PROTOCOL["many features"], GaussNewton(damping=BATCH), data),
    "hessian, batch": (PROTOCOL["rolling"], Hessian(damping=BATCH), data),
    "gauss-newton, samples": (CUBIC, GaussNewton(damping=OWN), steep),
    "hessian, samples": (CUBIC, Hessian(damping=OWN), steep),
}


def bounded(name, weight, mask, **options):
    """Return what the dense reference expects, and what a step gives."""
    family, curvature, draw = BOUNDED[name]
    curvature = replace(curvature, **options)
    y, t = draw()
    keep = np.ones((COUNT, SIZE), bool) if mask is None else (~mask).numpy()
    wanted = dense.expected(family, curvature, y, t, np.array(weight), keep)
    return wanted, newton_step(family.loss, y, t, curvature, weight=torch.tensor(weight), mask=mask)


def padding(padded):
    return ragged(LENGTHS, SIZE) if padded else None


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", BOUNDED)
def test_the_batches_for_bounded_damping_are_decided(name, weights, padded):
    wanted, _ = bounded(name, WEIGHTS[weights], padding(padded))
    assert wanted.clear
    assert wanted.per_sample == name.endswith("samples")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_damping_is_that_of_the_dense_reference(name, weights, padded):
    wanted, step = bounded(name, WEIGHTS[weights], padding(padded))
    rows = np.array(WEIGHTS[weights]) > 0 if wanted.per_sample else None
    assert reference.relative_error(step.direction, wanted.directions, rows) < 1e-7


@pytest.mark.parametrize("name", ["gauss-newton, batch", "hessian, batch"])
def test_bounded_with_every_samples_own_matrix(name):
    wanted, step = bounded(name, WEIGHTS["none"], padding(True), aggregate="sample", max_ratio=None)
    assert not wanted.per_sample
    assert reference.relative_error(step.direction, wanted.directions) < 1e-7


@pytest.mark.parametrize("name", ["gauss-newton, batch", "hessian, batch"])
def test_a_remembered_damping_serves_a_batch_with_other_padding(name):
    family, curvature, _ = BOUNDED[name]
    criterion = NewtonLoss(family.loss, curvature, reduction="none")
    y, t = data()
    first, second = ragged(LENGTHS, SIZE), ragged(LENGTHS[::-1], SIZE)
    chosen = dense.expected(family, curvature, y, t, np.ones(COUNT), (~first).numpy())
    criterion(y.clone().requires_grad_(), t, mask=first).sum().backward()
    leaf = y.clone().requires_grad_()
    criterion(leaf, t, mask=second).sum().backward()
    again = replace(curvature, damping=Relative(chosen.rho))
    wanted = dense.expected(family, again, y, t, np.ones(COUNT), (~second).numpy())
    assert reference.relative_error(leaf.grad, wanted.directions) < 1e-7


@pytest.mark.parametrize("name", FORMS)
def test_the_helpers_losses_of_padded_samples_are_those_of_the_samples_alone(name):
    family = FORMS[name]
    y, t = data()
    mask = ragged(LENGTHS, SIZE)
    alone = torch.cat([family.alone(y[i : i + 1, :k], t[i : i + 1, :k]) for i, k in enumerate(LENGTHS)])
    if isinstance(family.loss, nlcore.newton.Composed):
        whole = family.outer(family.inner(y, mask), t, mask)
    else:
        whole = family.loss(y, t, mask=mask)
    torch.testing.assert_close(whole, alone)
