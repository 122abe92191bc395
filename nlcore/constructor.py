"""Comparison of a constructor with the configuration that validates its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nlcore.errors import nearest, shorten

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig

__all__ = ["different_defaults", "misnamed_options", "same_option"]

_EMPTY = inspect.Parameter.empty
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def misnamed_options(factory: Callable[..., Any], config: type[AlgorithmConfig]) -> tuple[str, str]:
    """Return which options a constructor does not take, or needs beside them, and the remedy; empty where it fits.

    Args:
        factory: The constructor, or the function that makes the algorithm.
        config: The class of its options.
    """
    parameters, fields = inspect.signature(factory).parameters, config.model_fields
    names, (taker, options) = [*parameters], _names(factory, config)
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        names += fields
    missing = [name for name in fields if name not in names]
    free = [name for name in names if name not in fields]
    if missing:
        (name, *more), takes = missing, shorten([one for one in names if one in parameters]) or "none"
        others = f", nor {shorten(more)}" if more else ""
        near = nearest(name, free)
        cure = "Give option and keyword the same name" if near else f"Add it to {taker}, or remove it from {options}"
        return f"{taker} does not take {name!r}{others}, an option of {options}{near}; it takes {takes}", f"{cure}."
    needed = [name for name in free if parameters[name].default is _EMPTY and parameters[name].kind not in _REST]
    if needed:
        return (
            f"{taker} needs {shorten(needed)}, which {options} does not have as an option",
            f"Add it to {options}, or give it a default in {taker}.",
        )
    return "", ""


def different_defaults(
    factory: Callable[..., Any], config: type[AlgorithmConfig], *, every: bool = True
) -> tuple[str, str]:
    """Return which option has one default in the constructor and another in its configuration, and the remedy.

    Args:
        factory: The constructor, or the function that makes the algorithm.
        config: The class of its options.
        every: Whether an option that only one of the two gives a default counts.
    """
    parameters, (taker, options) = inspect.signature(factory).parameters, _names(factory, config)
    for name, field in config.model_fields.items():
        if name not in parameters:
            continue
        mine = parameters[name].default
        theirs = _EMPTY if field.is_required() else field.get_default(call_default_factory=True)
        both = mine is not _EMPTY and theirs is not _EMPTY
        if mine is theirs or (same_option(mine, theirs) if both else not every):
            continue
        here, there = ("no default" if one is _EMPTY else repr(one) for one in (mine, theirs))
        return (
            f"the option {name!r} is {here} in {taker} and {there} in {options}",
            "Make them equal: nlcore.make and the constructor give different losses.",
        )
    return "", ""


def same_option(one: Any, other: Any) -> bool:
    """Return whether two options are equal, a list and a tuple of the same values too; True is not 1, but 1.0 is."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_option, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _names(factory: Callable[..., Any], config: type[AlgorithmConfig]) -> tuple[str, str]:
    """Return constructor and configuration as messages name them."""
    kind = "the constructor of " if isinstance(factory, type) else ""
    return f"{kind}{getattr(factory, '__qualname__', repr(factory))}", config.__name__
