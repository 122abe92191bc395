"""Instances of algorithms: made from checked options, recognised, and described in JSON values."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

from nlcore.constructor import different_defaults, misnamed_options
from nlcore.errors import (
    ConfigError,
    ContractError,
    NumericalWarning,
    PluginLoadError,
    RegistryError,
    attempted,
    shorten,
)
from nlcore.registry.isolation import calling, describe, resolve, standard_output
from nlcore.registry.spec import AlgorithmSpec, Spec

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig
    from nlcore.protocol import AlgorithmicLoss

__all__ = ["Instances", "config_class", "json_options"]

_MISSING = object()


@final
class Instances:
    """The algorithms that `make` has made, remembered as long as the objects live.

    Keys are identities and not the objects, which may be unhashable, or equal to another algorithm's. An object that
    cannot be weakly referenced is not remembered, and recognised by its class.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[weakref.ref[Any], AlgorithmSpec, dict[str, Any]]] = {}
        self._compared: set[tuple[str, int, int]] = set()

    def make(self, spec: AlgorithmSpec, options: Mapping[str, Any], owner: str) -> AlgorithmicLoss:
        """Make an algorithm.

        Args:
            spec: Its specification.
            options: Those that were given; the others take their defaults.
            owner: The id and its origin, for messages.

        Raises:
            ConfigError: An option is not a JSON value, unknown, of the wrong type or out of range.
            PluginError: The configuration class or the factory cannot be loaded, or ends the program.
            ContractError: The constructor does not take the options of the configuration, or the factory has returned
                an object that is not an algorithm.
        """
        _refuse_other_than_json(spec, options)
        config, values = config_class(spec, owner), dict[str, Any]()
        if config is None and options:
            raise ConfigError(f"{spec.id} has no options, but was given {shorten(list(options))}.")
        with standard_output.reserved():  # once for everything that runs code of the plugin
            if config is not None:
                with calling(f"{owner}: {spec.config!r}"):
                    checked = config(**options)
                    for name in config.model_fields:
                        values[name] = getattr(checked, name)
            factory = resolve(spec.factory, owner)
            with calling(f"{owner}: {spec.factory!r}"):
                try:
                    algorithm: AlgorithmicLoss = factory(**values)
                except TypeError as error:
                    what, remedy = ("", "") if config is None else misnamed_options(factory, config)
                    if not what:
                        raise
                    raise ContractError(f"{owner}: {what}. {remedy}") from error
                complete = callable(algorithm) and hasattr(algorithm, "traits")
        if not complete:
            raise ContractError(
                f"{owner}: {spec.factory!r} returned {describe(algorithm)}, not an AlgorithmicLoss: "
                "it needs __call__, traits and example."
            )
        self._remember(algorithm, spec, values)
        self._compare(spec, factory, config, owner)
        return algorithm

    def recognise(self, algorithm: object, specs: Sequence[AlgorithmSpec]) -> tuple[AlgorithmSpec, dict[str, Any]]:
        """Return the specification of an object, and the options that `make` made it with.

        An object that was constructed directly is recognised by its class; of several versions it is the newest.

        Raises:
            RegistryError: No registered algorithm is made by that class, or several are.
        """
        made = self._made.get(id(algorithm))
        if made is not None and made[0]() is algorithm:
            return made[1], made[2]
        cls = type(algorithm)
        matching = [spec for spec in specs if _is_made_by(cls, spec.factory)]
        if not matching:
            raise RegistryError(
                f"cannot dump {describe(algorithm)}: no registered algorithm has the factory "
                f"'{cls.__module__}:{cls.__qualname__}'. Make it with nlcore.make, or register it with nlcore.register."
            )
        families = sorted({f"{spec.namespace}/{spec.name}" for spec in matching})
        if len(families) > 1:
            raise RegistryError(
                f"cannot dump {describe(algorithm)}: its class is the factory of {shorten(families)}, and the object "
                "does not say which one it is. Make it with nlcore.make."
            )
        return max(matching, key=lambda spec: spec.version), {}

    def _compare(self, spec: AlgorithmSpec, factory: Callable[..., Any], config: Any, owner: str) -> None:
        """Warn at the first `make` if the constructor has other defaults than the configuration."""
        key = (spec.id, id(factory), id(config))
        if config is None or key in self._compared:
            return
        self._compared.add(key)
        what, remedy = attempted(partial(different_defaults, factory, config, every=False), ("", ""))
        if what:
            warnings.warn(f"{owner}: {what}. {remedy}", NumericalWarning, stacklevel=4)

    def _remember(self, algorithm: object, spec: AlgorithmSpec, options: dict[str, Any]) -> None:
        key = id(algorithm)
        try:
            reference = weakref.ref(algorithm, lambda _: self._made.pop(key, None))
        except TypeError:
            return
        self._made[key] = (reference, spec, options)


def config_class(spec: Spec, owner: str) -> type[AlgorithmConfig] | None:
    """Return the class of an algorithm's options, or `None` for an algorithm without options.

    Raises:
        PluginLoadError: The reference leads nowhere, or not to an `AlgorithmConfig`.
    """
    if spec.config is None:
        return None
    value = resolve(spec.config, owner)
    if not (issubclass(type(value), type) and attempted(partial(hasattr, value, "model_fields"), False)):
        raise PluginLoadError(f"{owner}: {spec.config!r} is {describe(value)}, not a subclass of AlgorithmConfig.")
    return cast("type[AlgorithmConfig]", value)


def json_options(algorithm: object, spec: AlgorithmSpec, made_with: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the options of an object as JSON values, read from the attributes of the same names.

    Args:
        algorithm: The object.
        spec: Its specification.
        made_with: The options that `make` made it with, for those that it does not keep as attributes.
        owner: The id and its origin, for messages.

    Raises:
        ConfigError: An option has no attribute, is not a JSON value, or is refused by the configuration class.
    """
    config = config_class(spec, owner)
    if config is None:
        return {}
    options: dict[str, Any] = {}
    for name in config.model_fields:
        value = getattr(algorithm, name, made_with.get(name, _MISSING))
        if value is _MISSING:
            raise ConfigError(
                f"cannot dump {describe(algorithm)} as {spec.id}: it has no attribute {name!r}. An algorithm keeps "
                "each option in an attribute of the same name."
            )
        if not (_is_json(value) or hasattr(value, "model_fields")):
            raise ConfigError(
                f"cannot dump {describe(algorithm)} as {spec.id}: its option {name!r} is {describe(value)}, which JSON "
                "cannot hold. Record by hand how to construct it."
            )
        options[name] = value
    written: dict[str, Any] = config(**options).model_dump(mode="json")
    return written


def _refuse_other_than_json(spec: AlgorithmSpec, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if not _is_json(value):
            module, _, attribute = spec.factory.partition(":")
            as_list = attempted(partial(hasattr, value, "tolist"), False)
            cure = f"Give numbers as a list: {name}.tolist(). " if as_list else ""
            raise ConfigError(
                f"{spec.id}: option {name!r} was given {describe(value)}. make takes JSON values only, so that a run "
                f"can be recorded. {cure}Use the constructor: from {module} import {attribute}; {attribute}({name}=…)."
            )


def _is_json(value: object) -> bool:
    """Return whether `value` can be written as JSON and read again; tuples count as lists."""

    def is_json(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(map(is_json, value))
        if isinstance(value, Mapping):
            return all(isinstance(key, str) and is_json(item) for key, item in value.items())
        return value is None or isinstance(value, bool | int | float | str)

    try:
        return is_json(value)
    except RecursionError:  # nested too deeply to be written, or in itself
        return False


def _is_made_by(cls: type, reference: str) -> bool:
    """Return whether `"module:attribute"` refers to `cls`, without importing a module that is not there yet."""
    name, _, attribute = reference.partition(":")
    module = sys.modules.get(name)
    if module is None:
        return False

    def value() -> Any:
        held = vars(module).get(attribute)
        # A package may offer the class lazily.
        return getattr(module, attribute) if held is None and attribute == cls.__name__ else held

    return attempted(value, None) is cls
