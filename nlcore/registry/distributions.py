"""What is installed: which distributions offer plugins, and which version of nlcore this is."""

from __future__ import annotations

import configparser
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, final

from nlcore.errors import attempted, error_text
from nlcore.registry.hooks import GROUP, GROUP_PREFIX
from nlcore.registry.requirements import normalised, version_key

__all__ = [
    "UNKNOWN_VERSION",
    "Candidate",
    "Installed",
    "core_version",
    "everything",
    "installed",
    "installed_as",
    "installed_candidates",
    "normalised",
]

UNKNOWN_VERSION = "0+unknown"
_NAMELESS = {"", "unknown"}  # setuptools writes UNKNOWN where a project has no name


@final
class Installed:
    """A distribution, as far as its metadata can be read; each file is read when it is first asked for.

    `importlib.metadata` finds a distribution by the name of its folder, which need not be the name in its metadata,
    and raises whatever a file makes it raise. Nothing here does.

    Args:
        distribution: What `importlib.metadata` has found.
    """

    def __init__(self, distribution: metadata.Distribution) -> None:
        self._distribution = distribution
        # Only the private attribute names the folder of the metadata.
        self._folder: Any = getattr(distribution, "_path", None)

    @property
    def folder(self) -> str:
        """The folder of the metadata; empty for one that is not in a folder."""
        return "" if self._folder is None else str(self._folder)

    @property
    def place(self) -> str:
        """The folder that holds it, an entry of sys.path."""
        return attempted(lambda: str(Path(str(self._distribution.locate_file(""))).resolve()), "")

    @property
    def left_over(self) -> bool:
        """Whether pip has set it aside, to be deleted: an interrupted run of pip leaves such folders."""
        return self._folder is not None and self._folder.name.startswith("~")

    @property
    def folder_key(self) -> str:
        """The normalised name that the folder bears."""
        return "" if self._folder is None else normalised(self._folder.name.partition("-")[0])

    @cached_property
    def key(self) -> str:
        """The normalised name; empty when it has none."""
        key = normalised(self.name)
        return "" if key in _NAMELESS else key

    @property
    def name(self) -> str:
        """The name as the distribution writes it; empty when the metadata does not say it."""
        return self._about[0]

    @property
    def version(self) -> str:
        """Its version; empty as above."""
        return self._about[1]

    @property
    def requires(self) -> tuple[str, ...]:
        """Its requirements, as `Requires-Dist` has them."""
        return self._about[2]

    @property
    def fault(self) -> str:
        """Why the metadata could not be read, or empty."""
        return self._about[3]

    @cached_property
    def entry_points(self) -> str:
        """The text of `entry_points.txt`; empty when there is none."""
        return attempted(lambda: self._distribution.read_text("entry_points.txt"), None) or ""

    @cached_property
    def _about(self) -> tuple[str, str, tuple[str, ...], str]:
        try:
            found: Any = self._distribution.metadata or {}
            name, version = (str(found[field]) if field in found else "" for field in ("Name", "Version"))
            listed = found.get_all("Requires-Dist") if found else ()
            requires = self._distribution.requires if listed is None else listed  # an egg lists them in another file
            return name, version, tuple(requires or ()), ""
        except Exception as error:
            return "", "", (), f"its metadata {self.folder} cannot be read: {error_text(error)}"


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
    def of(cls, entry_point: metadata.EntryPoint, owner: Installed | None) -> Candidate:
        """Return the candidate for an entry point; what the metadata lacks stays empty."""
        if owner is None:
            return cls(entry_point=entry_point)
        return cls(
            entry_point=entry_point,
            distribution=owner.name,
            version=owner.version,
            requires=owner.requires,
            fault=owner.fault,
        )


def core_version() -> str:
    """Return the version of nlcore: from its metadata, in a source tree from `pyproject.toml`."""
    own = _named("nlcore", map(Installed, metadata.distributions(name="nlcore")))
    if own is not None and own.version:
        return own.version
    try:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
        return str(project["version"]) if project["name"] == "nlcore" else UNKNOWN_VERSION
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return UNKNOWN_VERSION


def everything() -> Iterator[Installed]:
    """Yield all distributions in the order of sys.path, and among them what pip has set aside."""
    return map(Installed, metadata.distributions())


def installed() -> Iterator[Installed]:
    """Yield all distributions in the order of sys.path, without what pip has set aside."""
    return (one for one in everything() if not one.left_over)


def installed_as(name: str) -> Installed | None:
    """Return the distribution of a name, or `None`; whether its folder bears that name does not matter."""
    key = normalised(name)
    if key in _NAMELESS:
        return None
    return _named(key, map(Installed, metadata.distributions(name=name))) or _named(key, installed())


def installed_candidates() -> Iterator[Candidate]:
    """Yield what the installed distributions offer in the groups of nlcore.

    `importlib.metadata.entry_points()` parses the entry points of everything installed and fails as a whole when
    those of one distribution, however unrelated, are malformed. Here a search for the group's name comes first, and
    what cannot be read concerns its own distribution only. Of several copies of a distribution one counts.
    """
    found = list(installed())
    keys = {one.key for one in found if GROUP_PREFIX in one.entry_points}
    copies: dict[str, list[Installed]] = defaultdict(list)
    for one in found:
        # A copy without entry points may come first on sys.path, and then it is the one that is imported.
        if GROUP_PREFIX in one.entry_points or one.folder_key in keys:
            copies[one.key].append(one)
    nameless = copies.pop("", [])
    for owner in [*map(_current, copies.values()), *nameless]:
        yield from _parsed(owner)


def _named(key: str, found: Iterable[Installed]) -> Installed | None:
    copies = [one for one in found if one.key == key]
    return _current(copies) if copies else None


def _current(copies: Sequence[Installed]) -> Installed:
    """Return the copy that an import finds: of those in the first folder of sys.path the newest version."""
    if len(copies) == 1:
        return copies[0]
    first = [one for one in copies if one.place == copies[0].place]
    return max(first, key=lambda one: (version_key(one.version) or ((), (0, 0), 0, 0), one.version))


def _parsed(owner: Installed) -> Iterator[Candidate]:
    parser = configparser.ConfigParser(delimiters="=", strict=False, allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(owner.entry_points)
    except Exception as error:  # a line that continues nothing raises what is no error of the parser
        fault = f"its entry_points.txt cannot be read: {error_text(error, with_class=False)}"
        yield replace(Candidate.of(metadata.EntryPoint("?", "", GROUP), owner), fault=fault)
        return
    for group in parser.sections():
        if group == GROUP_PREFIX or group.startswith(f"{GROUP_PREFIX}."):
            for name, value in parser.items(group):
                yield Candidate.of(metadata.EntryPoint(name, value or "", group), owner)
