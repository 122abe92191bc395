"""Interleaved timing of several calls, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Clock", "Timing", "clock_of", "interleaved"]

Clock = Callable[[], float]

_MOST = 200  # rounds
_WARM = 4


@dataclass(frozen=True)
class Timing:
    """Time of a call; on the CPU its processor time.

    Attributes:
        milliseconds: Lower quartile, median and upper quartile over the rounds.
        ratio: The same quartiles of the time divided by that of the first contestant in the same round.
        rounds: Number of timed calls.
    """

    milliseconds: tuple[float, float, float]
    ratio: tuple[float, float, float]
    rounds: int


def clock_of(device: torch.device) -> Clock:
    """Return the clock for calls on a device: processor time, or on a GPU the wall time after synchronisation."""
    if device.type != "cuda":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    *,
    fewest: int = 3,
    warm: bool = True,
    clock: Clock = time.process_time,
) -> dict[str, Timing]:
    """Call every contestant once per round until the time is used up.

    Args:
        calls: Contestants by name; ratios are relative to the first.
        seconds: Wall time of the rounds; a round that has begun is finished.
        fewest: Smallest number of rounds.
        warm: Whether every contestant is called before the first round: five times, or once if a call is slow.
        clock: The clock, see `clock_of`.

    Returns:
        The timing of each contestant, by name.
    """
    for call in calls.values() if warm else ():
        if _timed(call, clock) < 0.2:
            for _ in range(_WARM):
                _timed(call, clock)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    rounds, start = 0, time.perf_counter()
    with _without_collection():
        while rounds < fewest or (rounds < _MOST and time.perf_counter() - start < seconds):
            for name, call in calls.items():
                taken[name].append(_timed(call, clock))
            rounds += 1
    times = {name: np.array(values) for name, values in taken.items()}
    first = next(iter(times.values()))
    return {name: Timing(_quartiles(1e3 * own), _quartiles(own / first), rounds) for name, own in times.items()}


def _timed(call: Callable[[], object], clock: Clock) -> float:
    """Return the time of a call; other programs on the machine hardly change processor time."""
    start = clock()
    call()
    return clock() - start


@contextmanager
def _without_collection() -> Iterator[None]:
    """Switch the garbage collector off, so that no contestant pays for the garbage of another."""
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return low, middle, high
