"""Hosts the plugins: surveys them once, loads each when its namespace is needed, keeps the broken ones apart."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from typing import TypeAlias

from nlcore.errors import (
    DuplicateAlgorithmError,
    PluginLoadError,
    PluginLoadWarning,
    RegistryError,
    attempted,
    error_text,
    printable,
)
from nlcore.registry.discovery import LOCAL, RESERVED, Settings, survey
from nlcore.registry.distributions import Candidate, Installed, core_version, installed_candidates
from nlcore.registry.hooks import GROUP, GROUP_PREFIX, Subparsers
from nlcore.registry.loading import Hooks, PluginFault, isolated
from nlcore.registry.lookup import refusal, withheld
from nlcore.registry.records import PluginRecord, PluginState
from nlcore.registry.spec import AlgorithmSpec
from nlcore.registry.streams import standard_output

__all__ = ["EntryPointSource", "PluginHost"]

EntryPointSource: TypeAlias = Iterable[metadata.EntryPoint] | Callable[[], Iterable[metadata.EntryPoint]]


class _Plugin:
    """A candidate with what became of it; the host's lock guards it."""

    __slots__ = ("candidate", "hooks", "loading", "record")

    def __init__(self, candidate: Candidate, record: PluginRecord) -> None:
        self.candidate = candidate
        self.record = record
        self.hooks: Hooks | None = None
        self.loading = False


class PluginHost:
    """All plugins of one registry.

    One re-entrant lock covers the survey and the loading, so that threads which ask at the same time load a plugin
    once, and a plugin may ask for another one's algorithms while it is imported.

    Args:
        entry_points: Where plugins are announced; `None` for the installed distributions.
        environ: The environment variables; `None` for the process's.
    """

    def __init__(self, entry_points: EntryPointSource | None, environ: Mapping[str, str] | None) -> None:
        self._entry_points = entry_points
        self._environ = environ
        self._lock = threading.RLock()
        self._registered: dict[str, dict[str, AlgorithmSpec]] = {}
        self._forget()

    def _forget(self) -> None:
        self._surveyed = False
        self._plugins: list[_Plugin] = []
        self._active: dict[str, _Plugin] = {}
        self._warned: set[tuple[str, str]] = set()

    def refresh(self) -> None:
        """Forget the survey and what was loaded; keep what this process has registered."""
        with self._lock:
            importlib.invalidate_caches()
            # Python 3.11 leaves out the cache of metadata. An instance, since the method is no class method there.
            metadata.MetadataPathFinder().invalidate_caches()
            self._forget()

    def specs(self, namespace: str) -> tuple[AlgorithmSpec, ...]:
        """Return the algorithms of one namespace, loading its plugin if need be.

        Raises:
            UnknownNamespaceError: Nobody provides it.
            PluginError: Its plugin is broken, withheld or switched off.
        """
        return self.record(namespace).specs

    def record(self, namespace: str) -> PluginRecord:
        """Return the record of the loaded plugin that owns a namespace; raises as `specs` does."""
        with self._lock:
            settings = self._survey()
            if settings.strict:
                self._raise_first_fault()
            if namespace in self._registered:
                return self._own_record(namespace)
            plugin = self._active.get(namespace)
            if plugin is None:
                known = {one.record.namespace for one in self._plugins} | set(self._registered)
                raise refusal(namespace, [one.record for one in self._plugins], known)
            self._load(plugin, settings)
            record = plugin.record
        if record.state is PluginState.FAILED:
            raise withheld(record) from record.cause
        return record

    def records(self) -> tuple[PluginRecord, ...]:
        """Return a record of every plugin after trying to load them all; never raises for a plugin's fault."""
        with self._lock:
            self._load_all()
            records = [plugin.record for plugin in self._plugins]
            records += [self._own_record(namespace) for namespace in self._registered]
        return tuple(sorted(records, key=lambda record: (record.namespace, record.distribution)))

    def report_faults(self, stacklevel: int) -> None:
        """Load all plugins and warn of each faulty one, once; raise for the first if the environment is strict.

        Args:
            stacklevel: Whom the warning points at, counted as `warnings.warn` does from the caller of this method.
        """
        with self._lock:
            settings = self._load_all()
            if settings.strict:
                self._raise_first_fault()
            for record in [plugin.record for plugin in self._plugins]:
                key = (record.namespace, record.distribution)
                if record.state.faulty and key not in self._warned:
                    self._warned.add(key)
                    try:
                        warnings.warn(str(withheld(record)), PluginLoadWarning, stacklevel=stacklevel + 1)
                    except PluginLoadWarning:
                        pass  # Even where warnings are errors, one broken plugin does not hide the others.

    def register(self, spec: AlgorithmSpec) -> None:
        """Add an algorithm of this process; see `Registry.register`."""
        namespace = spec.namespace
        with self._lock:
            self._survey()
            claims = [one.record.origin for one in self._plugins if one.record.namespace == namespace != LOCAL]
            owner = RESERVED.get(namespace) or ", ".join(claims)
            if owner and namespace not in self._registered:
                raise RegistryError(
                    f"cannot register {spec.id!r}: the namespace {namespace!r} belongs to {owner}. "
                    f"Use one of your own, for instance '{LOCAL}/{spec.name}-v{spec.version}'."
                )
            spec = AlgorithmSpec.copied(spec)
            there = self._registered.get(namespace, {}).get(spec.id)
            if there is not None and there != spec:
                raise DuplicateAlgorithmError(
                    f"{spec.id!r} is registered already, as {there.factory!r} with other entries. "
                    f"Give the changed algorithm the id '{namespace}/{spec.name}-v{spec.version + 1}'."
                )
            self._registered.setdefault(namespace, {})[spec.id] = spec

    def commands(self) -> Iterator[tuple[PluginRecord, Callable[[Subparsers], None]]]:
        """Yield, for each plugin that loads, its record and the function that adds its commands."""
        with self._lock:
            self._load_all()
            loaded = [(plugin.record, plugin.hooks.commands) for plugin in self._plugins if plugin.hooks]
        yield from loaded

    def _survey(self) -> Settings:
        settings = Settings.of(os.environ if self._environ is None else self._environ)
        if not self._surveyed:
            verdicts = survey(self._candidates(), settings, core_version(), self._registered)
            self._plugins = [_Plugin(candidate, record) for candidate, record in verdicts]
            self._active = {
                plugin.record.namespace: plugin
                for plugin in self._plugins
                if plugin.record.state is PluginState.DISCOVERED
            }
            self._surveyed = True
            for plugin in self._plugins:
                if plugin.record.state is not PluginState.DISCOVERED:
                    _trace(settings, plugin.record)
        return settings

    def _candidates(self) -> Iterator[Candidate]:
        if self._entry_points is not None:
            source = self._entry_points
            for entry_point in source() if callable(source) else source:
                if entry_point.group.startswith(GROUP_PREFIX):
                    yield Candidate.of(entry_point, None if entry_point.dist is None else Installed(entry_point.dist))
            return
        yield from installed_candidates()
        # In a source tree there is no metadata to announce the core; where there is, this copy is dropped.
        core = metadata.EntryPoint("core", "nlcore.builtin", GROUP)
        yield Candidate(entry_point=core, distribution="nlcore", version=core_version())

    def _own_record(self, namespace: str) -> PluginRecord:
        specs = tuple(self._registered[namespace].values())
        return PluginRecord(namespace=namespace, state=PluginState.LOADED, specs=specs)

    def _raise_first_fault(self) -> None:
        for plugin in self._plugins:
            if plugin.record.state.faulty:
                raise withheld(plugin.record) from plugin.record.cause

    def _load_all(self) -> Settings:
        settings = self._survey()
        with standard_output.reserved():
            for plugin in list(self._active.values()):
                if not plugin.loading:
                    self._load(plugin, settings)
        return settings

    def _load(self, plugin: _Plugin, settings: Settings) -> None:
        record = plugin.record
        if record.state is not PluginState.DISCOVERED:
            return
        if plugin.loading:
            raise PluginLoadError(
                f"{record.origin} asks for its own namespace {record.namespace!r} while it is being imported. "
                "Move the call into a function."
            )
        plugin.loading = True
        started = time.perf_counter()
        try:
            with isolated():
                hooks = Hooks(record.namespace, plugin.candidate.entry_point.load())
                found = replace(record, state=PluginState.LOADED, specs=hooks.algorithms())
            plugin.hooks = hooks
        except PluginFault as fault:
            text = error_text(fault.cause, with_class=not isinstance(fault.cause, RegistryError))
            found = replace(record, state=PluginState.FAILED, error=text, cause=fault.cause)
        finally:
            plugin.loading = False
        plugin.record = replace(found, seconds=time.perf_counter() - started)
        _trace(settings, plugin.record)


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
