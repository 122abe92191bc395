"""Whether the object is an algorithmic loss at all."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

from nlcore.protocol import AlgorithmicLoss, Traits
from nlcore.testing.check import check, fail
from nlcore.testing.subject import Subject

__all__ = ["CHECKS"]


@check("protocol.members")
def members(subject: Subject) -> None:
    """It has `traits`, `__call__(prediction, target, *, generator=None)` and `example`."""
    algorithm = subject.algorithm
    if isinstance(algorithm, type) or not callable(algorithm):
        fail(f"{algorithm!r} is not an object that can be called", "Give an instance of the loss, not its class.")
    missing = [name for name in ("traits", "example") if not hasattr(algorithm, name)]
    if missing or not isinstance(algorithm, AlgorithmicLoss):
        fail(f"it lacks {' and '.join(missing)}", "Give it the members of nlcore.AlgorithmicLoss.")
    _check_keywords(algorithm.__call__, "__call__", ["generator", *(["mask"] if subject.traits.takes_mask else [])])
    _check_keywords(algorithm.example, "example", ["generator", "dtype", "device"])


@check("protocol.traits", requires=("protocol.members",))
def traits(subject: Subject) -> None:
    """`traits` is an `nlcore.Traits` with values that exist, the same at every look."""
    found = subject.algorithm.traits
    if not isinstance(found, Traits):
        fail(f"traits is {found!r}", "Return an nlcore.Traits, whose fields all have defaults.")
    if subject.algorithm.traits != found:
        fail(f"traits changes between two looks, from {found}", "Return the same traits for the life of the object.")
    choices = get_args(get_type_hints(Traits)["transforms"])
    if found.transforms not in choices:
        fail(f"traits.transforms is {found.transforms!r}", f"Choose one of {', '.join(map(repr, choices))}.")
    for name in ("event_ndim", "order"):
        value = getattr(found, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            fail(f"traits.{name} is {value!r}", "Give a whole number ≥ 0.")
    for name in ("stochastic", "psd_hessian", "takes_mask", "takes_context", "constant_curvature"):
        if not isinstance(getattr(found, name), bool):
            fail(f"traits.{name} is {getattr(found, name)!r}", "Give True or False.")


def _check_keywords(function: Any, name: str, keywords: list[str]) -> None:
    parameters = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    missing = [keyword for keyword in keywords if keyword not in parameters]
    if missing:
        fail(
            f"{name} does not take {', '.join(f'{one}=' for one in missing)}", "Add the keyword as the protocol has it."
        )


CHECKS = (members, traits)
