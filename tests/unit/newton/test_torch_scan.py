"""Whatever torch can differentiate once has its Gauss–Newton direction; what has none is refused with a remedy.

Directions are held against (C + λI)⁻¹g, with C and g from central differences of the forward pass in float64. The gate
takes the most telling variants of each simulator; NLCORE_SCAN=full takes all of them.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch

import nlcore
from nlcore import GaussNewton, Hessian, NewtonLoss, Traits, compose, newton_step
from nlcore.errors import NlcoreError, PerformanceWarning, UnsupportedCurvatureError

from .handwritten_functions import (
    WRITTEN,
    Adjoint,
    Attribute,
    Detached,
    Implicit,
    Intermediate,
    Numpy,
    NumpyLoop,
    OldStyle,
    Once,
    OnceWithContext,
    Piecewise,
    Recomputed,
    Twice,
    VmapRule,
    WithJvp,
    WithoutGradient,
    Written,
)
from .torch_functions import FUNCTIONS, MIX, SIZE, aligned, distances, dot_product_attention, draw

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")

FULL = os.environ.get("NLCORE_SCAN") == "full"
COUNT = 7
LAMBDA = 0.2
STEP = 1e-6
REMEDY = re.compile(r"transforms=['\"]autograd['\"]|GaussNewton|EmpiricalFisher|use_reentrant=False")
ONCE = Traits(transforms="autograd")
FEW, MORE = 4, 7
"""Features after a mixture of them, and those that a linear part brings beside them."""

STOCK = (
    "LSTM",
    "checkpoint",
    "scaled_dot_product_attention",
    "cdist",
)
SIMULATORS = {name: Written(run) for name, run in FUNCTIONS.items()}
EVERY = {**SIMULATORS, **{f"Function {name}": one for name, one in WRITTEN.items()}}
FUNCTION_NAMES = [f"Function {name}" for name in WRITTEN]


@dataclass(frozen=True)
class Variant:
    """One way to ask for a direction.

    Attributes:
        features: "fewer" than outputs by a mixture, "more" with a linear part beside, or "own".
        solver: Of the Gauss–Newton curvature.
        backend: As the engine takes it.
        transforms: As the traits have it.
        dtype: Of the prediction.
        on_failure: As the engine takes it.
    """

    features: str
    solver: str = "auto"
    backend: str = "auto"
    transforms: str = "func"
    dtype: torch.dtype = torch.float64
    on_failure: str = "raise"


PLAIN_USE = [Variant("fewer"), Variant("more"), Variant("fewer", dtype=torch.float32)]
GATE = [*PLAIN_USE, Variant("more", "cg"), Variant("more", transforms="autograd")]
GATE += [Variant("fewer", "cg", backend="autograd", on_failure="fallback")]
if FULL:
    GATE += [
        Variant(features, solver, backend, transforms, dtype, on_failure)
        for features, solver, backend, transforms, dtype, on_failure in product(
            ("own", "fewer", "more"),
            ("auto", "eigen", "cg"),
            ("auto", "autograd"),
            ("func", "autograd"),
            (torch.float64, torch.float32),
            ("raise", "fallback"),
        )
    ]


def shaped(run, features, count):
    """Return the simulator with fewer features than outputs, with more, or with its own.

    Args:
        run: `[N, 6] -> [N, *features]`.
        features: "fewer", "more" or "own".
        count: Number of its own features.
    """
    if features == "own":
        return run
    if features == "fewer":
        mixture = draw(count, FEW, seed=20) / count**0.5
        return lambda z: run(z).flatten(1) @ mixture.to(z.dtype)
    line = draw(SIZE, MORE, seed=21) / 2
    return lambda z: torch.cat([run(z).flatten(1), z @ line.to(z.dtype)], 1)


def prediction_of():
    return draw(COUNT, SIZE, seed=50)


@functools.cache
def expected(name, features):
    """Return the target, the gradient and the direction by central differences, float64."""
    simulator = EVERY[name]
    y = prediction_of()
    with torch.no_grad():
        count = simulator.run(y).flatten(1).shape[1]
        exact = shaped(simulator.exact or simulator.run, features, count)
        target = exact(y) + 0.5 * draw(*exact(y).shape, seed=51)
        eye = torch.eye(SIZE, dtype=torch.float64)
        columns = [(exact(y + STEP * e) - exact(y - STEP * e)).flatten(1) / (2 * STEP) for e in eye]
        jacobian = torch.stack(columns, -1)
        gradient = torch.einsum("nfm,nf->nm", jacobian, (exact(y) - target).flatten(1))
        matrix = torch.einsum("nfm,nfk->mk", jacobian, jacobian) / COUNT
    return target, gradient, torch.linalg.solve(matrix + LAMBDA * eye, gradient.T).T


def quietly():
    """Return a context in which every warning is an error, but for those about time and about torch's own limits."""
    context = warnings.catch_warnings()
    context.__enter__()
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", PerformanceWarning)
    warnings.filterwarnings("ignore", "There is a performance drop")
    warnings.filterwarnings("ignore", "None of the inputs have requires_grad")
    return context


def outcome(name, variant):
    """Return "equal" or "told"; anything else is a failure.

    Raises:
        AssertionError: A wrong direction, an error without a remedy, or one that is not nlcore's.
    """
    simulator = EVERY[name]
    target, _, direction = expected(name, variant.features)
    y = prediction_of().to(variant.dtype)
    count = simulator.run(y).flatten(1).shape[1]  # which makes its modules outside of any transform
    loss = compose(shaped(simulator.run, variant.features, count), traits=Traits(transforms=variant.transforms))
    context = quietly()
    try:
        found = newton_step(
            loss,
            y,
            target.to(variant.dtype),
            GaussNewton(damping=LAMBDA, solver=variant.solver),
            backend=variant.backend,
            on_failure=variant.on_failure,
        ).direction
    except NlcoreError as error:
        assert REMEDY.search(str(error)), f"{name}, {variant}: no remedy in {type(error).__name__}: {error}"
        return "told"
    except (Exception, Warning) as error:
        raise AssertionError(f"{name}, {variant}: {type(error).__name__}: {error}") from error
    finally:
        context.__exit__(None, None, None)
    single = variant.dtype == torch.float32
    error = (found.double() - direction).norm() / direction.norm()
    limit = 2e-3 if single else simulator.tolerance
    assert error < limit, f"{name}, {variant}: relative error {error:.1e}"
    return "equal"


def test_the_scan_is_large_enough():
    assert len(FUNCTIONS) >= 70
    assert len(WRITTEN) >= 18


@pytest.mark.parametrize("name", EVERY)
def test_the_simulators_gradient_is_right(name):
    simulator = EVERY[name]
    target, gradient, _ = expected(name, "own")
    y = prediction_of().requires_grad_()
    features = simulator.run(y)
    features.backward((features - target).detach())
    assert (y.grad - gradient).norm() < simulator.tolerance * (1 + gradient.norm())
    other = simulator.run(prediction_of().roll(2, 0)).roll(-2, 0)
    torch.testing.assert_close(other, features.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_a_gauss_newton_direction_is_that_of_finite_differences(name):
    for variant in GATE:
        assert outcome(name, variant) in ("equal", "told")


@pytest.mark.parametrize("name", EVERY)
def test_the_default_descends(name):
    target, gradient, _ = expected(name, "own")
    y = prediction_of().requires_grad_()
    context = quietly()
    try:
        NewtonLoss(compose(EVERY[name].run))(y, target).backward()
    except NlcoreError as error:
        assert REMEDY.search(str(error)), error
        return
    finally:
        context.__exit__(None, None, None)
    slope = (y.grad * gradient).sum(1)
    assert (slope > 0)[gradient.norm(dim=1) > 1e-3 * gradient.norm()].all()
    assert torch.isfinite(y.grad).all()


def everywhere_equal(name):
    try:
        return all(outcome(name, variant) == "equal" for variant in PLAIN_USE)
    except AssertionError:
        return False


def test_most_are_equal_and_not_merely_refused():
    functions = [name for name in SIMULATORS if everywhere_equal(name)]
    written = [name for name in FUNCTION_NAMES if everywhere_equal(name)]
    assert not [name for name in (*STOCK, "Function without setup_context") if name not in (*functions, *written)]
    assert len(functions) >= max(55, 55 / 60 * len(SIMULATORS)), sorted(set(SIMULATORS) - set(functions))
    assert len(written) >= max(13, 13 / 15 * len(FUNCTION_NAMES)), sorted(set(FUNCTION_NAMES) - set(written))


# Plain losses and their Hessians.


def coupled(p, q):
    """Return ½‖p − q‖² and a coupling, [N]."""
    return (p - q).square().sum(-1) / 2 + 0.3 * (p[:, :-1] * p[:, 1:]).sin().sum(-1)


def beside(part, weight=1.0):
    """Return a coupled loss with the sum of a part beside it."""
    return lambda p, q: coupled(p, q) + weight * part(p).flatten(1).sum(1)


PLAIN = {
    "coupled": coupled,
    "tanh": beside(lambda p: (p @ MIX.to(p.dtype)).tanh()),
    "quartic": lambda p, q: (p - q).pow(4).sum(-1),
    "huber": lambda p, q: torch.nn.functional.huber_loss(p, q, reduction="none").sum(-1),
    "rectified square": lambda p, q: (p - q).relu().square().sum(-1) + 0.1 * p.square().sum(-1),
    "clamped quartic": lambda p, q: (p - q).clamp(-1, 1).pow(4).sum(-1) + (p * q).sum(-1),
    "soft cross-entropy": lambda p, q: -(q.softmax(-1) * p.log_softmax(-1)).sum(-1),
    "logsumexp": lambda p, q: (p * q).logsumexp(-1) + 0.1 * p.square().sum(-1),
    "cumprod": beside(lambda p: p.cumprod(-1)),
    "running maximum": beside(lambda p: p.cummax(-1).values.square()),
    "sorted": lambda p, q: (p.sort(-1).values - q.sort(-1).values).pow(4).sum(-1),
    "linear in half of it": lambda p, q: (p - q)[:, :3].square().sum(-1) + (p - q)[:, 3:].abs().sum(-1),
    "log determinant": beside(FUNCTIONS["slogdet"]),
    "spectrum": beside(lambda p: FUNCTIONS["rfft"](p).square()),
    "checkpoint": beside(FUNCTIONS["checkpoint"]),
    "fixed point": beside(FUNCTIONS["fixed point by .item()"]),
    "GRUCell": beside(FUNCTIONS["GRUCell"]),
}
"""Their second derivative is autograd's own: it has to come out right, without an alarm."""

PARTLY_SEEN = {
    "detached": beside(Detached.apply),
    "under no_grad": beside(WithoutGradient.apply),
    "once_differentiable": beside(Once.apply),
    "once_differentiable alone": lambda p, q: Once.apply(p - q).sum(-1),
    "once_differentiable, with setup_context": beside(OnceWithContext.apply),
    "numpy": beside(Numpy.apply),
    "numpy alone": lambda p, q: (2 + Numpy.apply(p - q)).sum(-1),
    "numpy, an adjoint": beside(NumpyLoop.apply),
    "numpy, squared": lambda p, q: (Numpy.apply(p) - q).square().sum(-1),
    "attribute": beside(Attribute.apply),
    "saved intermediates": beside(Intermediate.apply),
    "recomputed": beside(Recomputed.apply),
    "implicit": beside(Implicit.apply),
    "adjoint": beside(Adjoint.apply),
    "without setup_context": beside(OldStyle.apply),
    "by another Function": beside(Twice.apply),
    "generate_vmap_rule": beside(VmapRule.apply),
    "own jvp": beside(WithJvp.apply),
    "piecewise": beside(Piecewise.apply),
    "logcumsumexp": beside(lambda p: p.logcumsumexp(-1)),
    "connectionist": beside(aligned),
    "distances": beside(distances),
    "attention": beside(lambda p: dot_product_attention(p).square()),
    "LSTM": beside(lambda p: FUNCTIONS["LSTM"](p).square()),
    "checkpoint, reentrant": beside(FUNCTIONS["checkpoint, reentrant"]),
    "a small part": beside(Detached.apply, 0.05),
}
"""A part of their second derivative may be missing from autograd: the right direction, or an error with a remedy."""

LOSSES = {**PLAIN, **PARTLY_SEEN}


@dataclass(frozen=True)
class Declared:
    """A plain loss as an `AlgorithmicLoss`."""

    loss: Any
    traits: Traits = ONCE

    def __call__(self, prediction, target, *, generator=None):
        return self.loss(prediction, target)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, SIZE, generator=generator, dtype=dtype, device=device))


def slope(loss, y, t):
    """Return every sample's gradient by a first derivative alone, [N, m]."""
    z = y.clone().requires_grad_()
    loss(z, t).sum().backward()
    return z.grad


@functools.cache
def second_order(name):
    """Return prediction, target, gradient and Hessians, those by central differences of the gradient."""
    loss = LOSSES[name]
    y, t = draw(COUNT, SIZE, seed=60), draw(COUNT, SIZE, seed=61)
    gradient = slope(loss, y, t)
    eye, h = torch.eye(SIZE, dtype=torch.float64), 1e-5
    with torch.no_grad():
        plain = torch.stack([(loss(y + h * e, t) - loss(y - h * e, t)) / (2 * h) for e in eye], -1)
    torch.testing.assert_close(gradient, plain, rtol=1e-6, atol=1e-6)
    hessian = torch.stack([(slope(loss, y + h * e, t) - slope(loss, y - h * e, t)) / (2 * h) for e in eye], -1)
    return y, t, gradient, (hessian + hessian.mT) / 2


def absolute(blocks):
    values, vectors = torch.linalg.eigh(blocks)
    return (vectors * values.abs().unsqueeze(-2)) @ vectors.mT


def hessian_outcome(name, loss, curvature, backend):
    """Return "equal" or "told" for one way to ask for a Newton direction."""
    y, t, gradient, blocks = second_order(name)
    blocks = absolute(blocks) if curvature.psd == "abs" else blocks
    mean = blocks.mean(0) + curvature.damping * torch.eye(SIZE, dtype=torch.float64)
    direction = torch.linalg.solve(mean, gradient.T).T
    context = quietly()
    try:
        way = "fallback" if isinstance(loss, Declared) and backend == "autograd" else "raise"  # neither hides an error
        found = newton_step(loss, y, t, curvature, backend=backend, on_failure=way).direction
    except NlcoreError as error:
        assert REMEDY.search(str(error)), f"{name}, {curvature}: no remedy in {type(error).__name__}: {error}"
        return "told"
    except (Exception, Warning) as error:
        raise AssertionError(f"{name}, {curvature}, {backend}: {type(error).__name__}: {error}") from error
    finally:
        context.__exit__(None, None, None)
    error = (found - direction).norm() / direction.norm()
    assert error < 1e-5, f"{name}, {curvature}, {backend}: relative error {error:.1e}"
    return "equal"


def ways(name):
    """Return the ways to ask for a Newton direction: damping large enough that the mean Hessian is definite."""
    strength = float(1.2 * torch.linalg.eigvalsh(second_order(name)[3]).abs().max())
    curvatures = (
        Hessian(damping=strength, psd="none"),
        Hessian(damping=strength),
        Hessian(damping=strength, psd="none", solver="cg"),
    )
    losses = (LOSSES[name], Declared(LOSSES[name]))
    return product(losses, curvatures, ("auto", "autograd"))


@pytest.mark.parametrize("name", PLAIN)
def test_an_ordinary_loss_has_its_newton_direction_without_an_alarm(name):
    for way in ways(name):
        assert hessian_outcome(name, *way) == "equal"


@pytest.mark.parametrize("name", PARTLY_SEEN)
def test_a_second_derivative_that_autograd_sees_in_part_is_right_or_an_error(name):
    for way in ways(name):
        assert hessian_outcome(name, *way) in ("equal", "told")


@pytest.mark.parametrize("kind", ["second derivative alone is lost", "first derivative alone is needed"])
def test_a_right_first_derivative_serves_the_fisher_matrix(kind):
    name = "numpy" if kind.startswith("second") else "detached"
    y, t, gradient, _ = second_order(name)
    mean = gradient.T @ gradient / COUNT + LAMBDA * torch.eye(SIZE, dtype=torch.float64)
    direction = torch.linalg.solve(mean, gradient.T).T
    found = newton_step(LOSSES[name], y, t, nlcore.EmpiricalFisher(damping=LAMBDA), backend="autograd").direction
    torch.testing.assert_close(found, direction, rtol=1e-6, atol=1e-8)


REGISTERED = {
    "default": None,
    "hessian": Hessian(),
    "gauss-newton": GaussNewton(),
    "fisher": nlcore.EmpiricalFisher(),
}
if FULL:
    REGISTERED["hessian-cg"] = Hessian(damping=1.0, psd="none", solver="cg")
    REGISTERED["gauss-newton-cg"] = GaussNewton(damping=1.0, solver="cg")


@pytest.mark.parametrize("curvature", REGISTERED)
@pytest.mark.parametrize("name", nlcore.names())
def test_no_registered_algorithm_raises_an_alarm(name, curvature):
    loss = nlcore.make(name)
    generator = torch.Generator().manual_seed(3)
    for dtype in (torch.float32, torch.float64) if FULL else (torch.float32,):
        y, target = loss.example(4, generator=generator, dtype=dtype, device="cpu")
        try:
            criterion = NewtonLoss(loss, REGISTERED[curvature], generator=torch.Generator().manual_seed(4))
        except UnsupportedCurvatureError:
            assert curvature not in ("default", "fisher")
            return
        for _ in range(2):
            z = y.clone().requires_grad_()
            criterion(z, target).backward()
            assert torch.isfinite(z.grad).all()
