"""The rollout against closed forms, differences, trimmed sequences and the path without checkpoints."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError
from nlcore.testing import check_algorithm
from nlcore_sequences import Rollout, System, semi_implicit_euler
from nlcore_sequences import systems as equations

STEP = semi_implicit_euler(equations.pendulum)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def derivatives(loss: Any, prediction: Tensor, target: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, gradient and the product of the Hessian with the direction of ones."""
    y = prediction.detach().clone().requires_grad_()
    value = loss(y, target, **options)
    (gradient,) = torch.autograd.grad(value.sum(), y, create_graph=True)
    (product,) = torch.autograd.grad(gradient.sum(), y)
    return value.detach(), gradient.detach(), product


def jacobian(loss: Rollout, prediction: Tensor, **options: Any) -> Tensor:
    """Return the Jacobian of the observations of each sample, [batch, F, m]."""
    found = torch.func.jacrev(lambda y: loss.inner(y, **options).sum(0).flatten())(prediction)
    return found.flatten(2).transpose(0, 1)


# Closed forms


def test_a_linear_system_is_its_matrix_powers() -> None:
    matrix, inflow = random(3, 3, seed=1) / 3, random(3, 2, seed=2)

    def step(state: Tensor, control: Tensor, parameters: Tensor) -> Tensor:
        return state @ matrix.T + control @ inflow.T

    loss = Rollout(step, channels=2)
    controls, start = random(4, 6, 2), random(4, 3, seed=3)
    found = loss.trajectory(controls, context={"initial": start})
    for t in range(6):
        powers = [torch.linalg.matrix_power(matrix, t - k) @ inflow for k in range(t + 1)]
        wanted = start @ torch.linalg.matrix_power(matrix, t + 1).T
        wanted = wanted + sum(controls[:, k] @ powers[k].T for k in range(t + 1))
        torch.testing.assert_close(found[:, t], wanted, rtol=1e-12, atol=1e-12)
    rows = jacobian(loss, controls, context={"initial": start})
    torch.testing.assert_close(rows[0, -3:, :2], torch.linalg.matrix_power(matrix, 5) @ inflow)
    assert torch.equal(rows[0, :3, 2:], torch.zeros(3, 10, dtype=torch.float64))  # the future has no influence


def test_value_is_half_the_squared_distance() -> None:
    loss = Rollout("drag", observe=(0,))
    controls, target = random(3, 5), random(3, 5, 1, seed=1)
    path = loss.trajectory(controls)[..., :1]
    torch.testing.assert_close(loss(controls, target), (path - target).square().flatten(1).sum(1) / 2)
    last = Rollout("drag", observe=lambda state: state.norm(dim=1), supervise="last")
    torch.testing.assert_close(last.inner(controls), loss.trajectory(controls)[:, -1].norm(dim=1))


def test_the_prediction_is_controls_parameters_or_initial_state() -> None:
    controls, parameters, initial = random(4, 7), 1 + random(4, 2).abs(), random(4, 2, seed=4)
    given = {"controls": controls, "parameters": parameters, "initial": initial}
    found = []
    for name, prediction in given.items():
        context = {key: one for key, one in given.items() if key != name}
        found.append(Rollout("pendulum", predicts=name).inner(prediction, context=context))
    both = Rollout("pendulum", predicts="parameters", initial_size=2)
    found.append(both.inner(torch.cat([parameters, initial], 1), context={"controls": controls}))
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_time_step_of_each_sample_is_that_sample_alone() -> None:
    initial, dt = random(3, 2), torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64)
    loss = Rollout("pendulum", predicts="initial", steps=5)
    together = loss.inner(initial, context={"step": dt})
    assert torch.equal(together, loss.inner(initial, context={"dt": dt}))
    for row in range(3):
        alone = Rollout("pendulum", predicts="initial", steps=5, dt=float(dt[row]))
        torch.testing.assert_close(together[row], alone.inner(initial[row : row + 1])[0])


def test_a_step_function_reads_what_else_it_needs_from_the_context() -> None:
    def step(state: Tensor, control: Tensor, parameters: None, *, wind: Tensor, scale: Tensor | None = None) -> Tensor:
        return state + (control + wind).unsqueeze(1) * (1.0 if scale is None else scale.unsqueeze(1))

    context = {"initial": torch.zeros(2, 1), "wind": torch.tensor([1.0, 2.0])}
    found = Rollout(step).inner(torch.zeros(2, 3), context=context)
    assert found[..., 0].tolist() == [[1, 2, 3], [2, 4, 6]]
    found = Rollout(step).inner(torch.zeros(2, 3), context={**context, "scale": torch.tensor([2.0, 0.0])})
    assert found[..., 0].tolist() == [[2, 4, 6], [0, 0, 0]]


# Derivatives


@pytest.mark.parametrize("name", ["controls", "parameters", "initial"])
def test_gradients_equal_central_differences(name: str) -> None:
    loss = Rollout("pendulum", predicts=name, constrain=("positive", (0.0, 1.0)) if name == "parameters" else ())
    prediction, target = loss.example(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    context = loss.example_context(3, generator=None, dtype=torch.float64, device="cpu")
    _, gradient, product = derivatives(loss, prediction, target, context=context)
    for column in range(prediction.shape[1]):
        along = torch.zeros_like(prediction)
        along[:, column] = 1e-5
        up, down = (loss(prediction + sign * along, target, context=context) for sign in (1, -1))
        torch.testing.assert_close((up - down) / 2e-5, gradient[:, column], rtol=1e-6, atol=1e-8)
    up, down = (derivatives(loss, prediction + sign * 1e-5, target, context=context)[1] for sign in (1, -1))
    torch.testing.assert_close((up - down) / 2e-5, product, rtol=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda y: loss(y, target, context=context), prediction.requires_grad_())


CURVATURES = {
    "rows": nlcore.GaussNewton(damping=0.1),
    "each": nlcore.GaussNewton(damping=0.1, aggregate="sample", max_ratio=None),
    "products": nlcore.GaussNewton(damping=0.1, solver="cg"),
    "hessian": nlcore.Hessian(damping=0.1),
    "fisher": nlcore.EmpiricalFisher(damping=0.1),
}


@pytest.mark.parametrize("name", ["controls", "parameters", "initial"])
@pytest.mark.parametrize("segment", [1, 7, 17, 18])
def test_checkpoints_change_nothing(name: str, segment: int) -> None:
    options: dict[str, Any] = {"predicts": name, "steps": 18}
    options["constrain"] = ("positive", "positive") if name == "parameters" else ()
    plain, kept = (Rollout("pendulum", checkpoint=one, **options) for one in (None, segment))
    made: dict[str, Any] = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64, "device": "cpu"}
    prediction, target = plain.example(4, **made)
    context = {**plain.example_context(4, **made), "dt": 0.1 + 0.02 * random(4).tanh()}
    context["length"] = torch.tensor([18, 13, 7, 1])
    one, other = (derivatives(loss, prediction, target, context=context) for loss in (plain, kept))
    assert torch.equal(one[0], other[0])
    for found, wanted in zip(other[1:], one[1:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    for curvature in CURVATURES.values():
        one, other = (
            nlcore.newton_step(loss, prediction, target, curvature, context=context).direction for loss in (plain, kept)
        )
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


def test_checkpoints_reach_the_parameters_of_the_step_and_tensors_of_the_context() -> None:
    weight = torch.nn.Parameter(random(2, 2) / 2)

    def step(state: Tensor, control: Tensor, parameters: None, *, wind: Tensor) -> Tensor:
        return (state @ weight + control.unsqueeze(1) + wind.unsqueeze(1)).tanh()

    found = []
    for checkpoint in (None, 3):
        wind, controls = random(2).requires_grad_(), random(2, 10).requires_grad_()
        context = {"initial": torch.zeros(2, 2, dtype=torch.float64), "wind": wind}
        value = Rollout(step, checkpoint=checkpoint)(controls, random(2, 10, 2), context=context).sum()
        found.append(torch.autograd.grad(value, (weight, wind, controls)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
        assert bool(one.any())


def test_under_torch_func_there_are_no_checkpoints() -> None:
    loss = Rollout("drag", checkpoint=2)
    controls, target = random(3, 8), random(3, 8, 2, seed=1)
    wanted = derivatives(loss, controls, target)[1]
    torch.testing.assert_close(torch.func.grad(lambda y: loss(y, target).sum())(controls), wanted)


def test_it_compiles_whole() -> None:
    loss = Rollout("drag", constrain=((-2.0, 2.0),))
    controls, target = random(3, 6), random(3, 6, 2, seed=1)
    context = {"initial": random(3, 2, seed=2), "length": torch.tensor([6, 3, 1])}
    compiled = torch.compile(lambda y: loss(y, target, context=context), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(controls), loss(controls, target, context=context))


def test_gauss_newton_is_the_matrix_of_the_jacobian() -> None:
    loss = Rollout("pendulum", predicts="parameters", steps=30, observe=(0,))
    prediction = torch.tensor([[2.0, 0.3], [1.5, 0.1]], dtype=torch.float64)
    target = random(2, 30, 1)
    rows = jacobian(loss, prediction)
    gradient = derivatives(loss, prediction, target)[1]
    wanted = torch.linalg.solve(rows.mT @ rows + 0.1 * torch.eye(2, dtype=torch.float64), gradient.unsqueeze(2))
    curvature = nlcore.GaussNewton(damping=0.1, aggregate="sample", max_ratio=None)
    found = nlcore.newton_step(loss, prediction, target, curvature).direction
    torch.testing.assert_close(found, wanted.squeeze(2), rtol=1e-9, atol=1e-9)


def numbers_kept(loss: Rollout, controls: Tensor, target: Tensor) -> int:
    """Return how many numbers a forward pass keeps for its backward pass, besides the controls."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(controls, target)
    kept.pop(controls.untyped_storage().data_ptr(), None)
    assert value.requires_grad
    return sum(kept.values())


def test_a_long_rollout_keeps_few_states() -> None:
    """At most 3·√T states before the backward pass, which adds the graph of one segment; without checkpoints 2·T."""
    steps, state = 10_000, 3 * 2
    controls, target = random(3, steps).requires_grad_(), torch.zeros(3, 2, dtype=torch.float64)
    options: dict[str, Any] = {"supervise": "last", "dt": 0.01}
    assert numbers_kept(Rollout("drag", **options), controls, target) <= 3 * steps**0.5 * state
    assert numbers_kept(Rollout("drag", checkpoint=None, **options), controls, target) >= 2 * steps * state
    with_path = Rollout("drag", dt=0.01)  # of a supervised trajectory the observations, a few times the target
    assert numbers_kept(with_path, controls, torch.zeros(3, steps, 2).double()) <= (3 * steps**0.5 + 4 * steps) * state


def test_the_gradient_of_a_long_rollout_is_that_without_checkpoints() -> None:
    controls, target, found = 0.1 * random(2, 1000), torch.zeros(2, 1000, 2, dtype=torch.float64), []
    for checkpoint in ("auto", None):
        y = controls.clone().requires_grad_()
        value = Rollout("drag", dt=0.01, checkpoint=checkpoint)(y, target).sum()
        found.append((value.detach(), torch.autograd.grad(value, y)[0]))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=1e-12)


# Masks and lengths


@pytest.mark.parametrize("supervise", ["trajectory", "last"])
@pytest.mark.parametrize("garbage", [1e3, torch.nan, -torch.inf])
def test_padded_controls_are_those_of_the_trimmed_sequence(supervise: Any, garbage: float) -> None:
    loss = Rollout("pendulum", channels=1, supervise=supervise)
    controls, start = random(3, 9, 1), random(3, 2, seed=2)
    mask = torch.zeros(3, 9, 1, dtype=torch.bool)
    mask[0, 6:] = mask[1, [0, 3, 4]] = mask[2, 1:] = True
    target = random(3, 9, 2, seed=3) if supervise == "trajectory" else random(3, 2, seed=3)
    padded = target.masked_fill(mask, garbage) if supervise == "trajectory" else target
    found = derivatives(loss, controls.masked_fill(mask, garbage), padded, mask=mask, context={"initial": start})
    for row in range(3):
        keep = ~mask[row, :, 0]
        own = target[row, keep] if supervise == "trajectory" else target[row]
        alone = derivatives(loss, controls[row, keep][None], own[None], context={"initial": start[row][None]})
        torch.testing.assert_close(found[0][row], alone[0][0])
        for one, other in zip(found[1:], alone[1:], strict=True):
            torch.testing.assert_close(one[row, keep], other[0])
            assert not one[row, ~keep].any()


@pytest.mark.parametrize("supervise", ["trajectory", "last"])
def test_lengths_are_those_of_the_trimmed_sequence(supervise: Any) -> None:
    loss = Rollout("pendulum", predicts="parameters", constrain=("positive", "positive"), supervise=supervise)
    prediction, controls, start = random(3, 2), random(3, 9), random(3, 2, seed=2)
    length = torch.tensor([9, 4, 1])
    late = torch.arange(9) >= length[:, None]
    target = random(3, 9, 2, seed=3) if supervise == "trajectory" else random(3, 2, seed=3)
    garbage = target.masked_fill(late[..., None], torch.nan) if supervise == "trajectory" else target
    context = {"controls": controls.masked_fill(late, torch.inf), "initial": start, "length": length}
    found = derivatives(loss, prediction, garbage, context=context)
    step = nlcore.newton_step(loss, prediction, garbage, CURVATURES["each"], context=context)
    for row, count in enumerate(length.tolist()):
        own = target[row : row + 1, :count] if supervise == "trajectory" else target[row : row + 1]
        alone = {"controls": controls[row : row + 1, :count], "initial": start[row : row + 1]}
        one = prediction[row : row + 1]
        for wanted, many in zip(derivatives(loss, one, own, context=alone), found, strict=True):
            torch.testing.assert_close(many[row : row + 1], wanted)
        direction = nlcore.newton_step(loss, one, own, CURVATURES["each"], context=alone).direction
        torch.testing.assert_close(step.direction[row], direction[0], rtol=1e-6, atol=1e-8)


def test_a_sample_without_steps_is_worth_nothing() -> None:
    for supervise in ("trajectory", "last"):
        loss = Rollout("drag", supervise=supervise)
        mask = torch.tensor([[False] * 4, [True] * 4])
        target = random(2, 4, 2) if supervise == "trajectory" else random(2, 2)
        value, gradient, _ = derivatives(loss, random(2, 4), target, mask=mask)
        assert value[1] == 0 < value[0]
        assert not gradient[1].any()


def test_a_criterion_with_a_mask_sees_what_does_not_count() -> None:
    seen = []

    def absolute(features: Tensor, target: Tensor, *, mask: Tensor) -> Tensor:
        seen.append(mask)
        return (features - target).abs().masked_fill(mask, 0.0).flatten(1).sum(1)

    loss = Rollout("drag", criterion=absolute, observe=(0,))
    assert loss.traits.takes_mask
    loss(random(2, 4), torch.zeros(2, 4, 1), context={"length": torch.tensor([4, 2])})
    assert seen[0][..., 0].tolist() == [[False] * 4, [False, False, True, True]]
    blind = Rollout("drag", criterion=lambda features, target: (features - target).abs().flatten(1).sum(1))
    assert not blind.traits.takes_mask
    with pytest.raises(ContractError, match=r"'length'.*parameter `mask`"):
        blind(random(2, 4), torch.zeros(2, 4, 2), context={"length": torch.tensor([4, 2])})


# Constraints


def test_constraints_are_their_ranges_and_their_inverses() -> None:
    loss = Rollout("lotka_volterra", predicts="parameters", constrain=("positive", "exponential", (-1.0, 3.0), None))
    outputs = 3 * random(50, 4)
    values = loss.constrained(outputs)
    assert bool((values[:, :2] > 0).all()) and bool((values[:, 2] - 1).abs().max() < 2)
    torch.testing.assert_close(values[:, 0], torch.nn.functional.softplus(outputs[:, 0]))
    torch.testing.assert_close(loss.unconstrained(values), outputs)
    assert torch.equal(values[:, 3], outputs[:, 3])
    with pytest.raises(ContractError, match=r"between -1 and -1.*'positive' allows only what is inside \(0, inf\)"):
        loss.unconstrained(torch.tensor([[-1.0, 1.0, 1.0, 1.0]]))
    with pytest.raises(ShapeError, match=r"constrain has 4 entries.*need 3"):
        loss.constrained(outputs[:, :3])


def test_constrained_controls() -> None:
    loss = Rollout("drag", constrain=((0.0, 1.0),))
    free = Rollout("drag")
    outputs = random(2, 5)
    torch.testing.assert_close(loss.inner(outputs), free.inner(outputs.sigmoid()))
    two = Rollout(STEP, channels=1, constrain=("positive",), dt=0.1)
    context = {"initial": random(2, 2), "parameters": torch.ones(2, 2)}
    assert two.inner(outputs.unsqueeze(2), context=context).shape == (2, 5, 2)


# Messages


def exploding(state: Tensor, control: Tensor, parameters: Tensor) -> Tensor:
    return state.square() * control.unsqueeze(1)


def test_an_unstable_rollout_says_where() -> None:
    controls = torch.full((4, 12), 0.5)
    controls[2, 3:] = 40.0
    context, target = {"initial": torch.full((4, 1), 1.5)}, torch.zeros(4, 12, 1)
    loss = Rollout(exploding)
    with pytest.raises(NonFiniteError) as caught:
        loss(controls.requires_grad_(), target, context=context)
    assert caught.value.samples == (2,)
    text = str(caught.value)
    assert "1 of 4 samples, 2: the state of sample 2 leaves the finite numbers in step" in text
    assert "of 12, from a state of norm" in text and "smaller time step" in text
    with torch.no_grad():
        values = loss(controls, target, context=context)
    assert values.isfinite().tolist() == [True, True, False, True]
    quiet = Rollout(exploding, on_unstable="nan")
    criterion = nlcore.NewtonLoss(quiet, nlcore.GaussNewton(), on_failure="fallback")
    criterion(controls, target, context=context).backward()
    assert bool(controls.grad.isfinite().all()) and not controls.grad[2].any()  # type: ignore[union-attr]
    with pytest.raises(NonFiniteError, match="the prediction is NaN or infinite in the samples 1"):
        loss(
            torch.tensor([[1.0], [torch.nan]]).requires_grad_(),
            torch.zeros(2, 1, 1),
            context={"initial": torch.ones(2, 1)},
        )
    roots = Rollout("drag", observe=lambda state: state.log())
    with pytest.raises(NonFiniteError, match="its states are finite, and what is observed of them is not"):
        roots(-torch.ones(2, 3).requires_grad_(), torch.zeros(2, 3, 2))


START = {"initial": torch.zeros(2, 2)}
ONE = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("options", "prediction", "context", "error", "message"),
    [
        ({}, ONE, {"intial": ONE}, ContractError, "'intial' .did you mean 'initial'.*which nothing uses"),
        ({}, ONE, {"controls": ONE}, ContractError, "'controls', which the network predicts"),
        ({}, ONE, [ONE], ContractError, "context is a list, and has to be a dict"),
        ({}, ONE, {"initial": 0.0}, ContractError, r"context\['initial'\] is a float"),
        ({}, ONE, {"initial": torch.zeros(2, 2).long()}, DtypeError, "int64; a state is floating point"),
        ({}, ONE, {"initial": torch.zeros(3, 2)}, ShapeError, r"\[3, 2\], and the prediction \[2, 3\]"),
        ({}, ONE, {"initial": torch.zeros(2, 2, device="meta")}, DeviceError, r"'initial'\] is on meta.*on cpu"),
        ({}, ONE, {"step": torch.ones(3)}, ShapeError, r"context\['step'\] has shape \[3\]"),
        ({}, ONE, {"step": torch.ones(2), "dt": torch.ones(2)}, ContractError, "'step', which nothing uses"),
        ({}, ONE, {"steps": torch.ones(2)}, ContractError, "'steps' .did you mean 'step'"),
        ({"predicts": "parameters", "initial_size": 4}, ONE, {"controls": ONE}, ShapeError, "initial_size=4 numbers"),
        ({}, ONE, {"length": torch.tensor([0, 4])}, ContractError, "is 0, 4 for the samples 0, 1.*from 1 to 3"),
        ({}, ONE, {"length": torch.tensor([1.0, 2.0])}, DtypeError, "int64"),
        ({}, ONE[None], None, ShapeError, r"\[batch, T\].*channels="),
        ({}, ONE.long(), None, DtypeError, "floating"),
        ({"channels": 2}, ONE, None, ShapeError, r"\[batch, T, 2\]"),
        ({"observe": (0, 9)}, ONE, None, ContractError, r"observe=\(0, 9\) names components of a state that has 2"),
        ({"predicts": "parameters"}, ONE[:, :1], None, ContractError, "how many steps.*steps=T"),
        ({"predicts": "parameters", "steps": 4}, ONE[:, :1], {"controls": ONE}, ShapeError, "3 steps, and steps=4"),
        ({"predicts": "parameters"}, ONE[:, :1], {"controls": ONE[0]}, ShapeError, "controls"),
        ({"system": STEP}, ONE, None, ContractError, r"lacks 'initial', 'dt'.*System\(step, initial=…\).*dt=…"),
    ],
)
def test_inputs_that_do_not_fit(
    options: Any, prediction: Tensor, context: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Rollout(**{"system": "drag", **options})(prediction, torch.zeros(2, 3, 2), context=context)


def test_targets_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"target has shape \[2, 3\].*observation \[2, 3, 2\]"):
        Rollout("drag")(ONE, ONE)
    with pytest.raises(DeviceError):
        Rollout("drag")(ONE, torch.zeros(2, 3, 2, device="meta"))


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda s, u, p: s[:, :1], ShapeError, r"returned shape \[2, 1\] for a state of shape \[2, 2\]"),
        (lambda s, u, p: s.double(), DtypeError, "returned torch.float64 for a state of torch.float32"),
        (lambda s, u, p: (s, u), ContractError, "returned a tuple"),
    ],
)
def test_a_step_that_returns_something_else(step: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Rollout(step)(ONE, torch.zeros(2, 3, 2), context=START)


def test_a_step_without_what_it_expects_says_so() -> None:
    loss = Rollout(lambda s, u, p: s + p[:, :1] * u.unsqueeze(1))
    with pytest.raises(TypeError) as caught:
        loss(ONE, torch.zeros(2, 3, 2), context=START)
    assert "the context has no 'parameters', so the step got None" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("context", "shape"), [({"initial": torch.zeros(2, 3)}, "initial [2, 3]"), ({"step": ONE}, "dt [2, 3]")]
)
def test_an_error_in_a_step_has_the_shapes_of_what_the_step_was_given(context: Any, shape: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        Rollout("drag")(ONE, torch.zeros(2, 3, 2), context=context)
    assert shape in caught.value.__notes__[-1]
    assert "controls [2, 3], parameters [2, 1]" in caught.value.__notes__[-1]


@pytest.mark.parametrize("system", equations.SYSTEMS)
@pytest.mark.parametrize("predicts", ["controls", "parameters", "initial"])
def test_every_system_has_an_example_that_is_stable(system: str, predicts: Any) -> None:
    loss, generator = Rollout(system, predicts=predicts), torch.Generator().manual_seed(0)
    prediction, target = loss.example(200, generator=generator, dtype=torch.float64, device="cpu")
    context = loss.example_context(200, generator=generator, dtype=torch.float64, device="cpu")
    values = loss(prediction.requires_grad_(), target, context=context)
    assert values.max() < 1e6


def test_autocast_changes_nothing() -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    loss = Rollout(lambda s, u, p: network(torch.cat([s, u.unsqueeze(1)], 1)), observe=torch.nn.Linear(2, 1))
    prediction, target = torch.randn(2, 3), torch.randn(2, 3, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(prediction, target, context=START)
    assert torch.equal(found, loss(prediction, target, context=START))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "double pendulum"}, "system"),
        ({"predicts": "states"}, "predicts"),
        ({"initial_size": 2}, "initial_size needs predicts='parameters'"),
        ({"predicts": "initial", "channels": 2}, "channels needs predicts='controls'"),
        ({"constrain": ((1.0, 1.0),)}, "low < high"),
        ({"constrain": "positive"}, "constrain"),
        ({"checkpoint": 0}, "checkpoint"),
        ({"steps": len}, "steps"),
    ],
)
def test_options_that_do_not_fit(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rollout(**options)


def test_a_record_of_a_named_system_and_none_of_a_function() -> None:
    loss = nlcore.make("sequences/rollout", system="pendulum", predicts="parameters", constrain=["positive", [0, 1]])
    assert loss == Rollout("pendulum", predicts="parameters", constrain=("positive", (0.0, 1.0)))
    assert nlcore.restore(nlcore.dump(loss)) == loss == pickle.loads(pickle.dumps(loss))
    with pytest.raises(ConfigError, match=r"'system' is .*which JSON cannot hold"):
        nlcore.dump(Rollout(exploding))


def test_a_function_has_an_example_once_it_is_a_system() -> None:
    with pytest.raises(ContractError, match=r"no example.*System\(step, initial=…, parameters=…\)"):
        Rollout(exploding).example(2, generator=None, dtype=torch.float64, device="cpu")
    own = System(STEP, initial=(1.0, 0.0), parameters=(2.0, 0.2), dt=0.1)
    check_algorithm(Rollout(own, predicts="parameters", constrain=("positive", "positive"), steps=8, observe=(0,)))
    check_algorithm(Rollout(own, channels=1, checkpoint=2))


# Training


def test_gauss_newton_identifies_a_pendulum_and_plain_gradients_do_not() -> None:
    """Frequency, damping and initial state of 16 pendulums from noisy angles, by a network."""
    loss = Rollout(
        "pendulum",
        predicts="parameters",
        initial_size=2,
        observe=(0,),
        steps=40,
        constrain=("positive", "positive", None, None),
    )
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(16, 4, generator=generator) * torch.tensor([1.0, 0.2, 1.0, 1.0])
    truth += torch.tensor([1.5, 0.1, 0.5, -0.5])
    target = loss.inner(loss.unconstrained(truth))
    target = target + 0.01 * torch.randn(target.shape, generator=generator)
    errors = {}
    for name, criterion in {
        "plain": lambda y, t: loss(y, t).mean(),
        "outputs": nlcore.NewtonLoss(loss, nlcore.Auto(aim="outputs")),
    }.items():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(40, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(150):
            optimizer.zero_grad()
            criterion(network(target), target).backward()
            optimizer.step()
        found = loss.constrained(network(target).detach())
        errors[name] = float((found - truth)[:, 0].square().mean().sqrt())
    assert errors["outputs"] < 0.7 * errors["plain"], errors


def test_ten_thousand_steps_train() -> None:
    loss = Rollout("pendulum", predicts="parameters", observe=(0,), steps=10_000, dt=0.002, supervise="last")
    criterion = nlcore.NewtonLoss(loss, nlcore.EmpiricalFisher())
    prediction = torch.tensor([[2.0, 0.2]]).requires_grad_()
    value = criterion(prediction, torch.zeros(1, 1))
    value.backward()
    assert bool(prediction.grad.isfinite().all()) and float(value.detach()) > 0  # type: ignore[union-attr]
