"""The studies of plugins and of files; does not import torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nlcore.errors import ConfigError, nearest
from nlcore.registry.default import registry
from nlcore_bench.documents import explain
from nlcore_bench.parts import LossPart, MethodPart, OptimizerPart, TaskPart
from nlcore_bench.study import Study

__all__ = ["find", "load", "shipped"]


def load(source: str | Path | Mapping[str, Any]) -> Study:
    """Return the study of a TOML file or of its parsed content.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has a wrong field; the message names field and file.
    """
    name, content = "the study", source
    if not isinstance(source, Mapping):
        name = str(source)
        try:
            content = tomllib.loads(Path(source).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name} cannot be read as a study: {error}.") from error
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: {explain(error, _fields)}.") from error


def _fields(path: Sequence[str | int]) -> Iterable[str]:
    """Return the fields of the table at a path, for the nearest name."""
    parts: dict[str | int, type[BaseModel]] = {
        "tasks": TaskPart,
        "losses": LossPart,
        "optimizers": OptimizerPart,
        "methods": MethodPart,
    }
    if "loss" in path[2:3]:
        return LossPart.model_fields
    return parts[path[0]].model_fields if len(path) > 1 and path[0] in parts else Study.model_fields


def shipped() -> dict[str, tuple[str, Study]]:
    """Return the studies of all plugins by id, each with its distribution.

    Raises:
        ConfigError: A study has a wrong field, or two have one id.
    """
    found: dict[str, tuple[str, Study]] = {}
    for record, source in registry.studies():
        study = load(source)
        other, _ = found.setdefault(study.id, (record.origin, study))
        if other != record.origin:
            raise ConfigError(f"{other} and {record.origin} both have a study {study.id!r}: uninstall one of them.")
    return found


def find(word: str) -> Study:
    """Return the study of an id or of a path.

    Raises:
        ConfigError: The study is unknown, or has a wrong field.
    """
    if word.endswith(".toml") or Path(word).is_file():
        return load(word)
    known = shipped()
    if word not in known:
        raise ConfigError(
            f"there is no study {word!r}{nearest(word, known)}. `nlcore bench list` shows them; for one of your own "
            "give the path of its TOML file."
        )
    return known[word][1]
