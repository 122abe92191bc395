"""What `importlib.metadata` knows: which distributions offer plugins, and which version of nlcore this is."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nlcore.registry.hooks import GROUP, GROUP_PREFIX

__all__ = ["UNKNOWN_VERSION", "Candidate", "core_version", "installed_candidates", "normalised"]

UNKNOWN_VERSION = "0+unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An entry point in one of the groups `nlcore.plugins…`, with what its distribution says about itself.

    Attributes:
        entry_point: Its name is the namespace, its value the module with the hooks.
        distribution: Name as the distribution writes it; empty when the metadata does not tell.
        version: Its version; empty as above.
        requires: Its requirements, as `Requires-Dist` has them.
        fault: Why the metadata could not be read, or empty.
    """

    entry_point: metadata.EntryPoint
    distribution: str = ""
    version: str = ""
    requires: tuple[str, ...] = ()
    fault: str = ""

    @classmethod
    def of(cls, entry_point: metadata.EntryPoint, distribution: metadata.Distribution | None) -> Candidate:
        """Return the candidate for an entry point; what the metadata lacks stays empty."""
        if distribution is None:
            return cls(entry_point=entry_point)
        try:
            found = distribution.metadata
            name, version = (found[field] if field in found else "" for field in ("Name", "Version"))
            requires = tuple(distribution.requires or ())
        except Exception as error:
            return cls(entry_point=entry_point, fault=f"its metadata cannot be read: {error!r}")
        return cls(entry_point=entry_point, distribution=name, version=version, requires=requires)


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def core_version() -> str:
    """Return the version of nlcore: from its metadata, in a source tree from `pyproject.toml`."""
    try:
        return metadata.version("nlcore")
    except metadata.PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
        return str(project["version"]) if project["name"] == "nlcore" else UNKNOWN_VERSION
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return UNKNOWN_VERSION


def installed_candidates() -> Iterator[Candidate]:
    """Yield what the installed distributions offer in the groups of nlcore.

    `importlib.metadata.entry_points()` parses the entry points of everything installed and fails as a whole when
    those of one distribution, however unrelated, are malformed. Here a search for the group's name comes first, and
    what cannot be read concerns its own distribution only. A distribution that is there twice is yielded twice.
    """
    for distribution in metadata.distributions():
        text = _entry_points_text(distribution)
        if GROUP_PREFIX not in text:
            continue
        name = Candidate.of(metadata.EntryPoint("", "", ""), distribution).distribution
        if name:
            # The first of a name on sys.path is what an import finds; a stale copy behind it does not count.
            distribution = metadata.distribution(name)  # noqa: PLW2901
            text = _entry_points_text(distribution)
        yield from _parsed(text, distribution)


def _entry_points_text(distribution: metadata.Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeError):
        return ""


def _parsed(text: str, distribution: metadata.Distribution) -> Iterator[Candidate]:
    parser = configparser.ConfigParser(delimiters="=", strict=False, allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        candidate = Candidate.of(metadata.EntryPoint("?", "", GROUP), distribution)
        yield Candidate(
            entry_point=candidate.entry_point,
            distribution=candidate.distribution,
            version=candidate.version,
            fault=f"its entry_points.txt cannot be read: {error.message}",
        )
        return
    for group in parser.sections():
        if group == GROUP_PREFIX or group.startswith(f"{GROUP_PREFIX}."):
            for name, value in parser.items(group):
                yield Candidate.of(metadata.EntryPoint(name, value or "", group), distribution)
