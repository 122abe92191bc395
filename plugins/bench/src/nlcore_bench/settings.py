"""The file `settings.json` of a study, and its comparison with other settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from pydantic import ConfigDict, TypeAdapter

from nlcore_bench.documents import Text, parse, validate
from nlcore_bench.files import ResultsError, write_whole

__all__ = ["as_json", "check_settings", "extend_settings", "options_given", "write_settings"]


@dataclass(frozen=True)
class _Document:
    """Content of `settings.json`."""

    settings: dict[Text, Any]
    environment: dict[Text, Text] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


_DOCUMENT = TypeAdapter(_Document)
_ABSENT = "absent"
_TABLES = {"tasks", "optimizers", "methods"}
_Keys: TypeAlias = tuple[str, ...]
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
    """Write settings and environment atomically."""
    document = {"settings": settings, "environment": dict(environment)}
    write_whole(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def options_given(folder: Path, options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the options on record that a study does not set, by task: those given on the command line.

    Args:
        folder: Folder of the study; it may be empty.
        options: The options that the study sets, by task.

    Raises:
        ResultsError: The file cannot be read or is damaged.
    """
    path = folder / "settings.json"
    tasks = _document(path).settings.get("tasks", {}) if path.exists() else {}
    return {
        name: {key: value for key, value in tasks.get(name, {}).get("options", {}).items() if key not in mine}
        for name, mine in options.items()
    }


def check_settings(path: Path, settings: Mapping[str, Any]) -> _Document:
    """Return the content of a file whose settings agree with these.

    Environments may differ, and each side may have tasks, optimisers and methods that the other lacks.

    Raises:
        ResultsError: The file cannot be read or is damaged, is of another format, or its settings differ; the message
            names the first differences.
    """
    document = _document(path)
    there = document.settings
    old, new = dict(_flat(there)), dict(_flat(settings))
    if there.get("format", settings.get("format")) != settings.get("format"):
        raise ResultsError(
            f"{path.parent} was written by another version of nlcore-bench (format {there['format']}; this one has "
            f"format {settings['format']}). Choose another folder with --out."
        )
    differing = [
        keys
        for keys in {**new, **old}
        if old.get(keys, _ABSENT) != new.get(keys, _ABSENT) and not _only_one_has(keys, there, settings)
    ]
    if differing:
        raise ResultsError(_difference(path.parent, differing, old, new))
    return document


def _document(path: Path) -> _Document:
    try:
        document = validate(_DOCUMENT, parse(path.read_bytes()))
        list(_flat(document.settings))  # raises if it is nested too deeply
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path} holds no settings ({error}). Choose another folder with --out.") from error
    return document


def extend_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Add the tasks, optimisers and methods that a file lacks; raises as `check_settings` does."""
    document = check_settings(path, settings)
    tables = {table: {**document.settings.get(table, {}), **settings.get(table, {})} for table in sorted(_TABLES)}
    extended = {**document.settings, **{table: entries for table, entries in tables.items() if entries}}
    if extended != document.settings:
        write_settings(path, extended, document.environment)


def _only_one_has(keys: Sequence[str], there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Return whether the keys belong to a task, an optimiser or a method that one of two settings lacks."""
    table, *rest = keys
    return table in _TABLES and any(not rest or rest[0] not in one.get(table, {}) for one in (there, here))


def _difference(folder: Path, differing: Sequence[_Keys], old: Mapping[_Keys, str], new: Mapping[_Keys, str]) -> str:
    listed = "; ".join(
        f"{'.'.join(keys)} is {_short(old.get(keys, _ABSENT))} there and {_short(new.get(keys, _ABSENT))} here"
        for keys in differing[:3]
    )
    more = f"; {len(differing) - 3} more differ" if len(differing) > 3 else ""
    return (
        f"{folder} holds the runs of other settings: {listed}{more}. Choose another folder with --out, repeat "
        "with the settings of the folder to go on with it, or remove it to start anew."
    )


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[_Keys, str]]:
    """Yield the leaves of nested objects with their keys, as JSON; lists are leaves."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from (((key, *keys), leaf) for keys, leaf in _flat(value))
        else:
            yield (key,), json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
