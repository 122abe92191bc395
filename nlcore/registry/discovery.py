"""Which plugins there are and which of them may load, decided from metadata before anything is imported."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nlcore.errors import shorten
from nlcore.registry.distributions import UNKNOWN_VERSION, Candidate, normalised
from nlcore.registry.hooks import GROUP
from nlcore.registry.records import PluginRecord, PluginState
from nlcore.registry.requirements import unmet_requirement
from nlcore.registry.spec import is_namespace

__all__ = ["LOCAL", "RESERVED", "Settings", "survey"]

LOCAL = "local"
RESERVED: Mapping[str, str] = {
    "core": "nlcore",
    "sorting": "nlcore-sorting",
    "ranking": "nlcore-ranking",
    "shortest_paths": "nlcore-shortest-paths",
    "sequences": "nlcore-sequences",
    "bench": "nlcore-bench",
}
_VALUE = re.compile(r"\s*[\w.]+\s*(?::\s*[\w.]+\s*)?(?:\[.*\]\s*)?")
_OFF = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says about plugins.

    Attributes:
        allowed: Namespaces and distributions that may load, normalised; `None` for all.
        blocked: Those that may not, whatever `allowed` says.
        strict: Whether a fault of any plugin raises at once.
        trace: Whether to print what is loaded.
    """

    allowed: frozenset[str] | None
    blocked: frozenset[str]
    strict: bool
    trace: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read `NLCORE_PLUGINS`, `NLCORE_BLOCK_PLUGINS`, `NLCORE_STRICT_PLUGINS` and `NLCORE_TRACE_PLUGINS`."""
        allowed = environ.get("NLCORE_PLUGINS")
        return cls(
            allowed=None if allowed is None else _words(allowed),
            blocked=_words(environ.get("NLCORE_BLOCK_PLUGINS", "")),
            strict=environ.get("NLCORE_STRICT_PLUGINS", "").strip().lower() not in _OFF,
            trace=environ.get("NLCORE_TRACE_PLUGINS", "").strip().lower() not in _OFF,
        )

    def disabling(self, namespace: str, distribution: str) -> str | None:
        """Return the reason why a plugin is switched off, or `None`. The core needs no permission to load."""
        names = {normalised(namespace), normalised(distribution)}
        if names & self.blocked:
            return "switched off by NLCORE_BLOCK_PLUGINS"
        if self.allowed is not None and not names & self.allowed and RESERVED.get(namespace) != "nlcore":
            return "switched off, since NLCORE_PLUGINS does not name it"
        return None


def _words(text: str) -> frozenset[str]:
    return frozenset(normalised(word) for word in re.split(r"[\s,]+", text) if word)


def survey(
    candidates: Iterable[Candidate], settings: Settings, core: str, registered: Collection[str] = ()
) -> list[tuple[Candidate, PluginRecord]]:
    """Return every plugin with its state, ordered by namespace and distribution.

    What is switched off or incompatible takes no part in conflicts: it cannot load, so it leaves no doubt about who
    owns a namespace.

    Args:
        candidates: What was found, in the order of sys.path.
        settings: What the environment says.
        core: The version of nlcore.
        registered: Namespaces that this process has registered algorithms in.
    """
    judged = [(one, _judged_alone(one, settings, core)) for one in _distinct(candidates)]
    claims: dict[str, list[PluginRecord]] = defaultdict(list)
    for _, record in judged:
        if record.state is PluginState.DISCOVERED:
            claims[record.namespace].append(record)
    verdicts = [(one, _judged_together(record, claims[record.namespace], registered)) for one, record in judged]
    return sorted(verdicts, key=lambda pair: (pair[1].namespace, pair[1].distribution))


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Drop copies of one distribution, and its offers to other versions of nlcore when this one is served."""
    found: dict[tuple[str, str, str], Candidate] = {}
    for one in candidates:
        # Two nameless distributions are two: only their module tells them apart.
        owner = normalised(one.distribution) or f"?{one.entry_point.value}"
        found.setdefault((owner, one.entry_point.name, one.entry_point.group), one)
    served = {(owner, name) for owner, name, group in found if group == GROUP}
    return [one for (owner, name, group), one in found.items() if group == GROUP or (owner, name) not in served]


def _judged_alone(one: Candidate, settings: Settings, core: str) -> PluginRecord:
    """Return the state that follows from the plugin itself."""
    namespace, group = one.entry_point.name, one.entry_point.group
    state, error = PluginState.DISCOVERED, None
    unmet = None if core == UNKNOWN_VERSION else unmet_requirement(one.requires, "nlcore", core)
    if reason := settings.disabling(namespace, one.distribution):
        state, error = PluginState.DISABLED, reason
    elif one.fault:
        state, error = PluginState.FAILED, one.fault
    elif not is_namespace(namespace):
        error = f"the entry point's name {namespace!r} is not a namespace: write one word in lower snake case"
        state = PluginState.FAILED
    elif not _VALUE.fullmatch(one.entry_point.value):
        error = f"the entry point's value {one.entry_point.value!r} is not a module: write the name of one"
        state = PluginState.FAILED
    elif group != GROUP:
        error = f"it registers in {group!r}, but nlcore {core} reads {GROUP!r}: install versions made for each other"
        state = PluginState.INCOMPATIBLE
    elif unmet:
        error = f"it requires {unmet!r}, but nlcore is {core}: install versions made for each other"
        state = PluginState.INCOMPATIBLE
    return PluginRecord(
        namespace=namespace,
        distribution=one.distribution,
        version=one.version,
        state=state,
        error=error,
        value=one.entry_point.value,
    )


def _judged_together(record: PluginRecord, claims: list[PluginRecord], registered: Collection[str]) -> PluginRecord:
    """Return the state that follows from who else wants the namespace."""
    if record.state is not PluginState.DISCOVERED:
        return record
    namespace, owner = record.namespace, RESERVED.get(record.namespace)
    if owner is not None and normalised(record.distribution) == owner:
        return record
    if owner is not None:
        error = f"the namespace {namespace!r} is reserved for {owner}; choose another name for the entry point"
    elif namespace == LOCAL:
        error = f"the namespace {LOCAL!r} is reserved for nlcore.register; choose another name for the entry point"
    elif namespace in registered:
        error = f"this process has registered algorithms of its own as {namespace!r}"
    elif len(claims) > 1:
        names = shorten(sorted(claim.origin for claim in claims))
        error = (
            f"the namespace {namespace!r} is claimed by {names}: "
            "uninstall all but one, or name the others in NLCORE_BLOCK_PLUGINS"
        )
    else:
        return record
    return PluginRecord(
        namespace=namespace,
        distribution=record.distribution,
        version=record.version,
        state=PluginState.CONFLICT,
        error=error,
        value=record.value,
    )
