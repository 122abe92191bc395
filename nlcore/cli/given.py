"""Options of an algorithm as they are given on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from nlcore.errors import ConfigError

__all__ = ["add_option_argument", "parsed_options"]


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
        options[name] = _read(value)
    return options


def _read(value: str) -> Any:
    for read in (json.loads, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
