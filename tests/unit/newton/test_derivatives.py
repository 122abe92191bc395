"""Values, gradients and Hessians: against central differences, and the back ends against each other."""

from __future__ import annotations

import pytest
import torch

from nlcore import EmpiricalFisher, Hessian, Traits, newton_step
from nlcore.builtin.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, SquaredError
from nlcore.capabilities import read_capabilities
from nlcore.errors import NumericalWarning, ShapeError
from nlcore.newton.derivatives import differentiate
from nlcore.newton.problem import Problem

from . import reference
from .losses import (
    SPLIT,
    Noisy,
    NoisyHessian,
    Wavy,
    WavyGradient,
    WavyHessian,
    WavyOld,
    WavySupplied,
    convex_outer,
    data,
    features,
    wavy_gradient,
    wavy_hessian,
)

BUILTIN = [SquaredError(), AbsoluteError(), BinaryCrossEntropy(), CrossEntropy()]
STEP = 1e-5


def by_name(loss):
    return type(loss).__name__


def blocks(loss, prediction, target, kind="hessian", backend="auto"):
    """Return what the engine takes for every sample's curvature, [N, m, m]."""
    return differentiate(Problem.of(read_capabilities(loss), prediction, target, backend=backend), kind).blocks()


def central(function, prediction):
    """Return the central differences of a function of the batch, the last dimension over the outputs."""
    columns = []
    for k in range(prediction.shape[1]):
        shift = torch.zeros_like(prediction)
        shift[:, k] = STEP
        columns.append((function(prediction + shift) - function(prediction - shift)) / (2 * STEP))
    return torch.stack(columns, -1)


def close(found, expected, limit):
    error = (found - expected).abs().amax() / expected.abs().amax()
    assert error <= limit, f"relative error {float(error):.2e}"


def example(loss, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return loss.example(count, generator=generator, dtype=torch.float64, device="cpu")


def probabilities(count=6, size=5, seed=1):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


CASES = [pytest.param(loss, *example(loss), id=by_name(loss)) for loss in BUILTIN] + [
    pytest.param(CrossEntropy(), example(CrossEntropy())[0], probabilities(), id="CrossEntropy-probabilities")
]


@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize(("loss", "prediction", "target"), CASES)
def test_builtin_gradients_are_central_differences(loss, prediction, target, backend):
    step = newton_step(loss, prediction, target, EmpiricalFisher(), backend=backend)
    close(step.gradient, central(lambda y: loss(y, target), prediction), 1e-6)


@pytest.mark.parametrize("backend", ["supplied", "func", "autograd"])
@pytest.mark.parametrize(("loss", "prediction", "target"), [c for c in CASES if c.values[0].traits.order == 2])
def test_builtin_hessians_are_central_differences(loss, prediction, target, backend):
    def gradient(y):
        return newton_step(loss, y, target, EmpiricalFisher()).gradient

    if backend == "supplied":
        found = blocks(loss, prediction, target)
    else:  # a plain callable supplies nothing
        found = blocks(lambda y, t: loss(y, t), prediction, target, backend=backend)
    close(found, central(gradient, prediction), 1e-6)
    assert torch.equal(found, found.mT)


@pytest.mark.parametrize("loss", [loss for loss in BUILTIN if loss.traits.order == 2], ids=by_name)
def test_builtin_promises_of_convexity_hold(loss):
    prediction, target = example(loss, 50)
    values = torch.linalg.eigvalsh(loss.hessian(3 * prediction, target))
    assert loss.traits.psd_hessian
    assert values.amin() >= -1e-15


@pytest.mark.parametrize(("loss", "backend"), [(Wavy(), "func"), (Wavy(), "autograd"), (WavyOld(), "auto")])
def test_hand_written_derivatives_are_those_of_all_back_ends(loss, backend):
    prediction, target = data()
    close(blocks(loss, prediction, target, backend=backend), wavy_hessian(prediction, target), 1e-14)
    step = newton_step(loss, prediction, target, EmpiricalFisher(), backend=backend)
    close(step.gradient, wavy_gradient(prediction, target), 1e-14)
    close(wavy_hessian(prediction, target), central(lambda y: wavy_gradient(y, target), prediction), 1e-8)
    torch.testing.assert_close(step.value, loss(prediction, target), rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize("loss", [Wavy(), WavyGradient(), WavyHessian(), WavySupplied()], ids=by_name)
def test_what_is_supplied_is_what_is_derived(loss, backend):
    prediction, target = data()
    close(blocks(loss, prediction, target, backend=backend), wavy_hessian(prediction, target), 1e-14)
    step = newton_step(loss, prediction, target, Hessian(), backend=backend)
    close(step.gradient, wavy_gradient(prediction, target), 1e-14)
    close(step.value, loss(prediction, target), 0)


@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_gauss_newton_blocks(backend):
    prediction, target = data()[0], data(5, 7, seed=1)[0]
    expected = torch.from_numpy(reference.gauss_newton_matrices(features, convex_outer, prediction, target))
    found = differentiate(Problem.of(read_capabilities(SPLIT), prediction, target, backend=backend), "gauss_newton")
    close(found.blocks(), expected, 1e-13)
    close(found.gradient, torch.from_numpy(reference.gradients(SPLIT, prediction, target)), 1e-13)
    close(found.value, SPLIT(prediction, target), 1e-14)
    assert torch.linalg.eigvalsh(found.blocks()).amin() > 0


class WrongOnPurpose(Wavy):
    """A gradient and Hessian that are not the loss's: what is supplied must be what is used."""

    def gradient(self, prediction, target, *, generator=None):
        return 2 * wavy_gradient(prediction, target)

    def hessian(self, prediction, target, *, generator=None):
        return 3 * torch.eye(prediction.shape[1], dtype=prediction.dtype).expand(prediction.shape[0], -1, -1)


@pytest.mark.parametrize("backend", ["auto", "func", "autograd"])
def test_what_a_loss_supplies_is_used(backend):
    prediction, target = data()
    step = newton_step(WrongOnPurpose(), prediction, target, Hessian(damping=1.0), backend=backend)
    close(step.direction, wavy_gradient(prediction, target) / 2, 1e-14)
    fisher = newton_step(WrongOnPurpose(), prediction, target, EmpiricalFisher(damping=1e8), backend=backend)
    close(fisher.direction * 1e8, 2 * wavy_gradient(prediction, target), 1e-6)


class Crooked(Wavy):
    """A supplied gradient whose Jacobian is not symmetric."""

    def gradient(self, prediction, target, *, generator=None):
        return prediction.cumsum(-1) * target


@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_a_crooked_jacobian_of_a_supplied_gradient_is_made_symmetric(backend):
    prediction, target = data()
    jacobian = target.unsqueeze(-1) * torch.ones(4, 4, dtype=torch.float64).tril()
    close(blocks(Crooked(), prediction, target, backend=backend), (jacobian + jacobian.mT) / 2, 1e-14)


def wrong_supply(member, result):
    return type("Supplies", (Wavy,), {member: lambda self, prediction, target, *, generator=None: result})()


@pytest.mark.parametrize("result", [torch.zeros(5, 3), torch.zeros(4), torch.zeros(()), None], ids=str)
@pytest.mark.parametrize(("member", "curvature"), [("gradient", EmpiricalFisher()), ("hessian", Hessian())])
def test_a_wrong_supply_is_named(member, curvature, result):
    with pytest.raises(ShapeError, match=rf"Supplies\.{member} must return shape \[5, 4") as caught:
        newton_step(wrong_supply(member, result), *data(), curvature)
    assert ("NoneType" if result is None else str(list(result.shape))) in str(caught.value)


@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_a_loss_that_ignores_the_prediction_gives_zero_derivatives(backend):
    def constant(prediction, target):
        return target.sum(1)

    for curvature in (EmpiricalFisher(), Hessian()):
        with pytest.warns(NumericalWarning, match="no derivative with respect to the prediction"):
            step = newton_step(constant, *data(), curvature, backend=backend)
        assert torch.equal(step.gradient, torch.zeros(5, 4, dtype=torch.float64))
        assert torch.equal(step.direction, step.gradient)


@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_a_linear_loss_has_a_zero_hessian(backend):
    def linear(prediction, target):
        return (prediction * target).sum(1)

    prediction, target = data()
    assert torch.equal(blocks(linear, prediction, target, backend=backend), torch.zeros(5, 4, 4, dtype=torch.float64))
    with pytest.warns(NumericalWarning, match="second derivative is zero for every sample.*EmpiricalFisher"):
        step = newton_step(linear, prediction, target, Hessian(), backend=backend)
    assert torch.equal(step.direction, target), "where the trace is zero the direction is the gradient"


@pytest.mark.filterwarnings("error")
def test_a_warning_of_a_zero_hessian_may_be_an_error():
    def linear(prediction, target):
        return (prediction * target).sum(1)

    with pytest.raises(NumericalWarning, match="is zero for every sample"):
        newton_step(linear, *data(), Hessian())


@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_events_of_any_number_of_dimensions(event, backend):
    if event == ():

        def loss(prediction, target):
            return (prediction - target).pow(4)
    else:
        loss = Wavy(Traits(event_ndim=len(event)))
    prediction, target = data(5, event=event)
    step = newton_step(loss, prediction, target, Hessian(damping=0.3), backend=backend)
    expected = reference.newton_directions(
        reference.Problem.of(reference.gradients(loss, prediction, target)),
        reference.hessians(loss, prediction, target),
        ("absolute", 0.3),
        psd="abs",
    )
    assert step.direction.shape == step.gradient.shape == step.target.shape == prediction.shape
    close(step.direction.reshape(5, -1), torch.from_numpy(expected), 1e-12)


@pytest.mark.parametrize("loss", [Noisy(), NoisyHessian()], ids=by_name)
@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_value_gradient_and_hessian_see_one_draw(loss, backend):
    prediction, target = data()
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def still(y, t):
        return loss.with_noise(y, t, noise)

    generator = torch.Generator().manual_seed(7)
    step = newton_step(loss, prediction, target, Hessian(damping=0.2), generator=generator, backend=backend)
    expected = newton_step(still, prediction, target, Hessian(damping=0.2))
    close(step.value, still(prediction, target), 0)
    close(step.gradient, expected.gradient, 1e-15)
    close(step.direction, expected.direction, 1e-14)


@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian()])
def test_without_a_generator_the_global_seed_decides(curvature):
    prediction, target = data()
    torch.manual_seed(3)
    first, second = (newton_step(Noisy(), prediction, target, curvature) for _ in range(2))
    torch.manual_seed(3)
    again = newton_step(Noisy(), prediction, target, curvature)
    assert torch.equal(first.value, again.value)
    assert torch.equal(first.direction, again.direction)
    assert not torch.equal(first.value, second.value)


@pytest.mark.parametrize("loss", [Noisy(), NoisyHessian()], ids=by_name)
@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian()])
def test_a_given_generator_advances_by_one_draw_a_step(curvature, loss):
    prediction, target = data()
    generator = torch.Generator().manual_seed(7)
    expected = torch.Generator().manual_seed(7)
    for _ in range(3):
        step = newton_step(loss, prediction, target, curvature, generator=generator)
        noise = torch.randn(5, 4, generator=expected, dtype=torch.float64)
        assert torch.equal(step.value, loss.with_noise(prediction, target, noise))
