"""Thousands of wrong and extreme inputs: each an error of nlcore, or a finite result that the reference confirms."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, inject_fisher
from nlcore.builtin.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, SquaredError
from nlcore.errors import ContractError, NlcoreError, NonFiniteError, UnsupportedCurvatureError

from . import reference
from .losses import SPLIT, Noisy, Wavy, WavyGradient, WavyHessian, WavyOld, data, half_square

BATCHES = 20
SIZE = 150
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
WRONG = [torch.int64, torch.int32, torch.bool, torch.complex64]
BUILTIN = [SquaredError(), AbsoluteError(), BinaryCrossEntropy(), CrossEntropy()]
LOSSES = [*BUILTIN, Wavy(), WavyOld(), WavyGradient(), WavyHessian(), SPLIT, Noisy(), half_square]
SCALES = [1e-40, 1e-25, 1e-3, 1e3, 1e25, 1e30, 0.0]
MAGNITUDES = [1.0, 1.0, 1.0, 0.0, 1e-3, 1e3, 1e-10, 1e10, 1e-30, 1e30, 1e-40, 5e-324, 1e-300, 1e300]


def chance(rng, p):
    return rng.random() < p


def scaled(scale):
    """Return Wavy times a factor, as a plain callable."""

    def scaled_wavy(prediction, target):
        return scale * Wavy()(prediction, target)

    return scaled_wavy


def some_curvature(rng):
    damping = rng.choice([0.0, 1e-6, 0.5, 20.0, 1e6, Relative(0.1), Relative(1.0), Relative(1e-6), Bounded()])
    kind = rng.choice([Hessian, Hessian, GaussNewton, EmpiricalFisher, EmpiricalFisher, None])
    if kind is None:
        return None
    if kind is EmpiricalFisher:
        damping = Relative(1.0) if isinstance(damping, Bounded) else damping
        solver = rng.choice(["auto", "cholesky", "eigen", "kernel"])
        return EmpiricalFisher(damping=damping, max_step=rng.choice([None, 100.0, 0.1]), solver=solver)
    options = {
        "damping": damping,
        "aggregate": rng.choice(["batch", "sample"]),
        "max_ratio": rng.choice([None, 1.0]),
        "solver": rng.choice(["auto", "cholesky", "eigen"]),
        "chunk_size": rng.choice([None, 1, 3]),
        "normalize": chance(rng, 0.2),
    }
    if kind is GaussNewton:
        return GaussNewton(**options)
    scope = rng.choice(["sample", "batch"])
    psd = rng.choice(["abs", "clip"] if isinstance(damping, Bounded) else ["abs", "clip", "none"])
    return Hessian(psd=psd, psd_scope=scope, **options)


def values(rng, generator, shape, dtype):
    """Return random numbers of a random magnitude, some of them replaced by special ones."""
    numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
    magnitude = 1.0 if chance(rng, 0.5) else rng.choice(MAGNITUDES)
    if chance(rng, 0.1):  # every sample its own
        scales = [rng.choice(MAGNITUDES) for _ in range(shape[0] if shape else 1)]
        numbers = numbers * torch.tensor(scales, dtype=torch.float64).reshape(shape[:1] + (1,) * (len(shape) - 1))
    else:
        numbers = numbers * magnitude
    for special in (float("nan"), float("inf"), -float("inf"), 0.0):
        if chance(rng, 0.06):
            hit = torch.rand(shape, generator=generator) < 0.2
            numbers = torch.where(hit, special, numbers)
    if dtype in WRONG:
        return torch.nan_to_num(numbers.clamp(-100, 100)).to(dtype)
    return numbers.to(dtype)


def laid_out(rng, tensor):
    """Return the same numbers in another layout of memory."""
    if tensor.ndim < 2 or not tensor.numel():
        return tensor
    layout = rng.choice(["plain", "transposed", "strided", "expanded", "view"])
    if layout == "transposed":
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "strided":
        return torch.stack([tensor, tensor], -1)[..., 0]
    if layout == "expanded" and tensor.is_floating_point():
        return tensor[:1].expand(tensor.shape)
    return tensor.flatten().view(tensor.shape) if layout == "view" else tensor


def some_target(rng, generator, loss, prediction, dtype):
    shape = list(prediction.shape)
    if loss is SPLIT and len(shape) == 2:
        shape[1] = max(0, 2 * shape[1] - 1)
    if isinstance(loss, CrossEntropy) and chance(rng, 0.7):
        classes = max(1, shape[1] if len(shape) > 1 else 1)
        low, high = (-1, classes + 1) if chance(rng, 0.1) else (0, classes)
        return torch.randint(low, high, tuple(shape[:1]), generator=generator)
    if chance(rng, 0.1) and shape:
        shape[0] += rng.choice([-1, 1]) if shape[0] else 1
    if chance(rng, 0.1) and len(shape) > 1 and loss in BUILTIN:
        shape[1] += 1
    target_dtype = dtype if dtype in FLOATS else torch.float32
    target = values(rng, generator, tuple(shape), target_dtype)
    if isinstance(loss, (BinaryCrossEntropy, CrossEntropy)) and chance(rng, 0.8):
        target = target.float().softmax(-1).to(target_dtype) if target.ndim and target.numel() else target
    if chance(rng, 0.06) and loss in BUILTIN:
        return rng.choice([None, 1.0, "target", [], {"a": target}])
    return target


def calm_target(loss, prediction, generator):
    """Return a right target."""
    if isinstance(loss, CrossEntropy):
        return torch.randint(prediction.shape[1], prediction.shape[:1], generator=generator)
    size = prediction.shape[1] * 2 - 1 if loss is SPLIT else prediction.shape[1]
    return torch.rand(prediction.shape[0], size, generator=generator, dtype=torch.float64).to(prediction.dtype)


class Case:
    """One random use of the engine; two in five are calm: nothing in them is wrong or extreme."""

    def __init__(self, seed):
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.calm = chance(rng, 0.4)
        self.loss = rng.choice(LOSSES if self.calm else [*LOSSES, scaled(rng.choice(SCALES))])
        self.curvature = some_curvature(rng)
        if isinstance(self.curvature, GaussNewton) and chance(rng, 0.9):
            self.loss = SPLIT
        if self.calm:
            prediction = data(rng.choice([1, 2, 3, 5, 8]), rng.choice([2, 3, 4, 7]), seed=seed)[0]
            self.prediction = laid_out(rng, prediction.to(rng.choice(FLOATS[:2])))
            self.target = calm_target(self.loss, self.prediction, generator)
            self.weight = self.mask = None
        else:
            self._be_wild(rng, generator)
        self.options = {
            "reduction": rng.choice(["mean", "sum", "none"]),
            "value": rng.choice(["original", "newton"]),
            "on_failure": rng.choice(["raise", "fallback"]),
            "backend": "auto" if isinstance(self.loss, WavyOld) else rng.choice(["auto", "func", "autograd"]),
        }
        self.requires_grad = not chance(rng, 0.1)

    def _be_wild(self, rng, generator):
        dtype = rng.choice(WRONG) if chance(rng, 0.08) else rng.choice([*FLOATS, torch.float64, torch.float32])
        ndim = 2
        if chance(rng, 0.1) and self.loss in [*BUILTIN, half_square]:
            ndim = rng.choice([3, 4] if self.loss is half_square else [0, 1, 3, 4])
        shape = (rng.choice([0, 1, 1, 2, 3, 5, 8]), *(rng.choice([1, 2, 3, 4, 7]) for _ in range(ndim - 1)))[:ndim]
        if chance(rng, 0.05) and ndim > 1:
            shape = (shape[0], 0)
        self.prediction = laid_out(rng, values(rng, generator, shape, dtype))
        self.target = some_target(rng, generator, self.loss, self.prediction, dtype)
        count = shape[0] if shape else 1
        self.weight = self.mask = None
        if chance(rng, 0.3):
            self.weight = torch.rand(count, generator=generator) * rng.choice([1.0, 1e-30, 1e30])
            self.weight = torch.where(torch.rand(count, generator=generator) < 0.3, 0.0, self.weight)
            if chance(rng, 0.1):
                self.weight = rng.choice([torch.ones(count + 1), torch.ones(count, 1), torch.ones(()), [1.0]])
        if chance(rng, 0.3):
            self.mask = torch.rand(shape, generator=generator) < rng.choice([0.1, 0.5, 1.0])
            if chance(rng, 0.1):
                self.mask = rng.choice([self.mask.float(), self.mask[None], torch.ones(count + 1, 2) > 0, True])

    def run(self):
        """Return the module, the leaf, and the loss, after a backward pass."""
        criterion = NewtonLoss(self.loss, self.curvature, **self.options)
        y = self.prediction.detach()
        if self.requires_grad and y.is_floating_point():
            y = y.requires_grad_()
        loss = criterion(y, self.target, weight=self.weight, mask=self.mask)
        if y.requires_grad:
            loss.sum().backward()
        return criterion, y, loss

    def expected(self):
        """Return the reference's directions where it defines them well, else `None`."""
        c = self.curvature
        if c is None or isinstance(c.damping, Bounded) or isinstance(self.loss, Noisy):
            return None
        gradient = reference.gradients(self.loss, self.prediction, self.target)
        damping = ("relative", c.damping.rho) if isinstance(c.damping, Relative) else ("absolute", c.damping)
        problem = reference.Problem.of(gradient)
        if isinstance(c, EmpiricalFisher):
            blocks = reference.outer_products(gradient)
            options, aggregate = {}, "batch"
        elif isinstance(c, GaussNewton):
            blocks = reference.gauss_newton_matrices(SPLIT.inner, SPLIT.outer, self.prediction, self.target)
            options, aggregate = {"aggregate": c.aggregate, "max_ratio": c.max_ratio}, c.aggregate
        else:
            blocks = reference.hessians(self.loss, self.prediction, self.target)
            options = {"psd": c.psd, "scope": c.psd_scope, "aggregate": c.aggregate, "max_ratio": c.max_ratio}
            aggregate = c.aggregate
        matrices = [blocks.mean(0)] if aggregate == "batch" else list(blocks)
        lam = reference.strength(damping, blocks.mean(0), problem.present)
        spectra = [np.abs(np.linalg.eigvalsh(m)) for m in matrices]
        if max(s.max() for s in spectra) > 1e4 * lam or lam < 1e-4 or options.get("psd") == "none":
            return None  # rounding in the gradients decides
        if isinstance(c, EmpiricalFisher):
            return reference.fisher_directions(problem, damping, max_step=c.max_step)
        directions = reference.newton_directions(problem, blocks, damping, **options)
        return reference.normalized(problem, directions) if c.normalize and directions.any() else directions


@pytest.fixture(scope="module")
def outcomes():
    return Counter()


def test_the_generator_makes_what_it_should():
    cases = [Case(seed) for seed in range(600)]
    assert 100 < sum(case.calm for case in cases) < 400
    assert {case.prediction.dtype for case in cases} == {*FLOATS, *WRONG}
    assert sum(not case.prediction.is_contiguous() for case in cases) > 50
    assert sum(not case.prediction.numel() for case in cases) > 30
    assert sum(bool(case.prediction.isnan().any()) for case in cases) > 5


@pytest.mark.filterwarnings(
    "ignore:.*second derivative.* is zero:nlcore.errors.NumericalWarning",
    "ignore:.*the mask marks:nlcore.errors.NumericalWarning",
)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_an_error_or_a_right_finite_result(batch, outcomes):
    for seed in range(batch * SIZE, (batch + 1) * SIZE):
        case = Case(seed)
        before = case.prediction.clone()
        try:
            criterion, y, loss = case.run()
        except NlcoreError as error:
            outcomes[type(error).__name__] += 1
            assert len(str(error)) > 30, (seed, error)
            assert not (case.options["on_failure"] == "fallback" and isinstance(error, ArithmeticError)), (seed, error)
            undamped = case.curvature is not None and case.curvature.damping in (0.0, 1e-6)
            unsupported = isinstance(error, UnsupportedCurvatureError)
            assert not case.calm or undamped or unsupported, (seed, error)
            continue
        except Exception as error:
            raise AssertionError(f"case {seed}: {type(error).__name__}: {error}") from error
        assert torch.equal(case.prediction.nan_to_num(7.0), before.nan_to_num(7.0)), seed
        if not y.requires_grad:
            outcomes["value only"] += 1
            assert not loss.requires_grad, seed
            continue
        outcomes["gradient"] += 1
        assert y.grad.shape == y.shape, seed
        assert y.grad.dtype == y.dtype, seed
        weighted = case.weight is not None and case.options["reduction"] != "mean"
        limited = y.dtype in (torch.float16, torch.bfloat16) or weighted
        if not limited:
            assert torch.isfinite(y.grad).all(), seed
        if case.mask is not None:
            assert not y.grad[case.mask].any(), seed
        if case.calm:
            check(case, criterion, y, loss, seed, outcomes)


def check(case, criterion, y, loss, seed, outcomes):
    """Compare an ordinary case with the loss itself and with the reference."""
    plain = case.loss(case.prediction, case.target) if not isinstance(case.loss, Noisy) else None
    if plain is not None and case.options["value"] == "original":
        reduced = {"mean": plain.mean(), "sum": plain.sum(), "none": plain}[case.options["reduction"]]
        torch.testing.assert_close(loss.detach(), reduced, rtol=1e-5, atol=1e-6, msg=f"value of case {seed}")
    expected = case.expected()
    if expected is None or criterion.stats["nonfinite"] or criterion.stats["singular"]:
        return
    outcomes["compared"] += 1
    found = y.grad * (y.shape[0] if case.options["reduction"] == "mean" else 1)
    limit = 1e-8 if y.dtype == torch.float64 else 1e-2
    size = np.abs(expected).max()
    error = np.abs(found.double().numpy() - expected).max() / size if size else float(found.abs().max())
    assert error < limit, f"case {seed}: relative error {error:.1e} with {case.curvature} on {case.loss}"


def test_every_kind_of_outcome_was_met(outcomes):
    assert outcomes["gradient"] > 500, outcomes
    assert outcomes["compared"] > 100, outcomes
    for error in (ContractError, NonFiniteError, UnsupportedCurvatureError):
        names = {error.__name__, *(e.__name__ for e in error.__subclasses__())}
        assert sum(outcomes[name] for name in names) > 20, outcomes


@pytest.mark.parametrize("seed", range(10))
def test_the_injected_step_is_finite_or_refused(seed):
    for k in range(40):
        rng = random.Random(1000 * seed + k)
        generator = torch.Generator().manual_seed(1000 * seed + k)
        dtype = rng.choice([*FLOATS, *WRONG[:1]])
        shape = tuple(rng.choice([0, 1, 2, 5]) for _ in range(rng.choice([0, 1, 2, 3])))
        y = values(rng, generator, shape, dtype)
        y = y.requires_grad_() if y.is_floating_point() else y
        incoming = values(rng, generator, shape, dtype)
        damping = rng.choice([1e-6, 0.5, Relative(1.0)])
        try:
            out = inject_fisher(y, damping, reduction=rng.choice(["mean", "sum"]))
        except NlcoreError:
            assert dtype in WRONG or shape == ()
            continue
        out.backward(incoming)
        rows = incoming.reshape(shape[0], -1).double() if y.numel() else incoming
        fine = torch.isfinite(rows).all(-1)
        if dtype == torch.float64 and y.numel():
            assert torch.isfinite(y.grad.reshape(shape[0], -1)[fine]).all()
            assert torch.equal(torch.isfinite(y.grad.reshape(shape[0], -1)).all(-1), fine)
