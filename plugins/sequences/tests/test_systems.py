"""The example systems against closed forms, conserved quantities and the orders of their integrators."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore_sequences import Rollout, System, runge_kutta, semi_implicit_euler
from nlcore_sequences.config import SystemName
from nlcore_sequences.systems import SYSTEMS

EVERY = sorted(SYSTEMS)


def double(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def states(name: str, steps: int, dt: float, initial: Tensor, parameters: Tensor) -> Tensor:
    """Return the states of a system without controls, [1, T, d]."""
    loss = Rollout(name, predicts="parameters", steps=steps, dt=dt)
    return loss.trajectory(parameters, context={"initial": initial})


def test_the_configuration_names_the_systems() -> None:
    assert sorted(get_args(SystemName)) == EVERY


@pytest.mark.parametrize("name", EVERY)
def test_every_system_says_its_equation(name: str) -> None:
    step = SYSTEMS[name].step
    change = getattr(step, "change", None) or step.acceleration  # type: ignore[attr-defined]
    assert "Return the" in change.__doc__ and ("″ =" in change.__doc__ or "′ =" in change.__doc__)


@pytest.mark.parametrize("name", EVERY)
def test_no_control_is_a_control_of_zero(name: str) -> None:
    system = SYSTEMS[name]
    state, parameters = (torch.tensor([one], dtype=torch.float64) for one in (system.initial, system.parameters))
    zero = torch.zeros(1, dtype=torch.float64)
    without, with_zero = (system(state, control, parameters, dt=0.1) for control in (None, zero))
    torch.testing.assert_close(without, with_zero, rtol=1e-14, atol=0)
    torch.testing.assert_close(without, system(state, zero[:, None], parameters, dt=torch.tensor([0.1]).double()))


def test_a_double_integrator_is_its_matrix() -> None:
    dt, mass, steps = 0.3, 2.0, 7
    force = torch.randn(4, steps, dtype=torch.float64)
    loss = Rollout("double_integrator", observe=(0,), dt=dt)
    context = {"initial": torch.zeros(4, 2, dtype=torch.float64), "parameters": torch.full((4, 1), mass).double()}
    later = torch.arange(steps)
    matrix = dt**2 / mass * (later[:, None] - later + 1).clamp(min=0).double()
    torch.testing.assert_close(loss.inner(force, context=context)[..., 0], force @ matrix.T, rtol=1e-12, atol=1e-12)


def test_quadratic_drag_slows_as_its_closed_form() -> None:
    """Without a push the speed is v₀/(1 + c·v₀·t)."""
    found = states("drag", 2000, 5e-4, double(0.0, 3.0), double(0.5))[0, -1]
    assert float(found[1]) == pytest.approx(3.0 / (1 + 0.5 * 3.0), rel=1e-3)
    assert float(found[0]) == pytest.approx(math.log(1 + 0.5 * 3.0) / 0.5, rel=1e-3)


def pendulum_energy(path: Tensor) -> Tensor:
    return path[..., 1].square() / 2 - 4.0 * path[..., 0].cos()


def test_the_energy_of_an_undamped_pendulum_does_not_drift() -> None:
    path = states("pendulum", 3000, 0.02, double(1.0, 0.0), double(2.0, 0.0))
    energy = pendulum_energy(path)[0]  # it oscillates by O(dt), about 20 periods long
    assert float(energy.max() - energy.min()) < 0.15
    assert float((energy[:750].mean() - energy[-750:].mean()).abs()) < 3e-3


def test_a_damped_pendulum_loses_energy() -> None:
    energy = pendulum_energy(states("pendulum", 1000, 0.02, double(1.0, 0.0), double(2.0, 0.3)))[0]
    assert float(energy[-1]) < -3.9 < -2.2 < float(energy[0])


def test_small_swings_have_the_period_of_a_spring() -> None:
    path = states("pendulum", 1571, 2e-3, double(1e-3, 0.0), double(2.0, 0.0))
    assert float(path[0, -1, 0]) == pytest.approx(1e-3, rel=1e-3)  # after 2π/ω = 3.1416 s


def test_lotka_and_volterra_keep_their_invariant() -> None:
    alpha, beta, delta, gamma = 0.5, 0.03, 0.02, 0.8
    path = states("lotka_volterra", 100, 0.25, double(30.0, 4.0), double(alpha, beta, delta, gamma))[0]
    prey, predators = path.unbind(1)
    kept = delta * prey - gamma * prey.log() + beta * predators - alpha * predators.log()
    assert float(kept.max() - kept.min()) < 1e-4
    assert float(prey.max()) > 1.5 * float(prey.min())  # it is not at rest


def test_free_oscillators_keep_their_energy() -> None:
    path = states("coupled_oscillators", 500, 0.04, double(0.5, -0.5, 0.2, 0.0), double(1.0, 3.0))[0]
    first, second, first_speed, second_speed = path.unbind(1)
    squares = first**2 + second**2 + first_speed**2 + second_speed**2
    energy = squares / 2 + (second - first) ** 4 / 4
    assert float(energy.max() - energy.min()) < 1e-5


@pytest.mark.parametrize(("name", "order"), [("runge_kutta", 4), ("semi_implicit_euler", 1)])
def test_integrators_have_their_order(name: str, order: int) -> None:
    """Halving the step of x″ = −x divides the error by 2^order; the substeps of `runge_kutta` do the same."""
    spring = runge_kutta(lambda state, control, parameters: torch.cat([state[:, 1:], -state[:, :1]], 1))
    euler = semi_implicit_euler(lambda position, speed, control, parameters: -position)

    def error(count: int) -> float:
        state = double(1.0, 0.0)
        for _ in range(count):
            step = spring if name == "runge_kutta" else euler
            state = step(state, None, double(), dt=2.0 / count)
        return float((state - double(math.cos(2.0), -math.sin(2.0))).norm())

    assert math.log2(error(20) / error(40)) == pytest.approx(order, abs=0.1)
    if name == "runge_kutta":
        state, fine = double(1.0, 0.0), runge_kutta(spring.change, substeps=5)
        for _ in range(4):
            state = fine(state, None, double(), dt=0.5)
        assert float((state - double(math.cos(2.0), -math.sin(2.0))).norm()) == pytest.approx(error(20), rel=1e-9)


def test_the_systems_give_the_numbers_of_the_benchmark() -> None:
    bench = pytest.importorskip("nlcore_bench.physics")
    simulators = pytest.importorskip("nlcore_bench.simulators")
    controls = torch.randn(5, 9, dtype=torch.float64)
    start = {"initial": torch.randn(5, 4, dtype=torch.float64)}
    last = Rollout("coupled_oscillators", supervise="last").inner(controls, context=start)
    torch.testing.assert_close(last, bench.nonlinear_oscillators(controls, start["initial"]), rtol=1e-13, atol=1e-13)
    places = Rollout("drag", observe=(0,)).inner(controls)[..., 0]
    torch.testing.assert_close(places, simulators.driven(controls, 0.5, 0.3), rtol=0, atol=0)
    outputs = torch.randn(5, 4, dtype=torch.float64)
    frequency, damping = outputs[:, :2].exp().log1p().unbind(1)
    swinging = Rollout("pendulum", predicts="parameters", initial_size=2, observe=(0,), steps=9)
    prediction = torch.stack([frequency + 0.5, 0.3 * damping, *outputs[:, 2:].unbind(1)], 1)
    torch.testing.assert_close(swinging.inner(prediction)[..., 0], bench.pendulum(outputs, 9), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_every_system_can_be_identified(name: str) -> None:
    """A Gauss–Newton loss recovers the parameters of each system from its states, from 20 % off."""
    system = SYSTEMS[name]
    loss = Rollout(name, predicts="parameters", constrain=("exponential",) * len(system.parameters or ()))
    truth = torch.tensor([system.parameters], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    context = {"controls": 0.2 * torch.randn(1, 30, generator=generator, dtype=torch.float64)}
    target = loss.inner(loss.unconstrained(truth), context=context)
    guess = loss.unconstrained(1.2 * truth)
    for _ in range(8):
        step = nlcore.newton_step(loss, guess, target, nlcore.GaussNewton(damping=1e-9), context=context)
        guess = guess - step.direction
    torch.testing.assert_close(loss.constrained(guess), truth, rtol=1e-6, atol=1e-8)


def test_a_system_is_a_step_function_with_defaults() -> None:
    system = System(lambda state, control, parameters: state * parameters, (1.0, 2.0), (0.5,))
    assert torch.equal(system(torch.ones(1, 2), None, torch.tensor([[0.5]])), torch.full((1, 2), 0.5))
    loss = Rollout(system, predicts="parameters", steps=3, supervise="last")
    torch.testing.assert_close(loss.inner(torch.tensor([[0.5]])), torch.tensor([[0.125, 0.25]]))
