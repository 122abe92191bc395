"""NewtonLoss: the value of the loss, the gradient of the step, in every way a training loop uses it."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from nlcore import (
    Auto,
    Bounded,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    NewtonLoss,
    Relative,
    Traits,
    compose,
    newton_step,
)
from nlcore.builtin.losses import AbsoluteError, CrossEntropy, SquaredError
from nlcore.capabilities import read_capabilities
from nlcore.errors import ContractError, NumericalWarning
from nlcore.newton.outcome import Memory
from nlcore.newton.step import take_step
from nlcore.soundness import ENOUGH

from .losses import SPLIT, Counting, Noisy, Wavy, data, half_square

CURVATURES = [
    pytest.param(EmpiricalFisher(), id="fisher"),
    pytest.param(Hessian(damping=Relative(0.1)), id="hessian"),
    pytest.param(Hessian(damping=20.0, psd="none"), id="definition1"),
    pytest.param(Hessian(damping=Relative(0.1), aggregate="sample"), id="per-sample"),
]


def gradient(criterion, prediction, target, scale=1.0, **options):
    """Return the gradient that reaches the prediction, and the loss."""
    y = prediction.detach().clone().requires_grad_()
    loss = criterion(y, target, **options)
    (scale * loss).sum().backward()
    return y.grad, loss.detach()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_value_and_gradient(curvature, reduction):
    prediction, target = data()
    step = newton_step(Wavy(), prediction, target, curvature)
    grad, loss = gradient(NewtonLoss(Wavy(), curvature, reduction=reduction), prediction, target)
    plain = Wavy()(prediction, target)
    expected = {"mean": plain.mean(), "sum": plain.sum(), "none": plain}[reduction]
    assert loss.shape == expected.shape
    torch.testing.assert_close(loss, expected, rtol=1e-15, atol=0)
    share = 1 / 5 if reduction == "mean" else 1
    torch.testing.assert_close(grad, share * step.direction, rtol=1e-15, atol=0)
    assert torch.equal(step.target, prediction - step.direction)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_surrogate_has_the_same_gradient_and_another_value(curvature):
    prediction, target = data()
    step = newton_step(Wavy(), prediction, target, curvature)
    original = gradient(NewtonLoss(Wavy(), curvature), prediction, target)
    grad, loss = gradient(NewtonLoss(Wavy(), curvature, value="newton"), prediction, target)
    assert torch.equal(grad, original[0])
    torch.testing.assert_close(loss, (step.target - prediction).square().sum(1).mean() / 2, rtol=1e-12, atol=0)
    y = prediction.clone().requires_grad_()
    ((step.target - y).square().sum(1).mean() / 2).backward()
    torch.testing.assert_close(grad, y.grad, rtol=1e-12, atol=1e-15)


def test_with_reduction_none_every_sample_is_scaled_by_itself():
    prediction, target = data()
    y = prediction.clone().requires_grad_()
    factors = torch.tensor([1.0, 0.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    NewtonLoss(Wavy(), EmpiricalFisher(), reduction="none")(y, target).backward(factors)
    step = newton_step(Wavy(), prediction, target, EmpiricalFisher())
    assert torch.equal(y.grad, factors.unsqueeze(1) * step.direction)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_linear_in_the_incoming_scalar(curvature, dtype, reduction):
    prediction, target = data(8, dtype=dtype)
    criterion = NewtonLoss(Wavy(), curvature, reduction=reduction)
    plain, _ = gradient(criterion, prediction, target)
    for power in (-10, -1, 1, 16):
        assert torch.equal(gradient(criterion, prediction, target, 2.0**power)[0], 2.0**power * plain)
    for factor in (-1.0, 0.0, 3.0, 0.1):
        found, _ = gradient(criterion, prediction, target, factor)
        torch.testing.assert_close(found, factor * plain, rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_the_mean_of_eight_is_linear_bit_by_bit_too():
    prediction, target = data(8)
    criterion = NewtonLoss(Wavy(), Hessian(damping=Relative(0.1)))
    plain, _ = gradient(criterion, prediction, target)
    assert torch.equal(gradient(criterion, prediction, target, 2.0**16)[0], 2.0**16 * plain)


def test_two_losses_add_up():
    prediction, target = data()
    first = NewtonLoss(Wavy(), EmpiricalFisher())
    second = NewtonLoss(half_square, Hessian(damping=1.0), reduction="sum")
    y = prediction.clone().requires_grad_()
    (first(y, target) + 0.25 * second(y, target) + y.sum()).backward()
    expected = gradient(first, prediction, target)[0] + 0.25 * gradient(second, prediction, target)[0] + 1
    torch.testing.assert_close(y.grad, expected, rtol=1e-14, atol=0)


def test_accumulated_gradients_are_the_sum_of_the_steps():
    prediction, target = data(6)
    criterion = NewtonLoss(Wavy(), Hessian(damping=Relative(0.1)))
    model = nn.Linear(4, 4, dtype=torch.float64)
    for part in (slice(0, 3), slice(3, 6)):
        (criterion(model(prediction[part]), target[part]) / 2).backward()
    accumulated = model.weight.grad.clone()
    model.zero_grad()
    for part in (slice(0, 3), slice(3, 6)):
        y = model(prediction[part])
        direction = newton_step(Wavy(), y, target[part], Hessian(damping=Relative(0.1))).direction
        y.backward(direction / 6)
    torch.testing.assert_close(accumulated, model.weight.grad, rtol=1e-13, atol=1e-15)


def test_a_gradient_scaler_takes_the_same_step():
    prediction, target = data(8, dtype=torch.float32)
    model = nn.Linear(4, 4)
    twin = copy.deepcopy(model)
    criterion = NewtonLoss(Wavy(), EmpiricalFisher())
    optimizer, plain = (torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaler.scale(criterion(model(prediction), target)).backward()
    scaler.step(optimizer)
    criterion(twin(prediction), target).backward()
    plain.step()
    assert torch.equal(model.weight, twin.weight)


class Passes(torch.autograd.Function):
    """The identity, counting its backward passes."""

    count = 0

    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, incoming):
        Passes.count += 1
        return incoming


@dataclass(frozen=True)
class CountingPasses(Counting):
    """A loss that counts its backward passes too."""

    @property
    def traits(self):
        return Traits(transforms="autograd")

    def __call__(self, prediction, target, *, generator=None):
        return super().__call__(Passes.apply(prediction), target)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_without_gradients_only_the_value_is_computed(curvature):
    prediction, target = data()
    loss = CountingPasses(Wavy(), [])
    criterion = NewtonLoss(loss, curvature)
    Passes.count = 0
    with torch.no_grad():
        value = criterion(prediction.clone().requires_grad_(), target)
    assert loss.calls == [False]
    assert Passes.count == 0
    assert not value.requires_grad
    assert value == Wavy()(prediction, target).mean()
    value = criterion(prediction, target)
    assert len(loss.calls) == 2
    assert Passes.count == 0
    assert not value.requires_grad
    with torch.inference_mode():
        assert criterion(prediction, target) == value
    gradient(criterion, prediction, target)
    assert Passes.count >= 1, "the counter counts"


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_the_loss_is_called_once_a_step(curvature, backend):
    loss = Counting(Wavy(), [])
    criterion = NewtonLoss(loss, curvature, backend=backend)
    gradient(criterion, *data())  # with the checks of the first use
    loss.calls.clear()
    gradient(criterion, *data())
    assert len(loss.calls) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("curvature", [*CURVATURES, None])
def test_an_empty_batch_gives_zero_with_a_graph(curvature, reduction):
    model = nn.Linear(3, 4)
    y = model(torch.zeros(0, 3))
    y.retain_grad()
    loss = NewtonLoss(Wavy(), curvature, reduction=reduction)(y, torch.zeros(0, 4))
    assert loss.shape == ((0,) if reduction == "none" else ())
    assert loss.sum() == 0
    loss.sum().backward()
    assert y.grad.shape == (0, 4)
    assert torch.equal(model.weight.grad, torch.zeros(4, 3))
    with torch.no_grad():
        assert NewtonLoss(Wavy(), curvature)(y, torch.zeros(0, 4)) == 0


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize(("count", "size"), [(1, 4), (5, 1), (1, 1), (2, 7)])
def test_small_batches_and_sizes(curvature, count, size):
    prediction, target = data(count, size)
    grad, loss = gradient(NewtonLoss(Wavy(), curvature), prediction, target)
    assert grad.shape == prediction.shape
    assert torch.isfinite(grad).all()
    torch.testing.assert_close(loss, Wavy()(prediction, target).mean(), rtol=1e-15, atol=0)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_events_of_two_dimensions(curvature):
    loss = Wavy(Traits(event_ndim=2))
    prediction, target = data(5, event=(2, 2))
    grad, _ = gradient(NewtonLoss(loss, curvature), prediction, target)
    flat, _ = gradient(NewtonLoss(Wavy(), curvature), prediction.flatten(1), target.flatten(1))
    torch.testing.assert_close(grad.flatten(1), flat, rtol=1e-13, atol=0)


@pytest.mark.parametrize("value", ["original", "newton"])
def test_events_of_no_dimension(value):
    def loss(prediction, target):
        return (prediction - target).square() / 2

    prediction, target = data(5, event=())
    criterion = NewtonLoss(loss, Hessian(damping=1.0), value=value)
    grad, _ = gradient(criterion, prediction, target)
    torch.testing.assert_close(grad, (prediction - target) / 10, rtol=1e-14, atol=0)
    assert criterion.stats["singular"] == 0


def layouts(prediction):
    wide = torch.zeros(5, 8, dtype=prediction.dtype)
    wide[:, ::2] = prediction
    return {
        "transposed": prediction.mT.contiguous().mT,
        "strided": wide[:, ::2],
        "reversed": prediction.flip(0).flip(0),
        "offset": torch.cat([prediction[:1], prediction])[1:],
    }


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "offset"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_layout_does_not_matter(curvature, layout):
    prediction, target = data()
    other = layouts(prediction)[layout]
    expected, _ = gradient(NewtonLoss(Wavy(), curvature), prediction, target)
    y = other.detach().requires_grad_()
    NewtonLoss(Wavy(), curvature)(y, layouts(target)[layout]).backward()
    torch.testing.assert_close(y.grad, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_expanded_predictions(curvature):
    prediction, target = data()
    expected, _ = gradient(NewtonLoss(Wavy(), curvature), prediction[:1].repeat(5, 1), target)
    y = prediction[:1].clone().requires_grad_()
    NewtonLoss(Wavy(), curvature)(y.expand(5, 4), target).backward()
    torch.testing.assert_close(y.grad, expected.sum(0, keepdim=True), rtol=1e-13, atol=0)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_inputs_are_not_changed(curvature):
    prediction, target = data()
    weight, mask = torch.rand(5), torch.rand(5, 4) < 0.3
    y = prediction.clone().requires_grad_()
    before = [t.clone() for t in (target, weight, mask)]
    NewtonLoss(Wavy(), curvature)(y, target, weight=weight, mask=mask).backward()
    assert torch.equal(y, prediction)
    assert y.is_leaf
    for now, then in zip((target, weight, mask), before, strict=True):
        assert torch.equal(now, then)


def test_a_swapped_prediction_and_target_are_noticed():
    output, target = data()[0].requires_grad_() * 2, data()[1]
    with pytest.raises(ContractError, match=r"the output of the network first"):
        NewtonLoss(Wavy())(target, output)
    with torch.no_grad():
        NewtonLoss(Wavy())(target, output)


@pytest.mark.filterwarnings("ignore:Wavy. the target or the context asks for a gradient:nlcore.errors.NumericalWarning")
def test_the_target_may_carry_a_graph_and_gets_no_gradient():
    prediction, target = data()
    t = target.clone().requires_grad_()
    expected, _ = gradient(NewtonLoss(Wavy(), EmpiricalFisher()), prediction, target)
    for backend in ("func", "autograd"):
        for curvature in (EmpiricalFisher(), Hessian(damping=Relative(0.1))):
            y = prediction.clone().requires_grad_()
            NewtonLoss(Wavy(), curvature, backend=backend)(y, t).backward()
            assert t.grad is None
    y = prediction.clone().requires_grad_()
    NewtonLoss(Wavy(), EmpiricalFisher())(y, t).backward()
    assert torch.equal(y.grad, expected)


def test_the_network_behind_receives_the_step():
    torch.manual_seed(0)
    x, target = data(5, 3)[0], data()[1]
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    NewtonLoss(Wavy(), Hessian(damping=Relative(0.1)))(model(x), target).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    y = model(x)
    step = newton_step(Wavy(), y, target, Hessian(damping=Relative(0.1)))
    ((y - step.target).square().sum() / 10).backward()
    for f, p in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(f, p.grad, rtol=1e-12, atol=1e-15)


def nested(prediction, target):
    """A loss of a nested target."""
    first, rest = target["first"], target["rest"]
    return ((prediction - first).square() * rest[0] + prediction * rest[1][0]).sum(1)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_nested_targets(curvature):
    prediction, first = data()
    scale, shift = data(seed=5)
    scale = scale.square() + 1
    found, _ = gradient(NewtonLoss(nested, curvature), prediction, {"first": first, "rest": (scale, [shift, 3])})

    def flat(y, t):
        return ((y - t[..., 0]).square() * t[..., 1] + y * t[..., 2]).sum(1)

    expected, _ = gradient(NewtonLoss(flat, curvature), prediction, torch.stack([first, scale, shift], -1))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions(dtype, curvature):
    prediction, target = data(dtype=dtype)
    grad, loss = gradient(NewtonLoss(Wavy(), curvature, reduction="sum"), prediction, target)
    assert grad.dtype == dtype
    assert loss.dtype == torch.float32
    expected, value = gradient(NewtonLoss(Wavy(), curvature, reduction="sum"), prediction.float(), target)
    assert torch.equal(grad, expected.to(dtype)), "only the result is rounded"
    torch.testing.assert_close(loss, value, rtol=1e-6, atol=0)
    with torch.no_grad():
        plain = NewtonLoss(Wavy(), curvature, reduction="sum")(prediction, target)
    torch.testing.assert_close(plain, value, rtol=1e-6, atol=0)


def product(prediction, target):
    """A loss with a matrix product, which autocast would take to half precision."""
    return (prediction @ torch.linspace(0.1, 1.3, 16).reshape(4, 4) - target).pow(4).sum(1)


@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian(damping=Relative(0.1))], ids=["fisher", "hessian"])
def test_autocast_stays_out_of_the_step(curvature):
    x, target = data(dtype=torch.float32)
    model = nn.Linear(4, 4)
    criterion = NewtonLoss(product, curvature, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
        y.retain_grad()
        loss = criterion(y, target)
    loss.backward()
    assert y.dtype == y.grad.dtype == torch.bfloat16
    assert model.weight.grad.dtype == torch.float32
    expected, value = gradient(criterion, y.float(), target)
    assert torch.equal(y.grad, expected.bfloat16())
    assert loss == value


def test_autocast_stays_out_of_the_value_without_gradients():
    x, target = data(dtype=torch.float32)
    criterion = NewtonLoss(product, EmpiricalFisher())
    with torch.autocast("cpu", torch.bfloat16):
        training = criterion(x.clone().requires_grad_(), target)
        with torch.no_grad():
            validation = criterion(x, target)
    assert validation == training


@pytest.mark.parametrize("curvature", [*CURVATURES, None])
@pytest.mark.parametrize("used", [False, True])
def test_copies_work_alike(curvature, used):
    prediction, target = data()
    criterion = NewtonLoss(Wavy(), curvature, reduction="sum")
    if used:
        gradient(criterion, prediction, target)
    copies = [copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))]
    expected = gradient(criterion, prediction, target)[0]
    for other in copies:
        assert torch.equal(gradient(other, prediction, target)[0], expected)
        assert other.curvature == criterion.curvature
        assert repr(other) == repr(criterion)


@pytest.mark.parametrize("curvature", [*CURVATURES, None])
def test_state_dict_goes_to_another_module(curvature):
    prediction, target = data()
    criterion = NewtonLoss(Wavy(), curvature)
    gradient(criterion, prediction, target)
    other = NewtonLoss(Wavy(), curvature)
    state = pickle.loads(pickle.dumps(criterion.state_dict()))
    assert other.load_state_dict(state) == ([], [])
    assert torch.equal(gradient(other, prediction, target)[0], gradient(criterion, prediction, target)[0])


def test_a_module_in_a_module():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.criterion = nn.Linear(4, 4), NewtonLoss(nn.MSELoss(reduction="none"), EmpiricalFisher())

    model = Model()
    assert {name for name, _ in model.named_parameters()} == {"net.weight", "net.bias"}
    model.eval().double().train()


def test_a_loss_that_is_a_module():
    loss = nn.CrossEntropyLoss(reduction="none")
    prediction, target = data(5, 4)[0], torch.tensor([0, 1, 2, 3, 0])
    found = gradient(NewtonLoss(loss, Hessian(damping=0.5)), prediction, target)
    expected = gradient(NewtonLoss(CrossEntropy(), Hessian(damping=0.5)), prediction, target)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-14, atol=0)


def test_a_stochastic_loss_reports_the_value_of_the_draw_it_trains_on():
    prediction, target = data()
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def still(y, t):
        return Noisy().with_noise(y, t, noise)

    for curvature in (EmpiricalFisher(), Hessian(damping=0.5)):
        criterion = NewtonLoss(Noisy(), curvature, generator=torch.Generator().manual_seed(7))
        found = gradient(criterion, prediction, target)
        expected = gradient(NewtonLoss(still, curvature), prediction, target)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-13, atol=0)
        assert found[1] == expected[1]


def test_a_stochastic_loss_follows_the_global_seed():
    prediction, target = data()
    criterion = NewtonLoss(Noisy(), EmpiricalFisher())
    torch.manual_seed(1)
    first = gradient(criterion, prediction, target)
    second = gradient(criterion, prediction, target)
    torch.manual_seed(1)
    again = gradient(criterion, prediction, target)
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1] != second[1]
    with torch.no_grad():
        torch.manual_seed(1)
        value = criterion(prediction, target)
        torch.manual_seed(1)
        assert criterion(prediction, target) == value


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (SquaredError(), "Hessian"),
        (AbsoluteError(), "EmpiricalFisher"),
        (SPLIT, "GaussNewton"),
        (Wavy(), "Hessian"),
        (Noisy(), "EmpiricalFisher"),
        (half_square, "EmpiricalFisher"),
    ],
)
def test_the_choice_for_outputs_is_explained_before_and_after_data(loss, kind):
    criterion = NewtonLoss(loss, Auto(aim="outputs"))
    assert criterion.stats == {}
    before = criterion.explain()
    assert f"{kind}(" in before
    assert "because" in before
    gradient(criterion, *(data()[0], data(5, 7)[1]) if loss is SPLIT else data())
    assert criterion.explain() == before
    assert criterion.stats["curvature"] == kind


def test_the_choice_by_probes_is_explained_before_and_after_data():
    criterion = NewtonLoss(Wavy())
    assert "chosen by probes of the network once it trains; until then the gradient." in criterion.explain()
    prediction, target = data()
    for _ in range(3):
        gradient(criterion, prediction, target)
    assert "probes of 7 directions on the network" in criterion.explain()
    assert repr(criterion.curvature) == "Auto(aim='loss')"
    assert criterion.stats["probes"] == 1


def test_the_choice_for_many_outputs_is_a_fisher():
    prediction, target = data(2, 300)
    criterion = NewtonLoss(SquaredError(), Auto(aim="outputs"))
    gradient(criterion, prediction, target)
    assert criterion.stats["curvature"] == "EmpiricalFisher"
    assert "EmpiricalFisher(" in criterion.explain()
    assert "Hessian(" in NewtonLoss(SquaredError(), Auto(aim="outputs")).explain()


def test_the_reason_for_many_outputs_names_their_number():
    criterion = NewtonLoss(SquaredError(), Auto(aim="outputs"))
    gradient(criterion, *data(2, 300))
    assert "300" in criterion.explain()


def test_a_given_curvature_is_explained_as_given():
    assert "as given, with damping=Relative(" in NewtonLoss(Wavy(), EmpiricalFisher()).explain()
    assert "damping=0.5" in repr(NewtonLoss(Wavy(), EmpiricalFisher(damping=0.5)))


def test_statistics_are_flat_numbers():
    prediction, target = data()
    criterion = NewtonLoss(Wavy(), Hessian(damping=0.05, psd="none"))
    gradient(criterion, prediction, target)
    step = newton_step(Wavy(), prediction, target, Hessian(damping=0.05, psd="none"))
    stats = criterion.stats
    assert all(isinstance(v, (float, int, str)) for v in stats.values())
    cosine = torch.nn.functional.cosine_similarity(step.gradient, step.direction).mean()
    assert stats["cosine"] == pytest.approx(float(cosine), rel=1e-12)
    assert stats["step"] == pytest.approx(float(step.direction.square().mean().sqrt()), rel=1e-12)
    assert (stats["indefinite"], stats["singular"], stats["nonfinite"]) == (5, 0, 0)


@pytest.mark.parametrize("solver", ["cholesky", "eigen"])
def test_the_condition_is_near_the_true_one(solver):
    prediction, target = data()
    step = newton_step(half_square, prediction, target, Hessian(damping=0.5, solver=solver))
    assert step.stats["condition"] == pytest.approx(1.0)
    values = torch.tensor([1.0, 1e2, 1e4, 1e6], dtype=torch.float64)

    def loss(y, t):
        return ((y - t).square() * values).sum(1) / 2

    step = newton_step(loss, prediction, target, Hessian(damping=1.0, solver=solver))
    assert step.stats["condition"] == pytest.approx(1e6 / 2, rel=0.01)


def test_gauss_newton_through_the_module():
    prediction, target = data()[0], data(5, 7)[1]
    for curvature in (GaussNewton(damping=0.5), GaussNewton(damping=0.5, aggregate="sample")):
        grad, loss = gradient(NewtonLoss(SPLIT, curvature), prediction, target)
        step = newton_step(SPLIT, prediction, target, curvature)
        torch.testing.assert_close(grad, step.direction / 5, rtol=1e-14, atol=0)
        torch.testing.assert_close(loss, SPLIT(prediction, target).mean(), rtol=1e-14, atol=0)


def test_an_error_of_torch_in_the_loss_says_whose_it_is():
    def shrinks(prediction, target):
        return prediction.mul_(0.5).sub(target).square().sum(-1)

    prediction = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place") as caught:
        NewtonLoss(shrinks, EmpiricalFisher())(prediction, torch.zeros(2, 3))
    assert any("shrinks" in note and "nlcore check" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("made_in_inference", [True, False])
def test_an_evaluation_of_the_step_leaves_nothing_behind(made_in_inference):
    prediction, target = data()
    criterion = NewtonLoss(Wavy(), Hessian(damping=Bounded()), value="newton")
    gradient(criterion, prediction, target)
    before, state = criterion.last_step, criterion.state_dict()
    leaf = prediction.clone().requires_grad_()
    with torch.inference_mode():
        copied = target.clone()
        inside = criterion(leaf, target)
    with torch.no_grad():
        value = criterion(leaf, copied if made_in_inference else target)
    assert not value.requires_grad
    assert torch.equal(value, inside)
    assert criterion.last_step is before
    assert all(torch.equal(one, state[name]) for name, one in criterion.state_dict().items())


def test_an_evaluation_falls_back_where_training_does():
    prediction, target = data()
    weight = torch.ones(len(prediction))
    weight[1] = -1.0
    criterion = NewtonLoss(Wavy(), EmpiricalFisher(), on_failure="fallback")
    with pytest.warns(NumericalWarning, match="negative or not finite"):
        _, trained = gradient(criterion, prediction, target, weight=weight)
    with torch.no_grad():
        assert criterion(prediction, target, weight=weight) == trained


def test_the_product_with_a_jacobian_is_checked_once():
    class Squared(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            ctx.save_for_backward(y)
            return y.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, incoming):
            return 2 * ctx.saved_tensors[0] * incoming

    torch.manual_seed(0)
    spread, net = torch.randn(2, 10), nn.Linear(3, 2)
    criterion = NewtonLoss(compose(lambda y: Squared.apply(y) @ spread))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            criterion(net(torch.randn(8, 3)), torch.randn(8, 10)).backward()
    assert sum("product of the Jacobian" in str(one.message) for one in caught) in (1, 2)  # of a probe, of the steps


def test_a_step_without_a_jacobian_remembers_that_it_was_checked():
    prediction, target = data()
    known = Memory(checks=ENOUGH, jvp_sound=False)
    step, _ = take_step(
        read_capabilities(Wavy()), prediction, target, EmpiricalFisher(power=0.0), memory=known, ranks=None
    )
    assert step.memory.jvp_sound is False
