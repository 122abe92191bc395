"""Configurations of curvature × damping × mask × weight × reduction × value × back end × dtype against the reference.

Value and gradient of every configuration are those of the samples without their padded outputs, weighted and reduced by
hand. NLCORE_FUZZ sets how many there are in all.
"""

from __future__ import annotations

import os
import random
import warnings

import numpy as np
import pytest
import torch

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative
from nlcore.errors import NumericalError, NumericalWarning

from . import dense
from .masked_losses import CALLABLES, COMPOSED, PROTOCOL

SIZE = int(os.environ.get("NLCORE_FUZZ", "400"))
BATCHES = 2
GROUPS = ("no mask", "protocol", "callable", "composed", "bounded", "bounded and whole", "nothing counts")
BOUNDED = ("bounded", "bounded and whole")
UNPADDED = ("no mask", "bounded and whole")
ROUNDING = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-5, torch.float16: 2e-5}
"""Relative error of a direction over the condition of its matrix."""

OUTPUT = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Relative error of a gradient in its dtype, and of a value."""

FAMILIES = {
    "no mask": {**PROTOCOL, **CALLABLES, **{f"composed, {name}": family for name, family in COMPOSED.items()}},
    "callable": CALLABLES,
    "composed": COMPOSED,
}
"""The losses of a group; those of the protocol otherwise."""


def chance(rng, p):
    return rng.random() < p


def some_damping(rng, group):
    if group in BOUNDED:
        return rng.choice([Bounded(), Bounded(limit=10.0), Bounded(limit=1e3), Bounded(limit=3.0, per_sample_rho=0.1)])
    return rng.choice([0.05, 1.0, 20.0, Relative(0.01), Relative(0.1), Relative(1.0)])


def some_curvature(rng, group, family):
    """Return any curvature that the loss has, with any options that go together."""
    kinds = [Hessian] if family.inner is None else [GaussNewton, GaussNewton, Hessian]
    kinds += [] if group in BOUNDED else [EmpiricalFisher]
    kinds = [EmpiricalFisher, *kinds] if group == "nothing counts" else kinds
    kind, damping = rng.choice(kinds), some_damping(rng, group)
    if kind is EmpiricalFisher:
        solver = rng.choice(["auto", "cholesky", "eigen", "kernel"])
        return EmpiricalFisher(damping=damping, max_step=rng.choice([None, 100.0, 0.2]), solver=solver)
    options = {
        "damping": damping,
        "aggregate": rng.choice(["batch", "sample"]),
        "max_ratio": rng.choice([None, 1.0, 0.7]),
        "solver": rng.choice(["auto", "cholesky", "eigen", *([] if group in BOUNDED else ["cg"])]),
        "chunk_size": rng.choice([None, 1, 3]),
        "normalize": chance(rng, 0.3),
    }
    if kind is GaussNewton:
        return GaussNewton(**options)
    psd = rng.choice(["abs", "clip"] if group in BOUNDED else ["abs", "clip", "none"])
    psd = "none" if options["solver"] == "cg" else psd
    return Hessian(psd=psd, psd_scope=rng.choice(["sample", "batch"]), **options)


def some_mask(rng, generator, count, size):
    """Return [N, m] bool, True at padded outputs: ragged, scattered, a sample throughout, or none at all."""
    kind = rng.choice(["ragged", "ragged", "scattered", "one sample", "nothing"])
    if kind == "ragged":
        length = torch.randint(1, size + 1, (count, 1), generator=generator)
        return torch.arange(size) >= length
    mask = torch.rand(count, size, generator=generator) < (0.3 if kind == "scattered" else 0.0)
    if kind == "one sample" and count > 1:
        mask[rng.randrange(1, count)] = True
    mask[0, 0] = False
    return mask


def some_weight(rng, generator, count):
    """Return weights [N] or `None`; the first sample always counts."""
    kind = rng.choice(["none", "none", "random", "zeros", "tiny", "whole"])
    if kind == "none":
        return None
    weight = torch.rand(count, generator=generator, dtype=torch.float64) + 0.1
    if kind == "zeros":
        weight = torch.where(torch.rand(count, generator=generator) < 0.4, 0.0, weight)
    elif kind == "tiny":
        weight = weight * 1e-12
    elif kind == "whole":
        weight = torch.randint(0, 4, (count,), generator=generator).double()
    weight[0] = weight[0] if weight[0] > 0 else 1.0
    return weight


class Configuration:
    """One random use of the engine."""

    def __init__(self, group, number):
        seed = 1_000_000 * GROUPS.index(group) + number
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        families = FAMILIES.get(group, PROTOCOL)
        self.name = rng.choice(list(families))
        self.family = families[self.name]
        self.curvature = some_curvature(rng, group, self.family)
        count, size = rng.choice([1, 2, 4, 7]), rng.choice([2, 4, 6])
        ndim = self.family.event_ndim or rng.choice([1, 2])
        self.shape = (count, size) if ndim == 1 else (count, 2, size // 2)
        self.dtype = rng.choice([torch.float64] * 5 + [torch.float32] * 3 + [torch.bfloat16, torch.float16])
        y, t = torch.randn(2, count, size, generator=generator, dtype=torch.float64)
        work = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.prediction, self.target = y.to(self.dtype), t.to(work)
        self.mask = None if group in UNPADDED else some_mask(rng, generator, count, size)
        self.weight = some_weight(rng, generator, count)
        if group == "nothing counts":
            self.weight = torch.zeros(count)
        if group == "bounded and whole" and self.weight is not None:
            self.weight = torch.where(self.weight > 0, self.weight, self.weight.max())
        if self.weight is not None and group != "nothing counts" and self.dtype in (torch.bfloat16, torch.float16):
            self.weight = self.weight / self.weight.max()  # half precision holds no gradient of 1e-12
        self.keep = torch.ones(count, size, dtype=torch.bool) if self.mask is None else ~self.mask
        self.junk = rng.choice([None, 7.0, 1e3]), rng.choice([None, 1e3, float("nan")])
        self.options = {
            "reduction": rng.choice(["mean", "sum", "none"]),
            "value": rng.choice(["original", "original", "newton"]),
            "backend": rng.choice(self.family.backends),
        }

    def __repr__(self):
        weight = None if self.weight is None else [round(w, 3) for w in self.weight.tolist()]
        mask = None if self.mask is None else self.mask.int().tolist()
        return f"{self.name}: {self.curvature}, {self.options}, {self.shape}, {self.dtype}, {weight=}, {mask=}"

    def run(self):
        """Return the value, the gradient [N, m], and the value without a graph, `None` for a Newton value."""
        y, t = self.prediction, self.target
        if self.mask is not None:
            y, t = (
                v if junk is None else v.masked_fill(self.mask, junk) for v, junk in zip((y, t), self.junk, strict=True)
            )
        y = y.reshape(self.shape).clone().requires_grad_()
        arguments = {"weight": self.weight, "mask": None if self.mask is None else self.mask.reshape(self.shape)}
        criterion = NewtonLoss(self.family.loss, self.curvature, **self.options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(mask|second derivative is zero)", NumericalWarning)
            loss = criterion(y, t.reshape(self.shape), **arguments)
            loss.sum().backward()
            bare = None
            if self.options["value"] == "original":
                with torch.no_grad():
                    bare = criterion(y, t.reshape(self.shape), **arguments)
        return loss.detach(), y.grad.flatten(1), bare

    def check(self):
        """Compare with the reference; return whether it decides."""
        count = self.shape[0]
        weight = np.ones(count) if self.weight is None else self.weight.numpy()
        keep = self.keep.numpy()
        wanted = dense.expected(self.family, self.curvature, self.prediction, self.target, weight, keep)
        limit = ROUNDING[self.dtype] * wanted.condition
        decided = wanted.clear and limit < (1e-4 if self.dtype == torch.float64 else 1e-2)
        decided = decided and (wanted.definite or getattr(self.curvature, "solver", "") != "cg")
        try:
            loss, gradient, bare = self.run()
        except NumericalError:
            assert not decided, self
            return False
        if not decided:
            return False
        share = np.where(keep.any(1), weight, 0.0)
        if self.options["reduction"] == "mean":
            share = share / share.sum() if share.sum() > 0 else share
        values = wanted.values
        if self.options["value"] == "newton":
            values = np.square(wanted.directions).sum(1) / 2
        total = share * values if self.options["reduction"] == "none" else (share * values).sum()
        close(loss, total, np.abs(share * values).max(), 2 * limit + OUTPUT[loss.dtype], f"value of {self}")
        if bare is not None:
            close(bare, total, np.abs(share * values).max(), OUTPUT[bare.dtype], f"value without a graph of {self}")
        rows = share[:, None] * wanted.directions
        close(gradient, rows, np.abs(rows).max(), limit + OUTPUT[self.dtype], f"gradient of {self}")
        assert not gradient[~self.keep].any(), self
        return True


def close(found, wanted, size, limit, what):
    """Assert that nothing is off by more than a share of `size`, or anything where that is zero."""
    error = np.abs(found.double().numpy() - wanted).max()
    assert error <= limit * size, f"{what}: relative error {error / size if size else error:.1e} above {limit:.0e}"


def numbers(batch):
    """Return the numbers of the configurations of one batch."""
    each = max(1, SIZE // (len(GROUPS) * BATCHES))
    return range(batch * each, (batch + 1) * each)


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("group", GROUPS)
def test_every_configuration_is_that_of_the_reference(group, batch):
    decided = [Configuration(group, number).check() for number in numbers(batch)]
    assert sum(decided) > len(decided) / 2


def test_the_configurations_meet_every_option():
    made = [Configuration(group, number) for group in GROUPS for number in range(200)]
    curvatures = [one.curvature for one in made]
    met = {(type(c).__name__, name, getattr(c, name)) for c in curvatures for name in c.__slots__}
    for kind, name, options in (
        ("Hessian", "psd", ("abs", "clip", "none")),
        ("Hessian", "psd_scope", ("sample", "batch")),
        ("Hessian", "solver", ("auto", "cholesky", "eigen", "cg")),
        ("GaussNewton", "solver", ("auto", "cholesky", "eigen", "cg")),
        ("GaussNewton", "aggregate", ("batch", "sample")),
        ("GaussNewton", "normalize", (True, False)),
        ("GaussNewton", "chunk_size", (None, 1, 3)),
        ("EmpiricalFisher", "solver", ("auto", "cholesky", "eigen", "kernel")),
        ("EmpiricalFisher", "max_step", (None, 100.0, 0.2)),
    ):
        assert {(kind, name, option) for option in options} <= met
    assert {type(c.damping) for c in curvatures} == {float, Relative, Bounded}
    assert {one.dtype for one in made} == set(ROUNDING)
    assert sum(one.weight is not None and not one.weight.all() for one in made) > 50
    assert sum(one.mask is not None and bool(one.mask.all(1).any()) for one in made) > 30
