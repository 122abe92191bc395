"""The registry: looks algorithms up by id, makes them, records and restores them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from nlcore.errors import ContractError, NumericalWarning, OutdatedVersionWarning
from nlcore.registry import lookup, options, runs
from nlcore.registry.distributions import core_version
from nlcore.registry.hooks import Subparsers
from nlcore.registry.host import EntryPointSource, PluginHost
from nlcore.registry.loading import calling, describe, resolve
from nlcore.registry.records import PluginRecord
from nlcore.registry.spec import AlgorithmSpec, split_id
from nlcore.registry.streams import standard_output

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig
    from nlcore.protocol import AlgorithmicLoss

__all__ = ["Registry"]


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
        self._host = PluginHost(entry_points, environ)
        self._origins = runs.Origins()

    def make(self, id: str, /, **options: Any) -> AlgorithmicLoss:
        """Make an algorithm.

        Args:
            id: `namespace/name-vN`; without `-vN` the newest version.
            **options: JSON values. The object keeps each in an attribute of the same name.

        Returns:
            A loss, one number per sample, to be called or handed to `NewtonLoss`.

        Raises:
            RegistryError: The id is malformed, or names nothing; the message says what there is.
            PluginError: The plugin is broken, withheld or switched off.
            ConfigError: An option is unknown, of the wrong type or out of range.
        """
        spec, newest = self._find(id)
        if spec.deprecated:
            warnings.warn(_deprecation(spec), OutdatedVersionWarning, stacklevel=2)
        elif spec.version < newest.version:
            text = f"{spec.id} is outdated: {newest.id} is there, and its numbers may differ."
            warnings.warn(text, OutdatedVersionWarning, stacklevel=2)
        return self._build(spec, options)

    def names(self, namespace: str | None = None) -> list[str]:
        """Return the full ids, sorted.

        Args:
            namespace: Restricts to one; its plugin's faults are then raised. Without it a faulty plugin is left out
                with a `PluginLoadWarning`, once, and never an error unless `NLCORE_STRICT_PLUGINS` is set.
        """
        if namespace is not None:
            return _sorted_ids(self._host.specs(namespace))
        self._host.report_faults(stacklevel=2)
        return _sorted_ids(self._specs())

    def spec(self, id: str, /) -> AlgorithmSpec:
        """Return what a plugin tells about an algorithm; raises as `make` does, but warns of nothing."""
        return self._find(id)[0]

    def config(self, id: str, /) -> type[AlgorithmConfig] | None:
        """Return the class of an algorithm's options, `None` when it has none; raises as `make` does."""
        spec = self._find(id)[0]
        return options.config_class(spec, self._owner(spec))

    def plugins(self) -> tuple[PluginRecord, ...]:
        """Load all plugins and return one record per namespace and distribution; never raises."""
        return self._host.records()

    def plugin(self, namespace: str, /) -> PluginRecord:
        """Return the record of the plugin that owns a namespace; raises as `make` does."""
        return self._host.record(namespace)

    def commands(self) -> Iterator[tuple[PluginRecord, Callable[[Subparsers], None]]]:
        """Yield each plugin that loads with the function that adds its commands to a command line."""
        return self._host.commands()

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
        self._host.register(spec)

    def refresh(self) -> None:
        """Look for plugins anew, after an install in the running process.

        What was registered by `register` stays. Modules that are imported already stay as they are: an upgraded plugin
        needs a new process, as does an editable install, which Python notices only when it starts.
        """
        self._host.refresh()

    def dump(self, algorithm: object, /) -> dict[str, Any]:
        """Return a record of an algorithm that JSON can hold: `{"id": …, "options": {…}, "versions": {…}}`.

        Works for what `make` made, and for objects of a class that is the factory of a registered algorithm.

        Raises:
            RegistryError: No registered algorithm makes such an object.
            ConfigError: An option is not a JSON value.
        """
        made = self._origins.recall(algorithm)
        spec = made[0] if made else runs.spec_of(algorithm, self._specs())
        values = runs.options_of(algorithm, spec, made[1] if made else {}, self._owner(spec))
        return {"id": spec.id, "options": values, "versions": self._versions(spec)}

    def restore(self, record: Mapping[str, Any], /) -> AlgorithmicLoss:
        """Make an algorithm again from what `dump` wrote.

        Warns with `NumericalWarning` when the distributions have other versions than those that are recorded, and with
        `OutdatedVersionWarning` when the algorithm is deprecated. That a newer vN exists is no reason: the record asks
        for this one.

        Raises:
            RegistryError: This is no such record; otherwise as `make`.
        """
        id, values, versions = runs.parsed(record)
        spec, _ = self._find(id)
        here = self._versions(spec)
        differing = [f"{name} {there} (here {here.get(name, 'none')})" for name, there in versions.items()]
        differing = [text for text, name in zip(differing, versions, strict=True) if versions[name] != here.get(name)]
        if differing:
            text = f"{id} was recorded with {', '.join(differing)}; its numbers may differ."
            warnings.warn(text, NumericalWarning, stacklevel=2)
        if spec.deprecated:
            warnings.warn(_deprecation(spec), OutdatedVersionWarning, stacklevel=2)
        return self._build(spec, values)

    def _find(self, id: object) -> tuple[AlgorithmSpec, AlgorithmSpec]:
        """Return the specification asked for, and the newest of its versions."""
        parts = split_id(id) if isinstance(id, str) else None
        if parts is None:
            raise lookup.malformed(id, [spec.id for spec in self._specs()])
        namespace, name, version = parts
        specs = self._host.specs(namespace)
        family = {spec.version: spec for spec in specs if spec.name == name}
        if not family:
            raise lookup.unknown_algorithm(namespace, name, specs)
        newest = family[max(family)]
        if version is not None and version not in family:
            raise lookup.unknown_version(version, [family[number] for number in sorted(family)])
        return (newest if version is None else family[version]), newest

    def _specs(self) -> list[AlgorithmSpec]:
        return [spec for record in self._host.records() for spec in record.specs]

    def _owner(self, spec: AlgorithmSpec) -> str:
        return f"{spec.id} of {self._host.record(spec.namespace).origin}"

    def _versions(self, spec: AlgorithmSpec) -> dict[str, str]:
        record = self._host.record(spec.namespace)
        versions = {"nlcore": core_version()}
        return {**versions, record.distribution: record.version} if record.distribution else versions

    def _build(self, spec: AlgorithmSpec, given: Mapping[str, Any]) -> AlgorithmicLoss:
        owner = self._owner(spec)
        with standard_output.reserved():  # once for all that runs code of the plugin
            values = options.checked(spec, given, owner)
            factory = resolve(spec.factory, owner)
            with calling(f"{owner}: {spec.factory!r}"):
                algorithm: AlgorithmicLoss = factory(**values)
                complete = callable(algorithm) and hasattr(algorithm, "traits")
        if not complete:
            raise ContractError(
                f"{owner}: {spec.factory!r} returned {describe(algorithm)}, not an AlgorithmicLoss: "
                "it needs __call__, traits and example."
            )
        self._origins.remember(algorithm, spec, values)
        return algorithm


def _sorted_ids(specs: Iterable[AlgorithmSpec]) -> list[str]:
    """Sort by name, then by number, so that v10 comes after v9."""
    return [spec.id for spec in sorted(specs, key=lambda spec: (spec.namespace, spec.name, spec.version))]


def _deprecation(spec: AlgorithmSpec) -> str:
    return f"{spec.id} is deprecated: {spec.deprecated}"
