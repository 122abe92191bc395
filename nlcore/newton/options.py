"""Options of the engine: checks that name the allowed values, and a short representation."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

from nlcore.errors import ConfigError, nearest

__all__ = [
    "check_choice",
    "check_length",
    "check_positive",
    "check_power",
    "concise",
    "is_number",
]


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices.

    Args:
        owner: The class whose option it is; empty for a function.
        name: The option.
        value: Its value.
        choices: The allowed values.

    Raises:
        ConfigError: The value is none of them; the message lists the choices and suggests the nearest one.
    """
    if value not in choices:
        given = f"{owner}({name}={value!r})" if owner else f"{name}={value!r}"
        raise ConfigError(f"{given}: choose one of {', '.join(map(repr, choices))}{nearest(str(value), choices)}.")


def check_positive(owner: str, name: str, value: object) -> None:
    """Refuse a value that is neither a positive number nor `None`.

    Raises:
        ConfigError: The value is neither; the message names the option and the value.
    """
    if value is not None and not (is_number(value) and value > 0):  # type: ignore[operator]
        raise ConfigError(f"{owner}({name}={value!r}): give a positive number, or None for no limit.")


def check_power(curvature: Any) -> None:
    """Refuse a power outside 0 … 1, and a solver or a sign of eigenvalues for which a fraction of it has no meaning.

    Raises:
        ConfigError: The power is outside 0 … 1, or does not go with `solver` or `psd`.
    """
    owner, power, solver = type(curvature).__name__, curvature.power, curvature.solver
    if not is_number(power) or not 0 <= power <= 1:
        raise ConfigError(f"{owner}(power={power!r}): give a number from 0, the gradient, to 1, the Newton step.")
    if power in (0, 1):
        return
    if solver not in ("auto", "eigen", "low_rank", "kernel"):
        raise ConfigError(
            f"{owner}(power={power!r}, solver={solver!r}): a fractional power is taken of eigenvalues. Use "
            f"solver='auto', 'eigen' or 'low_rank'."
        )
    if getattr(curvature, "psd", "abs") == "none":
        raise ConfigError(
            f"{owner}(power={power!r}, psd='none'): a negative eigenvalue has no fractional power. Use psd='abs'."
        )


def check_length(owner: str, length: object) -> None:
    """Refuse what is neither True, False nor a positive length of a direction.

    Raises:
        ConfigError: `length` is not True, False or a positive float.
    """
    if not isinstance(length, bool) and not (isinstance(length, float) and 0 < length < math.inf):
        raise ConfigError(f"{owner}(normalize={length!r}): give True, False, or a root mean square such as 0.5.")


def is_number(value: object) -> bool:
    """Return whether `value` is an int or a float, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def concise(options: Any) -> str:
    """Return the constructor call of a frozen set of options, without those that have their default."""
    given = []
    for option in fields(options):
        default = option.default if option.default_factory is MISSING else option.default_factory()
        value = getattr(options, option.name)
        if default is MISSING or value != default:
            given.append(f"{option.name}={value!r}")
    return f"{type(options).__name__}({', '.join(given)})"
