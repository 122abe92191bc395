"""Purity: a call changes nothing but what it returns."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nlcore.testing.check import BASE, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject, clone, leaves

__all__ = ["CHECKS", "changed_sources", "random_states"]


@check("purity.inputs", requires=BASE)
def inputs(subject: Subject) -> None:
    """Prediction and target are the same after a call as before."""
    for name, function in subject.functions():
        prediction, target = subject.draw(BATCH)
        before = [clone(one) for one in (prediction, *leaves(target))]
        versions = [one._version for one in (prediction, *leaves(target))]
        with torch.no_grad():
            function(prediction, target)
        for index, (one, old, version) in enumerate(zip((prediction, *leaves(target)), before, versions, strict=True)):
            if one._version != version or not torch.equal(torch.nan_to_num(one), torch.nan_to_num(old)):
                which = "target" if index else "prediction"
                fail(f"{name} changes the {which} in place", f"Work on {which}.clone(), or out of place.")


@check("purity.settings", requires=BASE)
def settings(subject: Subject) -> None:
    """A call leaves torch's default dtype, grad mode, threads and other global settings alone."""
    for name, function in subject.functions():
        before = _settings()
        function(*subject.draw(BATCH))
        changed = [key for key, value in _settings().items() if value != before[key]]
        if changed:
            fail(f"{name} changes the global setting {', '.join(changed)}", "Use a context manager that restores it.")


@check("purity.global_random", requires=BASE)
def global_random(subject: Subject) -> None:
    """A call uses no global random numbers: not torch's, not Python's, not NumPy's."""
    for name, function in subject.functions():
        prediction, target = subject.draw(BATCH)
        before = random_states()
        function(prediction, target)
        if changed := changed_sources(before):
            fail(
                f"{name} draws from the global random numbers of {', '.join(changed)}",
                "Draw with generator=generator alone, or the run of a user is not reproducible.",
            )


@check("purity.gradients", requires=(*BASE, "purity.inputs", "purity.settings"))
def gradients(subject: Subject) -> None:
    """A call neither accumulates gradients nor changes what requires them."""
    prediction, target = subject.draw(BATCH)
    leaf = prediction.requires_grad_()
    subject.value(leaf, target)
    if leaf.grad is not None:
        fail("the call left a gradient in prediction.grad", "Use torch.autograd.grad in place of backward().")
    wrong = [one for one in leaves(target) if one.requires_grad or one.grad is not None]
    if wrong or not leaf.requires_grad or not leaf.is_leaf:
        fail("the call changed requires_grad or grad of its inputs", "Work on prediction.detach() or on a copy.")


def _deterministic(subject: Subject) -> str:
    return "it is stochastic; stochastic.reproducible asks the like" if subject.traits.stochastic else ""


@check("purity.repeatable", requires=(*BASE, "purity.inputs", "purity.settings"), when=_deterministic)
def repeatable(subject: Subject) -> None:
    """The same call twice, with others between, gives the same result."""
    prediction, target = subject.draw(BATCH)
    for name, function in subject.functions():
        first = clone(function(prediction, target))
        function(*subject.draw(BATCH + 1, seed=1))
        again = [function(prediction, target) for _ in range(2)]
        for one in again:
            compare(
                subject,
                one,
                first,
                f"{name} gives another result when it is called again with the same inputs",
                "Keep no state between calls; a random loss sets traits.stochastic and draws from generator.",
                tolerance=0.0 if one.device.type == "cpu" else None,
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


CHECKS = (inputs, settings, global_random, gradients, repeatable)
