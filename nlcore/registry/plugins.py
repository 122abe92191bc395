"""Plugins: each is judged by its metadata, loaded when its namespace is needed, and kept apart from the others."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from nlcore.errors import PluginLoadError, PluginLoadWarning, RegistryError, attempted, error_text, printable, shorten
from nlcore.registry.discovery import LOCAL, RESERVED, Candidate, normalised
from nlcore.registry.hooks import Hooks, Subparsers
from nlcore.registry.isolation import PluginFault, isolated, standard_output
from nlcore.registry.messages import refusal, withheld
from nlcore.registry.spec import NAME, PluginRecord, PluginState

__all__ = ["Plugins", "Settings"]

_VALUE = re.compile(r"\s*[\w.]+\s*(?::\s*[\w.]+\s*)?(?:\[.*\]\s*)?")
_T = TypeVar("_T")
_OFF = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment variables about plugins.

    Attributes:
        allowed: Namespaces and distributions that may load, normalised; `None` for all.
        blocked: Those that may not, whatever `allowed` says.
        strict: Whether a fault of any plugin raises at once.
        trace: Whether to print each plugin that is loaded.
    """

    allowed: frozenset[str] | None
    blocked: frozenset[str]
    strict: bool
    trace: bool

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `NLCORE_PLUGINS`, `NLCORE_BLOCK_PLUGINS`, `NLCORE_STRICT_PLUGINS` and `NLCORE_TRACE_PLUGINS`.

        Args:
            environ: The variables; `None` for those of the process.
        """
        environ = os.environ if environ is None else environ
        allowed = environ.get("NLCORE_PLUGINS")
        return cls(
            allowed=None if allowed is None else _words(allowed),
            blocked=_words(environ.get("NLCORE_BLOCK_PLUGINS", "")),
            strict=environ.get("NLCORE_STRICT_PLUGINS", "").strip().lower() not in _OFF,
            trace=environ.get("NLCORE_TRACE_PLUGINS", "").strip().lower() not in _OFF,
        )


@lru_cache(maxsize=16)
def _words(text: str) -> frozenset[str]:
    return frozenset(normalised(word) for word in re.split(r"[\s,]+", text) if word)


class _Plugin:
    """One entry point with its state."""

    __slots__ = ("entry_point", "hooks", "loading", "record")

    def __init__(self, candidate: Candidate, record: PluginRecord) -> None:
        self.entry_point = candidate.entry_point
        self.record = record
        self.hooks: Hooks | None = None
        self.loading = False


class Plugins:
    """All plugins of one registry, whose lock guards them.

    The lock is re-entrant and held while a plugin loads, so that threads which ask at the same time load it once, and a
    plugin may ask for the algorithms of another one while it is imported.

    Args:
        candidates: The entry points that were found, in the order of sys.path.
        environ: The environment variables; `None` for those of the process.
        registered: Namespaces in which this process has registered algorithms.
    """

    def __init__(
        self, candidates: Iterable[Candidate], environ: Mapping[str, str] | None, registered: Collection[str]
    ) -> None:
        self._environ = environ
        settings = Settings.of(environ)
        records = _judged(candidates, settings, registered)
        self._plugins = sorted(
            (_Plugin(*pair) for pair in records), key=lambda one: (one.record.namespace, one.record.distribution)
        )
        discovered = [one for one in self._plugins if one.record.state is PluginState.DISCOVERED]
        self._active = {one.record.namespace: one for one in discovered}
        self._warned: set[tuple[str, str]] = set()
        for one in self._plugins:
            if one.record.state is not PluginState.DISCOVERED:
                _trace(settings, one.record)

    @property
    def known(self) -> list[PluginRecord]:
        """The records as they are, without loading a plugin."""
        return [plugin.record for plugin in self._plugins]

    def loaded(self, namespace: str, registered: Collection[str]) -> PluginRecord:
        """Return the record of the plugin that owns a namespace, loading it if need be.

        Args:
            namespace: The part of an id before the slash.
            registered: Namespaces of this process, which messages list too.

        Raises:
            UnknownNamespaceError: No plugin provides it.
            PluginError: Its plugin is broken, withheld or switched off.
        """
        plugin = self._active.get(namespace)
        if plugin is None:
            raise refusal(namespace, self.known, {*registered, *(one.namespace for one in self.known)})
        if plugin.record.state is PluginState.DISCOVERED:
            self._load(plugin)
        if plugin.record.state is PluginState.FAILED:
            raise withheld(plugin.record) from plugin.record.cause
        return plugin.record

    def all_loaded(self) -> list[PluginRecord]:
        """Load all plugins and return their records; never raises for a plugin's fault."""
        with standard_output.reserved():
            for plugin in list(self._active.values()):
                if plugin.record.state is PluginState.DISCOVERED and not plugin.loading:
                    self._load(plugin)
        return self.known

    def raise_if_strict(self) -> None:
        """Raise for the first faulty plugin if the environment is strict."""
        if Settings.of(self._environ).strict:
            for record in self.known:
                if record.state.faulty:
                    raise withheld(record) from record.cause

    def warn_of_faults(self) -> None:
        """Warn of each faulty plugin, once, where the method of the registry was called."""
        for record in self.known:
            key = (record.namespace, record.distribution)
            if record.state.faulty and key not in self._warned:
                self._warned.add(key)
                try:
                    warnings.warn(str(withheld(record)), PluginLoadWarning, stacklevel=3)
                except PluginLoadWarning:
                    pass  # Even where warnings are errors, one broken plugin does not hide the others.

    def commands(self) -> Iterator[tuple[PluginRecord, Callable[[Subparsers], None]]]:
        """Load all plugins and yield, for each that loads, its record and the function that adds its commands."""
        self.all_loaded()
        return ((plugin.record, plugin.hooks.commands) for plugin in list(self._plugins) if plugin.hooks)

    def offered(self, ask: Callable[[Hooks], Iterable[_T]]) -> Iterator[tuple[PluginRecord, _T]]:
        """Load all plugins and yield, for each that loads, its record with each thing that `ask` gets from its hooks.

        A plugin whose hook fails is left out with a `PluginLoadWarning`.
        """
        self.all_loaded()
        for plugin in [one for one in self._plugins if one.hooks]:
            try:
                with isolated():
                    found = list(ask(plugin.hooks))  # type: ignore[arg-type]
            except PluginFault as fault:
                text = f"{plugin.record.origin} is left out: {error_text(fault.cause)}"
                warnings.warn(text, PluginLoadWarning, stacklevel=3)
                continue
            yield from ((plugin.record, one) for one in found)

    def _load(self, plugin: _Plugin) -> None:
        record = plugin.record
        if plugin.loading:
            raise PluginLoadError(
                f"{record.origin} asks for its own namespace {record.namespace!r} while it is being imported. "
                "Move the call into a function."
            )
        plugin.loading = True
        started = time.perf_counter()
        try:
            with isolated():
                hooks = Hooks(record.namespace, plugin.entry_point.load())
                record = replace(record, state=PluginState.LOADED, specs=hooks.algorithms())
            plugin.hooks = hooks
        except PluginFault as fault:
            text = error_text(fault.cause, with_class=not isinstance(fault.cause, RegistryError))
            record = replace(record, state=PluginState.FAILED, error=text, cause=fault.cause)
        finally:
            plugin.loading = False
        plugin.record = replace(record, seconds=time.perf_counter() - started)
        _trace(Settings.of(self._environ), plugin.record)


def _judged(
    candidates: Iterable[Candidate], settings: Settings, registered: Collection[str]
) -> list[tuple[Candidate, PluginRecord]]:
    """Return every candidate with its state.

    A plugin that is switched off or incompatible takes no part in conflicts: it cannot load, so it leaves no doubt
    about who owns a namespace.
    """
    judged = [(one, _judged_alone(one, settings)) for one in candidates]
    claims: dict[str, list[PluginRecord]] = defaultdict(list)
    for _, record in judged:
        if record.state is PluginState.DISCOVERED:
            claims[record.namespace].append(record)
    return [
        (one, record if record.error else _judged_together(one, record, claims[record.namespace], registered))
        for one, record in judged
    ]


def _judged_alone(one: Candidate, settings: Settings) -> PluginRecord:
    """Return the record whose state follows from the plugin itself."""
    namespace, value = one.entry_point.name, one.entry_point.value
    names = {*one.keys}
    state, error = PluginState.FAILED, one.fault
    if names & settings.blocked:
        state, error = PluginState.DISABLED, "switched off by NLCORE_BLOCK_PLUGINS"
    elif settings.allowed is not None and not names & settings.allowed and RESERVED.get(namespace) != "nlcore":
        state, error = PluginState.DISABLED, "switched off, since NLCORE_PLUGINS does not name it"
    elif error:
        pass
    elif not re.fullmatch(NAME, namespace):
        error = f"the entry point's name {namespace!r} is not a namespace: write one word in lower snake case"
    elif not _VALUE.fullmatch(value):
        error = f"the entry point's value {value!r} is not a module: write the name of one"
    elif one.mismatch:
        state, error = PluginState.INCOMPATIBLE, one.mismatch
    return PluginRecord(
        namespace=namespace,
        distribution=one.distribution,
        version=one.version,
        state=state if error else PluginState.DISCOVERED,
        error=error or None,
        value=value,
    )


def _judged_together(
    one: Candidate, record: PluginRecord, claims: list[PluginRecord], registered: Collection[str]
) -> PluginRecord:
    """Return the record with the state that follows from the other claims to the namespace."""
    namespace, owner = record.namespace, RESERVED.get(record.namespace)
    if owner is not None:
        if one.keys[1] == owner:
            return record
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
    return replace(record, state=PluginState.CONFLICT, error=error)


def _trace(settings: Settings, record: PluginRecord) -> None:
    if not settings.trace:
        return
    text = f"nlcore: plugin {record.namespace} ({record.origin}): {record.state}"
    if record.state is PluginState.LOADED:
        number = len(record.specs)
        text += f", {number} algorithm{'s' * (number != 1)} in {1000 * record.seconds:.1f} ms"
    elif record.error:
        text += f" after {1000 * record.seconds:.1f} ms: {record.error}"
    if record.cause is not None:
        text += "\n" + attempted(lambda: "".join(traceback.format_exception(record.cause)), "").rstrip()
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr)
