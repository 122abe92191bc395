"""The distribution functions of `nlcore_sorting._distributions`, compiled, for one number at a time.

The definitions are those of the other module, and tests compare the two. `kind` is a number of `KINDS`.
"""

from __future__ import annotations

import math
from typing import Any

from nlcore.compiled import kernel
from nlcore_sorting._distributions import PHI_EPSILON

__all__ = ["KINDS", "activation", "swap_bend", "swap_slope", "tail", "weights"]

KINDS = {"cauchy": 0, "gaussian": 1, "logistic": 2, "logistic_phi": 3, "optimal": 4, "reciprocal": 5}


@kernel("any")
def activation(kind: int, d: float, steepness: float, art: float) -> float:
    """Return x."""
    return d * steepness / (abs(d) + PHI_EPSILON) ** art if kind == 3 else d * steepness


@kernel("any")
def tail(kind: int, m: float) -> float:
    """Return 1 − F(m) at m = |x|, exact where it is small."""
    if kind == 0:
        return math.atan2(1.0, m) / math.pi
    if kind in (2, 3):
        small = math.exp(-m)
        return small / (1 + small)
    if kind == 1:
        return 0.5 * math.erfc(m * math.sqrt(0.5))
    if kind == 4:
        return 0.0625 / m if m > 0.25 else 0.5 - m
    return 0.5 / (1 + 2 * m)


@kernel("any")
def weights(tail: float, gap: float) -> Any:
    """Return the weights of keeping and of swapping two values, given the smaller one and the difference."""
    return (1 - tail, tail) if gap >= 0 else (tail, 1 - tail)


@kernel("any")
def swap_slope(kind: int, d: float, steepness: float, art: float) -> float:
    """Return the derivative of the weight of swapping with respect to d."""
    x = activation(kind, d, steepness, art)
    m = abs(x)
    if kind == 0:
        return -steepness / (math.pi * (1 + m * m))
    if kind == 1:
        return -steepness * math.exp(-0.5 * m * m) / math.sqrt(2 * math.pi)
    if kind == 4:
        return -steepness if m <= 0.25 else -steepness * 0.0625 / (m * m)
    if kind == 5:
        return -steepness / ((1 + 2 * m) * (1 + 2 * m))
    small = math.exp(-m)
    slope = -steepness * small / ((1 + small) * (1 + small))
    if kind == 3:
        shifted = abs(d) + PHI_EPSILON
        slope *= (PHI_EPSILON + (1 - art) * abs(d)) / shifted ** (art + 1)
    return slope


@kernel("any")
def swap_bend(kind: int, d: float, steepness: float, art: float) -> float:
    """Return the second derivative of the weight of swapping with respect to d; at a jump the one from above."""
    x = activation(kind, d, steepness, art)
    m, sign = abs(x), 1.0 if d >= 0 else -1.0
    square = steepness * steepness
    if kind == 0:
        return 2 * square * x / (math.pi * (1 + m * m) * (1 + m * m))
    if kind == 1:
        return square * x * math.exp(-0.5 * m * m) / math.sqrt(2 * math.pi)
    if kind == 4:
        return 0.0 if m <= 0.25 else square * sign * 0.125 / (m * m * m)
    if kind == 5:
        return 4 * square * sign / ((1 + 2 * m) * (1 + 2 * m) * (1 + 2 * m))
    small = math.exp(-m)
    density = small / ((1 + small) * (1 + small))
    bend = sign * density * (1 - small) / (1 + small)
    if kind == 2:
        return square * bend
    shifted = abs(d) + PHI_EPSILON
    inside = (PHI_EPSILON + (1 - art) * abs(d)) / shifted
    stretch = steepness * inside / shifted**art
    side = 0.0 if d == 0 else sign  # at 0 the slope of x turns either way
    turn = -steepness * art * side * (inside + PHI_EPSILON / shifted) / shifted ** (art + 1)
    return float(bend * stretch * stretch - density * turn)
