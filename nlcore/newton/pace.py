"""The steps of a training at which the network is probed."""

from __future__ import annotations

__all__ = ["DENSE", "next_gap", "probes_within"]

DENSE, _EVERY, _GROWTH, _LONGEST = 50, 5, 1.5, 500
"""Steps with a probe every 5; later probes lie a factor apart, up to the longest gap."""


def next_gap(age: int, dense_until: int = 0) -> int:
    """Return the steps from a probe at a step to the next."""
    return _EVERY if age < max(DENSE, dense_until) else min(_LONGEST, int(age * (_GROWTH - 1)))


def probes_within(steps: int, interval: int) -> int:
    """Return the number of probes in the first steps of a training.

    Args:
        steps: Number of steps.
        interval: Fewest steps between two probes.
    """
    age, count = 0, 0
    while age < steps:
        age, count = age + max(next_gap(age), interval), count + 1
    return count
