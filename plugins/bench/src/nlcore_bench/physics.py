"""Differentiable programs of other authors' problems: oscillators, diffusion of heat, a pendulum, soft-DTW."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

__all__ = [
    "diffused",
    "linear_oscillators",
    "nonlinear_oscillators",
    "pendulum",
    "runge_kutta",
    "soft_dtw",
    "soft_dtw_divergence",
]


def runge_kutta(change: Callable[[Tensor, Tensor], Tensor], state: Tensor, controls: Tensor, step: float) -> Tensor:
    """Return the last state by the classical Runge–Kutta method of order 4, with a constant control in each step.

    Args:
        change: `(state, control) -> derivative of the state`, [batch, d] and [batch] to [batch, d].
        state: [batch, d], the first state.
        controls: [batch, steps], one number for each step.
        step: Time of a step.
    """
    for control in controls.unbind(1):
        first = change(state, control)
        second = change(state + step / 2 * first, control)
        third = change(state + step / 2 * second, control)
        fourth = change(state + step * third, control)
        state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
    return state


def nonlinear_oscillators(controls: Tensor, start: Tensor, step: float = 0.125) -> Tensor:
    """Return the last state of two masses with a cubic coupling, of which the second is pushed.

    x₁″ = −x₁ + (x₂ − x₁)³ and x₂″ = −x₂ − (x₂ − x₁)³ + 3u, without units: *Half-Inverse Gradients for Physical Deep
    Learning*, Schnell, Holl and Thuerey, ICLR 2022.

    Args:
        controls: u, [batch, steps].
        start: x₁, x₂, x₁′, x₂′ at the start, [batch, 4].
        step: Time of a step.

    Returns:
        x₁, x₂, x₁′, x₂′ at the end, [batch, 4].
    """

    def change(state: Tensor, control: Tensor) -> Tensor:
        first, second, first_speed, second_speed = state.unbind(1)
        coupling = (second - first) ** 3
        return torch.stack([first_speed, second_speed, coupling - first, 3 * control - second - coupling], 1)

    return runge_kutta(change, start, controls, step)


def linear_oscillators(controls: Tensor, start: Tensor, step: float = 0.5) -> Tensor:
    """Return the last state of two masses with a linear coupling, of which the second is pushed.

    x₁″ = −x₁ + 0.2·(x₂ − x₁) and x₂″ = −x₂ − 0.2·(x₂ − x₁) + u, without units: *Physics-based Deep Learning*, Thuerey
    and others, 2021, chapter *Coupled Oscillators with Half-Inverse Gradients*.

    Args:
        controls: u, [batch, steps].
        start: x₁, x₂, x₁′, x₂′ at the start, [batch, 4].
        step: Time of a step.

    Returns:
        x₁, x₂, x₁′, x₂′ at the end, [batch, 4].
    """

    def change(state: Tensor, control: Tensor) -> Tensor:
        first, second, first_speed, second_speed = state.unbind(1)
        coupling = 0.2 * (second - first)
        return torch.stack([first_speed, second_speed, coupling - first, control - second - coupling], 1)

    return runge_kutta(change, start, controls, step)


def diffused(temperature: Tensor, size: int, spread: float) -> Tensor:
    """Return the later temperature on a periodic square, by the exact solution of u_t = κ·Δu in Fourier space.

    Args:
        temperature: [batch, size·size], row by row.
        size: Cells on a side.
        spread: √(2κt) in cells: the standard deviation to which a hot point has spread.
    """
    frequency = 2 * torch.pi * torch.fft.fftfreq(size, dtype=temperature.dtype, device=temperature.device)
    decay = (-0.5 * spread**2 * (frequency.square().unsqueeze(1) + frequency.square())).exp()
    spectrum = torch.fft.fft2(temperature.view(-1, size, size))
    spread_out: Tensor = torch.fft.ifft2(decay * spectrum).real
    return spread_out.flatten(1)


def pendulum(parameters: Tensor, steps: int, step: float = 0.1) -> Tensor:
    """Return the angles of a damped pendulum, α″ = −ω²·sin α − c·α′, by the semi-implicit Euler rule.

    Args:
        parameters: [batch, 4]: p₀ and p₁ with ω = ½ + softplus(p₀) in 1/s and c = 0.3·softplus(p₁) in 1/s, then the
            angle at the start in radians and its speed in radians/s.
        steps: Number of observed angles.
        step: Time between two of them, in s.

    Returns:
        The angles after each step in radians, [batch, steps].
    """
    frequency, damping, angle, speed = parameters.unbind(1)
    pull, drag = (softplus(frequency) + 0.5).square(), 0.3 * softplus(damping)
    angles = []
    for _ in range(steps):
        speed = speed - step * (pull * angle.sin() + drag * speed)
        angle = angle + step * speed
        angles.append(angle)
    return torch.stack(angles, 1)


def soft_dtw(first: Tensor, second: Tensor, gamma: float) -> Tensor:
    """Return the soft dynamic time warping of pairs of series under the squared distance, [batch].

    *Soft-DTW: a Differentiable Loss Function for Time-Series*, Cuturi and Blondel, ICML 2017. It is the soft minimum of
    the cost over all alignments of two series. The recursion runs along the anti-diagonals, in O(n) operations of
    torch.

    Args:
        first: [batch, n].
        second: [batch, n].
        gamma: Temperature of the soft minimum, in the unit of a squared difference.
    """
    length = first.shape[1]
    # The cells i + j = d of diagonal d, in the order of i; i = 0 and j = 0 are the border of the recursion.
    before, last = first.new_zeros(len(first), 1), first.new_full((len(first), 2), torch.inf)
    for diagonal in range(2, 2 * length + 1):
        lowest, highest = max(1, diagonal - length), min(length, diagonal - 1)
        rows = torch.arange(lowest, highest + 1, device=first.device)
        cost = (first[:, rows - 1] - second[:, diagonal - rows - 1]).square()
        start, skipped = (lowest - 1 - max(0, diagonal - back - length) for back in (1, 2))
        count = len(rows)
        neighbours = torch.stack(
            [
                before[:, skipped : skipped + count],
                last[:, start : start + count],
                last[:, start + 1 : start + 1 + count],
            ]
        )
        soft = -gamma * torch.logsumexp(neighbours / -gamma, 0)
        before, last = last, pad(cost + soft, [int(diagonal <= length)] * 2, value=torch.inf)
    return last[:, 0]


def soft_dtw_divergence(prediction: Tensor, target: Tensor, gamma: float = 0.1) -> Tensor:
    """Return soft-DTW less half of that of each series with itself, [batch]; it is 0 for equal series, never negative.

    *Differentiable Divergences Between Time Series*, Blondel, Mensch and Vert, AISTATS 2021. A plain function: it
    supplies neither gradient, Hessian nor split.

    Args:
        prediction: [batch, n].
        target: [batch, n].
        gamma: Temperature of the soft minimum, in the unit of a squared difference.
    """
    first, second = torch.cat([prediction, prediction, target]), torch.cat([target, prediction, target])
    both, own, other = soft_dtw(first, second, gamma).chunk(3)
    return both - (own + other) / 2
