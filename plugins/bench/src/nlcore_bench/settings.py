"""The file `settings.json` of a study, and its comparison with other settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from nlcore_bench.documents import Text, parse, validate
from nlcore_bench.files import ResultsError, write_whole

__all__ = ["as_json", "check_settings", "write_settings"]


@dataclass(frozen=True)
class _Document:
    """Content of `settings.json`."""

    settings: dict[Text, Any]
    environment: dict[Text, Text] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


_DOCUMENT = TypeAdapter(_Document)
_ABSENT = "absent"
_OLD_NAMES = {"arms": "methods", "rates": "learning_rates"}  # keys of format 1
_LONGEST = 200  # characters of a value in a message


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are after being written and read.

    Raises:
        ResultsError: A value, such as a NaN, is not a JSON value.
    """
    try:
        return dict(json.loads(json.dumps(settings, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultsError(f"the settings of the study cannot be stored as JSON: {error}.") from error


def write_settings(path: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Write settings and environment, whole or not at all."""
    document = {"settings": settings, "environment": dict(environment)}
    write_whole(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Raise unless a file holds these settings; its environment may differ.

    Raises:
        ResultsError: The file cannot be read or is damaged, or its settings differ; the message names the first
            differences.
    """
    try:
        old = dict(_flat(_current(validate(_DOCUMENT, parse(path.read_bytes())).settings)))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path} holds no settings ({error}). Choose another folder with --out.") from error
    new = dict(_flat(settings))
    differing = [keys for keys in {**new, **old} if old.get(keys, _ABSENT) != new.get(keys, _ABSENT)]
    if not differing:
        return
    listed = "; ".join(
        f"{'.'.join(keys)} is {_short(old.get(keys, _ABSENT))} there and {_short(new.get(keys, _ABSENT))} here"
        for keys in differing[:3]
    )
    more = f"; {len(differing) - 3} more differ" if len(differing) > 3 else ""
    raise ResultsError(
        f"{path.parent} holds the runs of other settings: {listed}{more}. Choose another folder with --out, repeat "
        "with the settings of the folder to go on with it, or remove it to start anew."
    )


def _current(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings of format 1 as those of format 2, which has other names for some keys; others as they are."""
    return {**_renamed(settings), "format": 2} if settings.get("format") == 1 else settings


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    pairs = ((_OLD_NAMES.get(key, key), value) for key, value in settings.items())
    return {key: _renamed(value) if isinstance(value, dict) else value for key, value in pairs}


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the leaves of nested objects with their keys, as JSON; lists are leaves."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from (((key, *keys), leaf) for keys, leaf in _flat(value))
        else:
            yield (key,), json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
