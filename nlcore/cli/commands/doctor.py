"""`nlcore doctor`: versions, plugins, imports of their algorithms, requirements and settings, and whether they fit."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nlcore.cli.output import print_json, say, table
from nlcore.errors import PluginError, attempted, fault_place, nearest
from nlcore.registry import PluginRecord, PluginState, Registry, default
from nlcore.registry.discovery import (
    UNKNOWN_VERSION,
    Installed,
    core_version,
    everything,
    installed,
    installed_as,
    normalised,
    unmet_requirement,
)
from nlcore.registry.hooks import GROUP, GROUP_PREFIX
from nlcore.registry.isolation import resolve
from nlcore.registry.messages import install_hint, withheld
from nlcore.registry.plugins import Settings

__all__ = ["EXAMPLES", "Finding", "add_arguments", "diagnosis", "needed_core", "run", "unmet"]

EXAMPLES = (
    ("nlcore doctor", "the exit code is 1 when something is wrong"),
    ("nlcore doctor --json", "for a bug report"),
)

Level: TypeAlias = Literal["ok", "note", "wrong"]
_NEEDED = ("torch", "packaging", "pluggy", "pydantic")
_OLDEST_PYTHON = (3, 11)
_GROUP_NAME = re.compile(r"^\s*\[([^]\n]+)\]", re.MULTILINE)
_NEAR = re.compile(r"nlcore(?:[._-]?plugin|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        level: `"ok"`, `"note"` for a setting that may be intended, `"wrong"` for a fault to be fixed.
        subject: The name of a distribution, a plugin, an algorithm or a variable.
        text: Its state, and the remedy for a fault.
    """

    level: Level
    subject: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define no argument but `--json`, which every command has."""


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 1 when something is wrong."""
    findings = diagnosis(default.registry)
    wrong = [one for one in findings if one.level == "wrong"]
    if arguments.json:
        print_json({"ok": not wrong, "findings": [asdict(one) for one in findings]})
    else:
        rows = [(one.level, one.subject, one.text) for one in findings]
        say(table(None, [("WRONG", *row[1:]) if row[0] == "wrong" else row for row in rows]))
        count = len(wrong)
        verdict = f"{count} thing{'s' * (count != 1)} to fix: {', '.join(one.subject for one in wrong)}"
        say(f"\n{verdict if wrong else 'All is well.'}")
    return 1 if wrong else 0


def diagnosis(registry: Registry) -> list[Finding]:
    """Return the findings about this installation; imports every algorithm, and with them torch."""
    light = "torch" not in sys.modules
    records = registry.plugins()
    return [
        *_versions(),
        *(_plugin(record) for record in records),
        *(_heavy(records) if light and "torch" in sys.modules else ()),
        *_strays(records),
        *_algorithms(registry, records),
        *unmet(records),
        *_settings(records),
        *_twice(),
        *_left_over(),
        *_folder(),
    ]


def _versions() -> Iterator[Finding]:
    python = f"{platform.python_version()} at {sys.executable}"
    old = sys.version_info < _OLDEST_PYTHON
    yield Finding("wrong" if old else "ok", "python", f"{python}: 3.11 or newer is needed" if old else python)
    core = core_version()
    where = Path(__file__).parents[2]
    if core == UNKNOWN_VERSION:
        yield Finding("note", "nlcore", f"no version is known at {where}: install it with pip install -e")
    else:
        yield Finding("ok", "nlcore", f"{core} at {where}")
    requires = _requires("nlcore")
    for name in _NEEDED:
        yield _needed(name, requires, "nlcore")


def _needed(name: str, requires: Sequence[str], owner: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding("wrong", name, f"not installed, but {owner} needs it: {install_hint(name)}")
    if unmet := unmet_requirement(requires, name, version):
        return Finding("wrong", name, f"{version}, but {owner} requires {unmet!r}: {install_hint(unmet)}")
    return Finding("ok", name, version)


def _plugin(record: PluginRecord) -> Finding:
    needs = needed_core(record)
    subject = f"plugin {record.namespace}"
    if record.state.faulty:
        return Finding("wrong", subject, f"{withheld(record)}{_at(record.cause)}")
    if record.state is PluginState.DISABLED:
        return Finding("note", subject, f"{record.origin} is {record.error}")
    number = len(record.specs)
    text = f"{record.origin} {record.state}, {number} algorithm{'s' * (number != 1)}"
    if normalised(record.distribution) == "nlcore" or not record.distribution:
        return Finding("ok", subject, text)
    if needs:
        return Finding("ok", subject, f"{text}, needs {needs!r}")
    return Finding("note", subject, f"{text}; it has no requirement on nlcore: its author should pin nlcore>=0.1,<1")


def needed_core(record: PluginRecord) -> str:
    """Return the requirement of a plugin on the core; empty without one."""
    return next((one for one in _requires(record.distribution) if _name_in(one) == "nlcore"), "")


def _heavy(records: Sequence[PluginRecord]) -> Iterator[Finding]:
    slowest = max(records, key=lambda record: record.seconds)
    yield Finding(
        "wrong",
        f"plugin {slowest.namespace}",
        f"torch was imported while the plugins were listed, and {slowest.origin} took longest, "
        f"{slowest.seconds:.1f} s: import torch in the module of the algorithm, not in the one that registers it",
    )


def _strays(records: Sequence[PluginRecord]) -> Iterator[Finding]:
    """Yield distributions that look like plugins and register nothing."""
    known = {normalised(record.distribution) for record in records if record.distribution} | {"nlcore"}
    for one in installed():
        name, groups = one.key, set(_GROUP_NAME.findall(one.entry_points))
        if not name or name in known:
            continue
        near = sorted(one for one in groups if _NEAR.match(one) and not one.startswith(f"{GROUP_PREFIX}."))
        if near:
            text = f"has the entry-point group {near[0]!r}, which is not read: write {GROUP!r} and install it anew"
            yield Finding("wrong", name, text)
        elif not groups and any(_name_in(needed) == "nlcore" for needed in _unconditional(one)):
            text = f"needs nlcore and registers nothing; a plugin has an entry point in the group {GROUP!r}"
            yield Finding("note", name, text)


def _algorithms(registry: Registry, records: Sequence[PluginRecord]) -> Iterator[Finding]:
    """Yield the algorithms whose class, or whose options, cannot be imported."""
    for record in records:
        for spec in record.specs if record.value else ():
            try:
                registry.config(spec.id)
                resolve(spec.factory, f"{spec.id} of {record.origin}")
            except PluginError as error:
                yield Finding("wrong", spec.id, f"{error}{_at(error.__cause__)}")


def _at(cause: BaseException | None) -> str:
    """Return the file and line of a plugin at which its code failed, as the end of a finding."""
    place = fault_place(cause)
    return f" At {place}" if place else ""


def unmet(records: Sequence[PluginRecord]) -> Iterator[Finding]:
    """Yield requirements of plugins, beside the core, that are not met."""
    for name in sorted({normalised(record.distribution) for record in records if record.distribution} - {"nlcore"}):
        requires = _requires(name)
        for needed in dict.fromkeys(_name_in(one) for one in requires):
            if needed and needed not in {"nlcore", *_NEEDED}:
                finding = _needed(needed, [one for one in requires if _name_in(one) == needed], name)
                if finding.level == "wrong":
                    yield finding


def _settings(records: Sequence[PluginRecord]) -> Iterator[Finding]:
    settings = Settings.of(os.environ)
    names = {normalised(record.namespace) for record in records}
    names |= {normalised(record.distribution) for record in records if record.distribution}
    for variable, words in (("NLCORE_PLUGINS", settings.allowed), ("NLCORE_BLOCK_PLUGINS", settings.blocked)):
        for word in sorted(words or ()):
            text = f"names {word!r}"
            if word not in names:
                text += f", which is neither a namespace nor a distribution of a plugin{nearest(word, names)}"
            yield Finding("note" if word in names else "wrong", variable, text)
    if settings.allowed is not None and not settings.allowed:
        yield Finding("note", "NLCORE_PLUGINS", "is set and empty: no plugin but the core loads")
    if settings.strict:
        yield Finding("note", "NLCORE_STRICT_PLUGINS", "is set: the first faulty plugin raises")


def _twice() -> Iterator[Finding]:
    """Yield distributions of nlcore and its plugins that are there more than once; the first on sys.path is used."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in installed():
        if one.key and (one.key == "nlcore" or GROUP_PREFIX in one.entry_points):
            place = (one.version, one.location)
            if place not in places[one.key]:
                places[one.key].append(place)
    for name, found in places.items():
        if len(found) > 1:
            where = ", ".join(f"{version} in {folder}" for version, folder in found)
            yield Finding(
                "wrong", name, f"installed {len(found)} times: {where}. The first is used; uninstall the others"
            )


def _left_over() -> Iterator[Finding]:
    """Yield remains of nlcore and its plugins after an interrupted run of pip."""
    for one in everything():
        if one.left_over and (one.key == "nlcore" or GROUP_PREFIX in one.entry_points):
            yield Finding("note", one.key or "?", f"pip has left {one.folder} behind, which is not used: delete it")


def _folder() -> Iterator[Finding]:
    try:
        here = Path.cwd()
    except OSError as error:
        yield Finding("note", "folder", f"the current folder cannot be used: {error.strerror or error}")
        return
    if not os.access(here, os.W_OK):
        yield Finding("note", "folder", f"{here} cannot be written to: give commands another one to write to")


def _requires(distribution: str) -> list[str]:
    one = installed_as(distribution)
    return [] if one is None else _unconditional(one)


def _unconditional(one: Installed) -> list[str]:
    """Return requirements without an environment marker: those with one are left to the installer."""
    return [requirement for requirement in one.requires if ";" not in requirement]


def _version(distribution: str) -> str | None:
    one = installed_as(distribution)
    return None if one is None else one.version or "of an unknown version"


def _name_in(requirement: str) -> str:
    """Return the normalised name in a requirement; empty for a malformed one."""
    from packaging.requirements import Requirement

    return normalised(attempted(lambda: Requirement(requirement).name, ""))
