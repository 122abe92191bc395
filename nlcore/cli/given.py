"""Options of an algorithm as they are given on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

from nlcore.errors import ConfigError

__all__ = ["add_option_argument", "parsed_options", "whole_number"]

_SHOWN = 40


def add_option_argument(parser: argparse.ArgumentParser) -> None:
    """Define `--option NAME=VALUE …`, which may be repeated."""
    parser.add_argument(
        "--option",
        "-o",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="options of the algorithm, values as in JSON: --option temperature=0.1 objective=entries",
    )


def parsed_options(given: Iterable[Iterable[str]]) -> dict[str, Any]:
    """Return options by name; what is neither a JSON value nor a number such as .5 is a string.

    Args:
        given: Lists of texts such as `temperature=0.5`, `objective=entries` and `sizes=[3, 5]`.

    Raises:
        ConfigError: One has no `=`, or a name is given twice.
    """
    options: dict[str, Any] = {}
    for text in (one for words in given for one in words):
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"--option {text}: write NAME=VALUE, as in --option temperature=0.5.")
        if name in options:
            raise ConfigError(f"--option {name!r} is given twice: {options[name]!r} and {value!r}.")
        options[name] = _read(name, value)
    return options


def whole_number(low: int, high: int, needed: str = "") -> Callable[[str], int]:
    """Return a type of an argument: a whole number from `low` to `high`.

    Args:
        low: The smallest.
        high: The largest.
        needed: What is needed, in words, for the error.
    """
    needed = needed or f"a whole number from {low} to {high} is needed"

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = low - 1
        if low <= number <= high:
            return number
        raise argparse.ArgumentTypeError(f"{word[:_SHOWN]}{'…' * (len(word) > _SHOWN)}: {needed}")

    return read


def _read(name: str, value: str) -> Any:
    for read in (json.loads, float):
        try:
            return read(value)
        except ValueError:
            continue
        except RecursionError:
            raise ConfigError(f"--option {name!r}: the value is nested too deeply.") from None
    return value
