"""Messages of failed lookups and of plugins that cannot be used: the request, the choices, the remedy."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from nlcore.errors import (
    PluginConflictError,
    PluginDisabledError,
    PluginError,
    PluginIncompatibleError,
    PluginLoadError,
    RegistryError,
    UnknownAlgorithmError,
    UnknownNamespaceError,
    UnknownVersionError,
    nearest,
    shorten,
)
from nlcore.registry.discovery import RESERVED
from nlcore.registry.isolation import describe
from nlcore.registry.spec import AlgorithmSpec, PluginRecord, PluginState

__all__ = ["install_hint", "malformed", "refusal", "unknown_algorithm", "unknown_version", "withheld"]

_FORM = "Write namespace/name or namespace/name-vN in lower snake case, as in 'sorting/neuralsort' or its '-v1'."
_WITHHELD = {
    PluginState.DISABLED: (PluginDisabledError, "is"),
    PluginState.INCOMPATIBLE: (PluginIncompatibleError, "cannot be used:"),
    PluginState.CONFLICT: (PluginConflictError, "is withheld:"),
}


def install_hint(requirement: str) -> str:
    """Return the command that installs a distribution; for one of nlcore's own also the command for a clone.

    Args:
        requirement: Its name, with or without versions.
    """
    name = (re.match(r"[\w.-]*\w", requirement) or [requirement])[0]
    command = f"pip install {requirement if requirement == name else repr(requirement)}"
    if name not in RESERVED.values():
        return command
    folder = "." if name == "nlcore" else f"plugins/{name.removeprefix('nlcore-').replace('-', '_')}"
    return f"pip install {folder} in a clone of nlcore, or {command} once published"


def withheld(record: PluginRecord) -> PluginError:
    """Return the error that says why a plugin cannot be used."""
    what = f"plugin {record.namespace!r} of {record.origin}"
    if record.state in _WITHHELD:
        error, says = _WITHHELD[record.state]
        return error(f"{what} {says} {record.error}.")
    return PluginLoadError(
        f"{what} failed to load from {record.value!r}: {(record.error or '').rstrip('.')}. "
        f"Fix or update it; NLCORE_BLOCK_PLUGINS={record.namespace} leaves it out."
    )


def refusal(namespace: str, records: Sequence[PluginRecord], known: Collection[str]) -> RegistryError | PluginError:
    """Return the error for a namespace that no plugin may serve.

    Args:
        namespace: The namespace that was asked for.
        records: Those of all plugins.
        known: The namespaces to list.
    """
    claims = [record for record in records if record.namespace == namespace]
    rank = [PluginState.FAILED, PluginState.INCOMPATIBLE, PluginState.CONFLICT, PluginState.DISABLED]
    owner = RESERVED.get(namespace)
    own = [record for record in claims if owner is None or record.state is not PluginState.CONFLICT]
    if own:
        return withheld(min(own, key=lambda record: rank.index(record.state)))
    if owner is not None:
        others = (
            f" What {shorten([claim.origin for claim in claims])} offers under that name is withheld." if claims else ""
        )
        return UnknownNamespaceError(
            f"the namespace {namespace!r} belongs to {owner}, which is not installed. "
            f"Run: {install_hint(owner)}.{others}"
        )
    near = nearest(namespace, {*known, *RESERVED})
    return UnknownNamespaceError(
        f"no installed plugin has the namespace {namespace!r}{near}. There are: {shorten(sorted(known)) or 'none'}. "
        "After an install in this process call nlcore.refresh(); `nlcore doctor` finds plugins that register nothing."
    )


def unknown_algorithm(namespace: str, name: str, specs: Sequence[AlgorithmSpec]) -> UnknownAlgorithmError:
    """Return the error for a name that the namespace does not have."""
    names = sorted({spec.name for spec in specs})
    near = [f"{namespace}/{one}" for one in get_close_matches(name, names, n=3, cutoff=0.5)]
    there = shorten([f"{namespace}/{one}" for one in names]) or "none"
    return UnknownAlgorithmError(f"there is no algorithm '{namespace}/{name}'.{_question(near)} There are: {there}.")


def unknown_version(version: int, family: Sequence[AlgorithmSpec]) -> UnknownVersionError:
    """Return the error for a version that the algorithm does not have."""
    namespace, name = family[0].namespace, family[0].name
    there = shorten([spec.id for spec in family])
    return UnknownVersionError(f"'{namespace}/{name}' has no version {version}. There are: {there}.")


def malformed(given: object, ids: Collection[str]) -> RegistryError:
    """Return the error for an argument that is not an id.

    Args:
        given: The argument.
        ids: All full ids, to suggest some of them.
    """
    if not isinstance(given, str):
        return RegistryError(f"an id is a string, not {describe(given)}. {_FORM}")
    own = [one for one in sorted(ids) if one.partition("/")[0] == given]
    if own:
        return RegistryError(f"{given!r} is a namespace, not an id. It has: {shorten(own)}.")
    return RegistryError(f"{given!r} is not an id.{_question(_suggestions(given, sorted(ids)))} {_FORM}")


def _suggestions(given: str, ids: Sequence[str]) -> list[str]:
    """Return at most three ids: those with exactly that name, else those with a similar one."""
    text = re.sub(r"[\s-]+", "_", re.sub(r"-v?\d*$", "", given.strip().lower()))
    families = list(dict.fromkeys(one.rpartition("-v")[0] for one in ids))
    exact = [one for one in families if text in {one, one.partition("/")[2]}]
    names = {one.partition("/")[2]: one for one in families}
    close = [names[one] for one in get_close_matches(text.rpartition("/")[2], names, n=3, cutoff=0.5)]
    return (exact or close)[:3]


def _question(near: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
