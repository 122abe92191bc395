"""Discovery: the entry points that installed distributions announce, read from their metadata alone."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias, final

from nlcore.errors import attempted, error_text
from nlcore.registry.hooks import GROUP, GROUP_PREFIX

__all__ = [
    "LOCAL",
    "RESERVED",
    "UNKNOWN_VERSION",
    "Candidate",
    "EntryPointSource",
    "Installed",
    "core_version",
    "discover",
    "everything",
    "installed",
    "installed_as",
    "installed_candidates",
    "normalised",
    "unmet_requirement",
]

LOCAL = "local"
RESERVED: Mapping[str, str] = {
    "core": "nlcore",
    "sorting": "nlcore-sorting",
    "ranking": "nlcore-ranking",
    "shortest_paths": "nlcore-shortest-paths",
    "decisions": "nlcore-decisions",
    "sequences": "nlcore-sequences",
    "bench": "nlcore-bench",
}
UNKNOWN_VERSION = "0+unknown"
_NAMELESS = {"", "unknown"}  # setuptools writes UNKNOWN where a project has no name

EntryPointSource: TypeAlias = Iterable[metadata.EntryPoint] | Callable[[], Iterable[metadata.EntryPoint]]


@final
class Installed:
    """A distribution, as far as its metadata can be read; each file is read when it is first asked for.

    `importlib.metadata` finds a distribution by the name of its folder, which need not be the name in its metadata,
    and raises whatever a file makes it raise. Nothing here does.

    Args:
        distribution: As found by `importlib.metadata`.
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
    def location(self) -> str:
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
        """The normalised name; empty without a name."""
        key = normalised(self.name)
        return "" if key in _NAMELESS else key

    @property
    def name(self) -> str:
        """The name as the distribution writes it; empty when it is not in the metadata."""
        return self._fields[0]

    @property
    def version(self) -> str:
        """Its version; empty as above."""
        return self._fields[1]

    @property
    def requires(self) -> tuple[str, ...]:
        """Its requirements, as `Requires-Dist` has them."""
        return self._fields[2]

    @property
    def fault(self) -> str:
        """Why the metadata could not be read, or empty."""
        return self._fields[3]

    @cached_property
    def entry_points(self) -> str:
        """The text of `entry_points.txt`; empty when there is none."""
        return attempted(lambda: self._distribution.read_text("entry_points.txt"), None) or ""

    @cached_property
    def _fields(self) -> tuple[str, str, tuple[str, ...], str]:
        try:
            fields: Any = self._distribution.metadata or {}
            name, version = (str(fields[field]) if field in fields else "" for field in ("Name", "Version"))
            listed = fields.get_all("Requires-Dist") if fields else ()
            requires = self._distribution.requires if listed is None else listed  # an egg lists them in another file
            return name, version, tuple(requires or ()), ""
        except Exception as error:
            return "", "", (), f"its metadata {self.folder} cannot be read: {error_text(error)}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry point in one of the groups `nlcore.plugins…`, with the metadata of its distribution.

    Attributes:
        entry_point: Its name is the namespace, its value the module with the hooks.
        distribution: Name as the distribution writes it; empty when it is not in the metadata.
        version: Its version; empty as above.
        fault: Why the metadata could not be read, or empty.
        mismatch: Why it does not fit this version of nlcore, or empty.
        keys: Namespace and distribution, normalised.
    """

    entry_point: metadata.EntryPoint
    distribution: str = ""
    version: str = ""
    fault: str = ""
    mismatch: str = ""
    keys: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, entry_point: metadata.EntryPoint, owner: Installed | None, core: str) -> Candidate:
        """Return the candidate for an entry point of `owner`; what the metadata lacks stays empty."""
        if owner is None:
            return cls(entry_point, mismatch=_mismatch(entry_point.group, (), core))
        mismatch = _mismatch(entry_point.group, owner.requires, core)
        return cls(entry_point, owner.name, owner.version, owner.fault, mismatch)


def _mismatch(group: str, requires: Iterable[str], core: str) -> str:
    if group != GROUP:
        return f"it registers in {group!r}, but nlcore {core} reads {GROUP!r}: install versions made for each other"
    unmet = None if core == UNKNOWN_VERSION else unmet_requirement(requires, "nlcore", core)
    return f"it requires {unmet!r}, but nlcore is {core}: install versions made for each other" if unmet else ""


def discover(source: EntryPointSource | None) -> list[Candidate]:
    """Return the candidates, in the order of sys.path.

    Copies of one distribution count once, and so do its offers to other plugin interfaces when this one is served.

    Args:
        source: Entry points, or a function that returns them; `None` for the installed distributions.
    """
    core = core_version()
    if source is None:
        # In a source tree there is no metadata to announce the core; where there is, this copy is dropped.
        own = Candidate(metadata.EntryPoint("core", "nlcore.builtin", GROUP), "nlcore", core)
        candidates = [*installed_candidates(), own]
    else:
        entry_points = [one for one in (source() if callable(source) else source) if one.group.startswith(GROUP_PREFIX)]
        candidates = [Candidate.of(one, Installed(one.dist) if one.dist else None, core) for one in entry_points]
    distinct: dict[tuple[str, str, str], Candidate] = {}
    for one in candidates:
        entry_point, key = one.entry_point, normalised(one.distribution)
        # Only the module distinguishes distributions without a name.
        identity = (key or f"?{entry_point.value}", entry_point.name, entry_point.group)
        distinct.setdefault(identity, replace(one, keys=(normalised(entry_point.name), key)))
    served = {(owner, name) for owner, name, group in distinct if group == GROUP}
    return [one for (owner, name, group), one in distinct.items() if group == GROUP or (owner, name) not in served]


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
    """Yield the entry points of installed distributions in the groups of nlcore.

    `importlib.metadata.entry_points()` fails as a whole when those of one distribution, however unrelated, are
    malformed. Here a fault concerns its own distribution only. Of several copies of a distribution only one counts.
    """
    distributions, core = list(installed()), core_version()
    keys = {one.key for one in distributions if GROUP_PREFIX in one.entry_points}
    copies: dict[str, list[Installed]] = defaultdict(list)
    for one in distributions:
        # A copy without entry points may come first on sys.path, and then it is the one that is imported.
        if GROUP_PREFIX in one.entry_points or one.folder_key in keys:
            copies[one.key].append(one)
    nameless = copies.pop("", [])
    for owner in [*map(_current, copies.values()), *nameless]:
        yield from _parsed(owner, core)


def _named(key: str, distributions: Iterable[Installed]) -> Installed | None:
    copies = [one for one in distributions if one.key == key]
    return _current(copies) if copies else None


def _current(copies: Sequence[Installed]) -> Installed:
    """Return the copy that an import finds: of those in the first folder of sys.path the newest version."""
    if len(copies) == 1:
        return copies[0]
    from packaging.version import Version

    first = [one for one in copies if one.location == copies[0].location]
    return max(first, key=lambda one: (attempted(lambda: Version(one.version), Version("0.dev0")), one.version))


def _parsed(owner: Installed, core: str) -> Iterator[Candidate]:
    parser = configparser.ConfigParser(delimiters="=", strict=False, allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(owner.entry_points)
    except Exception as error:  # a continuation line without a first line raises an AttributeError in the parser
        fault = f"its entry_points.txt cannot be read: {error_text(error, with_class=False)}"
        yield replace(Candidate.of(metadata.EntryPoint("?", "", GROUP), owner, core), fault=fault)
        return
    for group in parser.sections():
        if group == GROUP_PREFIX or group.startswith(f"{GROUP_PREFIX}."):
            for name, value in parser.items(group):
                yield Candidate.of(metadata.EntryPoint(name, value or "", group), owner, core)


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def unmet_requirement(requires: Iterable[str], name: str, version: str) -> str | None:
    """Return the first requirement on `name` that `version` does not meet.

    A requirement with an environment marker, with an address, or that is malformed is left to the installer.

    Args:
        requires: Requirements as `Requires-Dist` has them.
        name: The distribution to look for.
        version: The installed version of it.
    """
    key = normalised(name)
    named = (text for text in requires if normalised(text.lstrip()).startswith(key))
    return next((text for text in named if _unmet(text, key, version)), None)


@lru_cache(maxsize=256)
def _unmet(text: str, key: str, version: str) -> bool:
    from packaging.requirements import Requirement  # 15 ms, which `import nlcore` does not need
    from packaging.version import Version

    try:
        requirement, public = Requirement(text), Version(version).public
        unmet = not requirement.specifier.contains(public, prereleases=True)
    except ValueError:  # malformed, or with a number of more digits than Python reads
        return False
    left = requirement.marker or requirement.url or "===" in text
    return unmet and not left and normalised(requirement.name) == key
