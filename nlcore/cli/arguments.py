"""Options of algorithms in the command line: described from their configuration class, and read from words."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlcore.errors import ConfigError

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig

__all__ = ["Option", "add_option_argument", "options_of", "parsed_options", "python_call", "whole_number"]

_TYPES = {"number": "float", "integer": "int", "string": "str", "boolean": "bool", "null": "None", "object": "dict"}
_BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": "≥ {}",
    "exclusiveMaximum": "< {}",
    "maximum": "≤ {}",
    "multipleOf": "multiple of {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "≥ {} elements",
    "maxItems": "≤ {} elements",
    "pattern": "matches {}",
}
_LONGEST_CALL = 84
_SHOWN = 40  # characters of a wrong number


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
    """Return options by name; a value that is neither JSON nor a number such as .5 is a string.

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
        needed: The requirement in words, for the error.
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


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an algorithm.

    Attributes:
        name: The keyword.
        type: As Python writes it.
        required: Whether it has no default.
        default: A JSON value, `None` for a required option as well.
        range: Bounds as text, or empty.
        description: Its meaning.
    """

    name: str
    type: str
    required: bool
    default: Any
    range: str
    description: str

    @property
    def default_text(self) -> str:
        """The default as Python writes it."""
        return _literal(self.default)


def options_of(config: type[AlgorithmConfig] | None) -> list[Option]:
    """Return the options that a configuration class describes; none for `None`."""
    if config is None:
        return []
    schema = config.model_json_schema()
    required, definitions = schema.get("required", []), schema.get("$defs", {})
    return [
        Option(
            name=name,
            type=_type(entry, definitions),
            required=name in required,
            default=entry.get("default", _made_default(config, name)),
            range=_range(entry, definitions),
            description=entry.get("description", ""),
        )
        for name, entry in schema.get("properties", {}).items()
    ]


def python_call(id: str, options: Sequence[Option]) -> str:
    """Return the line that makes an algorithm; with its options and their defaults if they fit on it."""

    def call(shown: Sequence[Option]) -> str:
        words = [f"{one.name}={'…' if one.required else one.default_text}" for one in shown]
        return f"nlcore.make({', '.join([json.dumps(id), *words])})"

    whole = call(options)
    return whole if len(whole) <= _LONGEST_CALL else call([one for one in options if one.required])


def _made_default(config: type[AlgorithmConfig], name: str) -> Any:
    """Return a default that is made anew each time, which a schema does not hold."""
    factory: Any = config.model_fields[name].default_factory
    return None if factory is None else factory()


def _type(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    entry = _resolved(entry, definitions)
    if "const" in entry:
        return _literal(entry["const"])
    if "enum" in entry:
        return " | ".join(_literal(value) for value in entry["enum"])
    for several in ("anyOf", "oneOf"):
        if several in entry:
            return " | ".join(dict.fromkeys(_type(one, definitions) for one in entry[several]))
    if entry.get("type") == "array":
        items = entry.get("items") or {}
        return f"list[{_type(items, definitions)}]" if items else "list"
    return _TYPES.get(entry.get("type", ""), "any JSON value")


def _range(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    entry = _resolved(entry, definitions)
    found = [text.format(entry[key]) for key, text in _BOUNDS.items() if key in entry]
    if "minItems" in entry and entry["minItems"] == entry.get("maxItems"):
        found = [f"{entry['minItems']} elements"]
    for several in ("anyOf", "oneOf"):
        found += [text for one in entry.get(several, []) if (text := _range(one, definitions))]
    return ", ".join(found)


def _resolved(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = entry.get("$ref")
    return entry if reference is None else definitions[reference.rpartition("/")[2]]


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
