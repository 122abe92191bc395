"""Checks of the protocol: the object has the members of an algorithmic loss."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

from nlcore.protocol import AlgorithmicLoss, Traits
from nlcore.testing.check import check, ensure, fail
from nlcore.testing.subject import Subject


@check("protocol.members")
def members(subject: Subject) -> None:
    """It has `traits`, `__call__(prediction, target, *, generator=None)` and `example`."""
    algorithm, traits = subject.algorithm, subject.traits
    if isinstance(algorithm, type) or not callable(algorithm):
        fail(f"{algorithm!r} is not an object that can be called", "Give an instance of the loss, not its class.")
    missing = [name for name in ("traits", "example") if not hasattr(algorithm, name)]
    complete = not missing and isinstance(algorithm, AlgorithmicLoss)
    ensure(complete, f"it lacks {' and '.join(missing)}", "Give it the members of nlcore.AlgorithmicLoss.")
    masked = [*(["mask"] if traits.takes_mask else []), *(["context"] if traits.takes_context else [])]
    making = ["generator", "dtype", "device"]
    for name, keywords in {"__call__": ["generator", *masked], "example": making, "example_context": making}.items():
        if getattr(algorithm, name, None) is not None:
            lacking = [f"{one}=" for one in _lacking(getattr(algorithm, name), keywords)]
            ensure(not lacking, f"{name} does not take {', '.join(lacking)}", "Add the keyword as the protocol has it.")


@check("protocol.traits", requires=("protocol.members",))
def traits(subject: Subject) -> None:
    """`traits` is an `nlcore.Traits` with values that exist, the same at every look."""
    found = subject.algorithm.traits
    if not isinstance(found, Traits):
        fail(f"traits is {found!r}", "Return an nlcore.Traits, whose fields all have defaults.")
    ensure(
        subject.algorithm.traits == found,
        f"traits changes between two reads, from {found}",
        "Return the same traits for the life of the object.",
    )
    choices = get_args(get_type_hints(Traits)["transforms"])
    ensure(
        found.transforms in choices,
        f"traits.transforms is {found.transforms!r}",
        f"Choose one of {', '.join(map(repr, choices))}.",
    )
    for name in ("event_ndim", "order"):
        value = getattr(found, name)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        ensure(whole, f"traits.{name} is {value!r}", "Give a whole number ≥ 0.")
    for name in ("stochastic", "psd_hessian", "takes_mask", "takes_context", "constant_curvature"):
        value = getattr(found, name)
        ensure(isinstance(value, bool), f"traits.{name} is {value!r}", "Give True or False.")


def _lacking(function: Any, keywords: list[str]) -> list[str]:
    parameters = inspect.signature(function).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return [] if takes_all else [keyword for keyword in keywords if keyword not in parameters]
