"""Times of several ways to do the same thing, taken in turns so that a busy machine is unfair to none of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

__all__ = ["Timing", "interleaved"]

_FEWEST, _MOST = 3, 200  # rounds
_WARM = 4


@dataclass(frozen=True)
class Timing:
    """How long a call took, in processor time: on one thread that is the time of a machine without other work.

    Attributes:
        milliseconds: Lower quartile, median and upper quartile over the rounds.
        ratio: The same of the time divided by that of the first contestant in the same round.
        rounds: How often it was called.
    """

    milliseconds: tuple[float, float, float]
    ratio: tuple[float, float, float]
    rounds: int


def interleaved(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Timing]:
    """Call every contestant once a round, for about the given time.

    Args:
        calls: Name to call; ratios are taken to the first.
        seconds: When to stop; at least three rounds are made.

    Returns:
        Name to timing.
    """
    warm = {name: _warmed(call) for name, call in calls.items()}
    rounds = int(min(_MOST, max(_FEWEST, seconds / max(1e-9, sum(warm.values())))))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                taken[name].append(_timed(call))
    finally:
        if collecting:
            gc.enable()
    first = next(iter(taken.values()))
    return {
        name: Timing(
            _quartiles([1e3 * one for one in times]),
            _quartiles([one / base for one, base in zip(times, first, strict=True)]),
            rounds,
        )
        for name, times in taken.items()
    }


def _warmed(call: Callable[[], object]) -> float:
    """Call it until it is warm, slow ones once; return the shortest time."""
    shortest = _timed(call)
    for _ in range(_WARM if shortest < 0.2 else 0):
        shortest = min(shortest, _timed(call))
    return shortest


def _timed(call: Callable[[], object]) -> float:
    """Return the processor time of a call, which other programs on the machine change little."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, median(values), high
