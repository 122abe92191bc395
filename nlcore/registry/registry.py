"""The registry: algorithms by id, looked up, made, recorded and restored."""

from __future__ import annotations

import importlib
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, final

from nlcore.errors import (
    DuplicateAlgorithmError,
    NumericalWarning,
    OutdatedVersionWarning,
    RegistryError,
)
from nlcore.registry import messages
from nlcore.registry.discovery import LOCAL, RESERVED, EntryPointSource, core_version, discover
from nlcore.registry.hooks import Hooks, StudySource, Subparsers
from nlcore.registry.instances import Instances, config_class, json_options
from nlcore.registry.isolation import describe
from nlcore.registry.plugins import Plugins
from nlcore.registry.spec import NAME, VERSION, AlgorithmSpec, PluginRecord, PluginState, TaskSpec

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig
    from nlcore.protocol import AlgorithmicLoss

__all__ = ["Registry"]

_ASKED = re.compile(rf"({NAME})/({NAME})(?:-v({VERSION}))?")


@final
class Registry:
    """Algorithms of all plugins, by id.

    Plugins are found and loaded when they are first needed, each by itself: a broken one concerns only those who ask
    for its namespace. Safe to use from several threads.

    Args:
        entry_points: Where plugins are announced: entry points, or a function that returns them. `None` for the
            installed distributions.
        environ: Read for `NLCORE_PLUGINS`, `NLCORE_BLOCK_PLUGINS`, `NLCORE_STRICT_PLUGINS`, `NLCORE_TRACE_PLUGINS`.
            `None` for the process's environment.

    Example:
        >>> registry = Registry(entry_points=[], environ={})
        >>> registry.register(AlgorithmSpec(id="local/blur-v1", factory="my_losses:Blur"))
        >>> registry.names()
        ['local/blur-v1']
    """

    def __init__(
        self, *, entry_points: EntryPointSource | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._entry_points = entry_points
        self._environ = environ
        self._lock = threading.RLock()
        self._plugins: Plugins | None = None
        self._registered: dict[str, dict[str, AlgorithmSpec]] = {}
        self._instances = Instances()

    def make(self, id: str, /, **options: Any) -> AlgorithmicLoss:
        """Make an algorithm.

        Args:
            id: `namespace/name-vN`; without `-vN` the newest version.
            **options: JSON values. The object keeps each in an attribute of the same name.

        Returns:
            A loss, one number per sample, to be called or passed to `NewtonLoss`.

        Raises:
            RegistryError: The id is malformed or unknown; the message lists the ids in question.
            PluginError: The plugin is broken, withheld or switched off.
            ConfigError: An option is unknown, of the wrong type or out of range.
        """
        spec, newest, owner = self._find(id)
        if spec.deprecated:
            warnings.warn(_deprecation(spec), OutdatedVersionWarning, stacklevel=2)
        elif spec is not newest:
            text = f"{spec.id} is outdated: {newest.id} is there, and its numbers may differ."
            warnings.warn(text, OutdatedVersionWarning, stacklevel=2)
        return self._instances.make(spec, options, owner)

    def names(self, namespace: str | None = None) -> list[str]:
        """Return the full ids, sorted.

        Args:
            namespace: Restricts to one; its plugin's faults are then raised. Without it a faulty plugin is left out
                with a `PluginLoadWarning`, once, and never an error unless `NLCORE_STRICT_PLUGINS` is set.
        """
        if namespace is not None:
            return _sorted_ids(self.plugin(namespace).specs)
        with self._lock:
            specs = self._specs()
            self._discovered().raise_if_strict()
            self._discovered().warn_of_faults()
        return _sorted_ids(specs)

    def spec(self, id: str, /) -> AlgorithmSpec:
        """Return the specification of an algorithm; raises as `make` does, but never warns."""
        return self._find(id)[0]

    def config(self, id: str, /) -> type[AlgorithmConfig] | None:
        """Return the class of an algorithm's options, `None` for one without options; raises as `make` does."""
        spec, _, owner = self._find(id)
        return config_class(spec, owner)

    def plugins(self) -> tuple[PluginRecord, ...]:
        """Load all plugins and return one record per namespace and distribution; never raises."""
        with self._lock:
            records = [*self._discovered().all_loaded(), *map(self._own_record, self._registered)]
        return tuple(sorted(records, key=lambda record: (record.namespace, record.distribution)))

    def plugin(self, namespace: str, /) -> PluginRecord:
        """Return the record of the plugin that owns a namespace; raises as `make` does."""
        with self._lock:
            plugins = self._discovered()
            plugins.raise_if_strict()
            if namespace in self._registered:
                return self._own_record(namespace)
            return plugins.loaded(namespace, self._registered)

    def commands(self) -> Iterator[tuple[PluginRecord, Callable[[Subparsers], None]]]:
        """Yield each plugin that loads with the function that adds its commands to a command line."""
        with self._lock:
            return self._discovered().commands()

    def tasks(self) -> dict[str, TaskSpec]:
        """Return the tasks of all plugins by id; one whose hook fails is left out with a `PluginLoadWarning`."""
        with self._lock:
            return {spec.id: spec for _, spec in self._discovered().offered(Hooks.tasks)}

    def studies(self) -> list[tuple[PluginRecord, StudySource]]:
        """Return the studies of all plugins, each with the record of its plugin; as `tasks` about faults."""
        with self._lock:
            return list(self._discovered().offered(Hooks.studies))

    def register(self, spec: AlgorithmSpec, /) -> None:
        """Add an algorithm to this process, for notebooks and scripts.

        The namespace is `local` or any that no distribution claims. A class in a notebook has the factory
        `"__main__:Name"`; it is looked up at each `make`, so a cell that defines it anew takes effect. Registering the
        same again changes nothing, so that cells can be run again.

        Raises:
            RegistryError: The namespace belongs to a distribution.
            DuplicateAlgorithmError: The id is taken by a different specification.
        """
        if not isinstance(spec, AlgorithmSpec):
            raise TypeError(f"register takes an AlgorithmSpec, not {describe(spec)}")
        namespace = spec.namespace
        with self._lock:
            known = self._discovered().known
            claims = [one.origin for one in known if one.namespace == namespace != LOCAL]
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

    def refresh(self) -> None:
        """Look for plugins anew, after an install in the running process.

        Algorithms of `register` stay, and so do modules that are imported already: an upgraded plugin needs a new
        process, as does an editable install, which Python notices only when it starts.
        """
        with self._lock:
            importlib.invalidate_caches()
            # Python 3.11 leaves out the cache of metadata. An instance, since the method is not a class method there.
            metadata.MetadataPathFinder().invalidate_caches()
            self._plugins = None

    def dump(self, algorithm: object, /) -> dict[str, Any]:
        """Return a record of an algorithm that JSON can hold: `{"id": …, "options": {…}, "versions": {…}}`.

        Works for what `make` made, and for objects of a class that is the factory of a registered algorithm.

        Raises:
            RegistryError: No registered algorithm makes such an object.
            ConfigError: An option is not a JSON value.
        """
        spec, made_with = self._instances.recognise(algorithm, self._specs())
        _, _, owner = self._find(spec.id)
        values = json_options(algorithm, spec, made_with, owner)
        return {"id": spec.id, "options": values, "versions": self._versions(spec)}

    def restore(self, record: Mapping[str, Any], /) -> AlgorithmicLoss:
        """Make an algorithm again from what `dump` wrote.

        Warns with `NumericalWarning` when the distributions have other versions than those that are recorded, and with
        `OutdatedVersionWarning` when the algorithm is deprecated. A newer vN is not mentioned: the
        record asks for this one.

        Raises:
            RegistryError: The record has another form. Other errors are those of `make`.
        """
        id, values, versions = _parsed(record)
        spec, _, owner = self._find(id)
        here = self._versions(spec)
        changed = [name for name, there in versions.items() if there != here.get(name)]
        if changed:
            text = ", ".join(f"{name} {versions[name]} (here {here.get(name, 'none')})" for name in changed)
            warnings.warn(f"{id} was recorded with {text}; its numbers may differ.", NumericalWarning, stacklevel=2)
        if spec.deprecated:
            warnings.warn(_deprecation(spec), OutdatedVersionWarning, stacklevel=2)
        return self._instances.make(spec, values, owner)

    def _find(self, id: object) -> tuple[AlgorithmSpec, AlgorithmSpec, str]:
        """Return the specification of an id, the newest of its versions, and id and origin as messages name it."""
        match = _ASKED.fullmatch(id) if isinstance(id, str) else None
        if match is None:
            raise messages.malformed(id, [spec.id for spec in self._specs()])
        namespace, name, version = match.groups()
        record = self.plugin(namespace)
        family = {spec.version: spec for spec in record.specs if spec.name == name}
        if not family:
            raise messages.unknown_algorithm(namespace, name, record.specs)
        newest = family[max(family)]
        spec = newest if version is None else family.get(int(version))
        if spec is None:
            raise messages.unknown_version(int(version), [family[number] for number in sorted(family)])
        return spec, newest, f"{spec.id} of {record.origin}"

    def _discovered(self) -> Plugins:
        """Return the plugins, discovered when they are first needed; the lock is held."""
        if self._plugins is None:
            self._plugins = Plugins(discover(self._entry_points), self._environ, self._registered)
        return self._plugins

    def _own_record(self, namespace: str) -> PluginRecord:
        specs = tuple(self._registered[namespace].values())
        return PluginRecord(namespace=namespace, state=PluginState.LOADED, specs=specs)

    def _specs(self) -> list[AlgorithmSpec]:
        return [spec for record in self.plugins() for spec in record.specs]

    def _versions(self, spec: AlgorithmSpec) -> dict[str, str]:
        record = self.plugin(spec.namespace)
        versions = {"nlcore": core_version()}
        return {**versions, record.distribution: record.version} if record.distribution else versions


def _parsed(record: object) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return id, options and versions of a record that `dump` wrote.

    Raises:
        RegistryError: It is not such a record.
    """
    if isinstance(record, Mapping):
        id, options, versions = record.get("id"), record.get("options", {}), record.get("versions", {})
        match = _ASKED.fullmatch(id) if isinstance(id, str) else None
        if match and match[3] and isinstance(options, Mapping) and isinstance(versions, Mapping):
            return str(id), dict(options), dict(versions)
    raise RegistryError(
        f"{describe(record)} is not a record of an algorithm. nlcore.dump writes them: "
        "{'id': 'namespace/name-vN', 'options': {…}, 'versions': {…}}."
    )


def _sorted_ids(specs: Iterable[AlgorithmSpec]) -> list[str]:
    """Sort by name, then by number, so that v10 comes after v9."""
    return [spec.id for spec in sorted(specs, key=lambda spec: (spec.namespace, spec.name, spec.version))]


def _deprecation(spec: AlgorithmSpec) -> str:
    return f"{spec.id} is deprecated: {spec.deprecated}"
