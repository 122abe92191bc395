"""Example systems of `Rollout`: their equations, integrators, parameters and initial states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "SYSTEMS",
    "System",
    "coupled_oscillators",
    "double_integrator",
    "drag",
    "lotka_volterra",
    "pendulum",
    "runge_kutta",
    "semi_implicit_euler",
]

Change: TypeAlias = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""`(state, control, parameters) -> derivative of the state with respect to time`, [batch, d]."""

Acceleration: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]
"""`(position, speed, control, parameters) -> acceleration`, [batch, d]."""


@dataclass(frozen=True)
class System:
    """A step function with values for what a context leaves out.

    Attributes:
        step: `(state, control, parameters, *, …) -> state`, as `Rollout` takes it.
        initial: The initial state; with it, and parameters if the step uses them, a `Rollout` has an example.
        parameters: The parameters, in the order of the step function.
        dt: The time step, for a step function with the keyword `dt`.

    Example:
        >>> import torch
        >>> decay = System(lambda state, control, parameters: state * (1 - parameters), (1.0,), (0.5,))
        >>> decay(torch.ones(1, 1), None, torch.tensor([[0.25]]))
        tensor([[0.7500]])
    """

    step: Callable[..., Tensor]
    initial: tuple[float, ...] | None = None
    parameters: tuple[float, ...] | None = None
    dt: float | None = None

    def __call__(self, state: Tensor, control: Tensor | None, parameters: Tensor | None, **named: Any) -> Tensor:
        """Return the state after one step."""
        return self.step(state, control, parameters, **named)


@dataclass(frozen=True)
class _RungeKutta:
    change: Change
    substeps: int

    def __call__(self, state: Tensor, control: Tensor | None, parameters: Tensor, *, dt: Tensor | float) -> Tensor:
        """Return the state after a time `dt`, a number or [batch]."""
        step = _spread(dt, state) / self.substeps
        for _ in range(self.substeps):
            first = self.change(state, control, parameters)
            second = self.change(state + step / 2 * first, control, parameters)
            third = self.change(state + step / 2 * second, control, parameters)
            fourth = self.change(state + step * third, control, parameters)
            state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
        return state


@dataclass(frozen=True)
class _SemiImplicitEuler:
    acceleration: Acceleration

    def __call__(self, state: Tensor, control: Tensor | None, parameters: Tensor, *, dt: Tensor | float) -> Tensor:
        """Return the state after a time `dt`, a number or [batch]."""
        position, speed = state.chunk(2, 1)
        step = _spread(dt, state)
        speed = speed + step * self.acceleration(position, speed, control, parameters)
        return torch.cat([position + step * speed, speed], 1)


def runge_kutta(change: Change, *, substeps: int = 1) -> _RungeKutta:
    """Return a step function by the classical Runge–Kutta method of order 4, with a constant control in each step.

    Args:
        change: `(state, control, parameters) -> derivative of the state`, [batch, d].
        substeps: Equal parts of a time step `dt`; the error falls as their fourth power.

    Example:
        >>> import torch
        >>> decay = runge_kutta(lambda state, control, parameters: -state)
        >>> print(f"{float(decay(torch.ones(1, 1), None, torch.ones(1, 0), dt=1.0)):.3f}")  # e⁻¹ is 0.368
        0.375
    """
    return _RungeKutta(change, substeps)


def semi_implicit_euler(acceleration: Acceleration) -> _SemiImplicitEuler:
    """Return a step function by the semi-implicit Euler rule: first the speeds, then the positions by the new speeds.

    It is of order 1 and symplectic: the energy of a system without friction oscillates and does not drift. One
    evaluation of the acceleration a step, against four of `runge_kutta`.

    Args:
        acceleration: `(position, speed, control, parameters) -> acceleration`, [batch, d] all but control and
            parameters. The state is [batch, 2d], the positions first.
    """
    return _SemiImplicitEuler(acceleration)


def double_integrator(position: Tensor, speed: Tensor, control: Tensor | None, parameters: Tensor) -> Tensor:
    """Return the acceleration x″ = u/m of a body that slides freely.

    Position x in m, control: the force u in N; parameters: the mass m in kg.
    """
    return (torch.zeros_like(position) + _control(control, position)) / parameters


def drag(position: Tensor, speed: Tensor, control: Tensor | None, parameters: Tensor) -> Tensor:
    """Return the acceleration x″ = u − c·x′·|x′| of a body in a fluid, with quadratic drag.

    Position x in m, control: the push u in m/s²; parameters: c in 1/m, half the density of the fluid times the drag
    coefficient and the area of the body, divided by its mass.
    """
    return _control(control, position) - parameters * speed * speed.abs()


def pendulum(position: Tensor, speed: Tensor, control: Tensor | None, parameters: Tensor) -> Tensor:
    """Return the acceleration α″ = u − ω²·sin α − c·α′ of a damped pendulum.

    Angle α in radians, 0 at rest; control: the torque per moment of inertia, u in 1/s²; parameters: the angular
    frequency of small swings ω and the damping c, in 1/s.
    """
    frequency, damping = parameters.chunk(2, 1)
    # One term after the other, as −(ω²·sin α + c·α′), which is how the numbers of the benchmark round.
    return _control(control, position) - (frequency.square() * position.sin() + damping * speed)


def lotka_volterra(state: Tensor, control: Tensor | None, parameters: Tensor) -> Tensor:
    """Return the change x′ = (α + u)·x − β·x·y, y′ = δ·x·y − γ·y of a population of prey x and of predators y.

    Populations in thousands, time in years. Control: a change u of the growth of the prey, in 1/year; parameters: α, β,
    δ, γ, in 1/year, and 1/year per thousand for β and δ. Lotka, *Elements of Physical Biology*, 1925; Volterra,
    *Fluctuations in the Abundance of a Species considered Mathematically*, Nature, 1926.
    """
    prey, predators = state.chunk(2, 1)
    growth, hunted, fed, death = parameters.chunk(4, 1)
    met = prey * predators
    growing = (growth + _control(control, prey)) * prey
    return torch.cat([growing - hunted * met, fed * met - death * predators], 1)


def coupled_oscillators(state: Tensor, control: Tensor | None, parameters: Tensor) -> Tensor:
    """Return the change of two masses with a cubic coupling, of which the second is pushed.

    x₁″ = −x₁ + k·(x₂ − x₁)³ and x₂″ = −x₂ − k·(x₂ − x₁)³ + g·u, without units; the state is x₁, x₂, x₁′, x₂′.
    Parameters: the coupling k and the gain g of the control u, 1 and 3 in *Half-Inverse Gradients for Physical Deep
    Learning*, Schnell, Holl and Thuerey, ICLR 2022.
    """
    first, second, first_speed, second_speed = state.chunk(4, 1)
    strength, gain = parameters.chunk(2, 1)
    coupling = strength * (second - first) ** 3
    push = gain * _control(control, first)
    return torch.cat([first_speed, second_speed, coupling - first, push - second - coupling], 1)


SYSTEMS = {
    "coupled_oscillators": System(runge_kutta(coupled_oscillators), (0.5, -0.5, 0.0, 0.0), (1.0, 3.0), 0.125),
    "double_integrator": System(semi_implicit_euler(double_integrator), (0.0, 0.0), (1.0,), 0.3),
    "drag": System(semi_implicit_euler(drag), (0.0, 0.0), (0.5,), 0.3),
    "lotka_volterra": System(runge_kutta(lotka_volterra, substeps=2), (30.0, 4.0), (0.5, 0.03, 0.02, 0.8), 0.5),
    "pendulum": System(semi_implicit_euler(pendulum), (1.0, 0.0), (2.0, 0.2), 0.1),
}
"""The systems that `Rollout` takes by name."""


def _control(control: Tensor | None, like: Tensor) -> Tensor | float:
    """Return a control [batch] or [batch, 1] as [batch, 1]; 0 where the rollout has no controls."""
    return 0.0 if control is None else control.reshape(like.shape)


def _spread(dt: Tensor | float, state: Tensor) -> Tensor | float:
    """Return a time step [batch] as [batch, 1]."""
    return dt.reshape(-1, *[1] * (state.ndim - 1)) if isinstance(dt, Tensor) else dt
