"""Checks of purity: a call has no effect but its result."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nlcore.testing.check import BASE, check, deterministic, ensure, fail
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, clone, leaves


@check("purity.inputs", requires=BASE)
def inputs(subject: Subject) -> None:
    """Prediction and target are the same after a call as before."""
    for name, function in subject.functions():
        prediction, target = subject.draw(BATCH)
        given = [prediction, *leaves(target)]
        before = [(clone(one), one._version) for one in given]
        with torch.no_grad():
            function(prediction, target)
        for index, (one, (old, version)) in enumerate(zip(given, before, strict=True)):
            which = "target" if index else "prediction"
            same = one._version == version and torch.equal(torch.nan_to_num(one), torch.nan_to_num(old))
            ensure(same, f"{name} changes the {which} in place", f"Work on {which}.clone(), or out of place.")


@check("purity.settings", requires=BASE)
def settings(subject: Subject) -> None:
    """A call leaves torch's default dtype, grad mode, threads and other global settings alone."""
    for name, function in subject.functions():
        before = _settings()
        function(*subject.draw(BATCH))
        changed = ", ".join(key for key, value in _settings().items() if value != before[key])
        ensure(not changed, f"{name} changes the global setting {changed}", "Use a context manager that restores it.")


@check("purity.global_random", requires=BASE)
def global_random(subject: Subject) -> None:
    """A call uses no global random numbers: not torch's, not Python's, not NumPy's."""
    for name, function in subject.functions():
        prediction, target = subject.draw(BATCH)
        before = random_states()
        function(prediction, target)
        changed = changed_sources(before)
        ensure(
            not changed,
            f"{name} draws from the global random numbers of {', '.join(changed)}",
            "Draw with generator=generator alone, or the run of a user is not reproducible.",
        )


@check("purity.gradients", requires=(*BASE, "purity.inputs", "purity.settings"))
def gradients(subject: Subject) -> None:
    """A call neither accumulates gradients nor changes requires_grad."""
    prediction, target = subject.draw(BATCH)
    leaf = prediction.requires_grad_()
    subject.value(leaf, target)
    if leaf.grad is not None:
        fail("the call left a gradient in prediction.grad", "Use torch.autograd.grad in place of backward().")
    untouched = not any(one.requires_grad or one.grad is not None for one in leaves(target))
    ensure(
        untouched and leaf.requires_grad and leaf.is_leaf,
        "the call changed requires_grad or grad of its inputs",
        "Work on prediction.detach() or on a copy.",
    )


@check("purity.repeatable", requires=(*BASE, "purity.inputs", "purity.settings"), when=deterministic)
def repeatable(subject: Subject) -> None:
    """The same call twice, with others between, gives the same result."""
    prediction, target = subject.draw(BATCH)
    for name, function in subject.functions():
        first = clone(function(prediction, target))
        function(*subject.draw(BATCH + 1, seed=1))
        for _ in range(2):
            compare(
                subject,
                again := function(prediction, target),
                first,
                f"{name} gives another result when it is called again with the same inputs",
                "Keep no state between calls; a random loss sets traits.stochastic and draws from generator.",
                tolerance=0.0 if again.device.type == "cpu" else None,
            )


def random_states() -> dict[str, Any]:
    """Return the states of the global sources of random numbers."""
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "random": random.getstate()}
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        state = numpy.random.get_state()
        states["numpy.random"] = (state[0], state[1].tolist(), *state[2:])
    return states


def changed_sources(before: Mapping[str, Any]) -> list[str]:
    """Return the global sources that have been drawn from since `random_states` was called."""

    def equal(one: Any, other: Any) -> bool:
        return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)

    return [name for name, state in random_states().items() if name in before and not equal(state, before[name])]


def _settings() -> dict[str, object]:
    return {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }
