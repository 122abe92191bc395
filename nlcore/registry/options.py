"""The options of an algorithm: JSON values, checked by its configuration class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from nlcore.errors import ConfigError, PluginLoadError, attempted, shorten
from nlcore.registry.loading import calling, describe, resolve
from nlcore.registry.spec import AlgorithmSpec

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig

__all__ = ["checked", "config_class", "is_json"]


def is_json(value: object) -> bool:
    """Return whether `value` can be written as JSON and read again; tuples count as lists."""
    try:
        return _is_json(value)
    except RecursionError:  # nested too deeply to be written, or in itself
        return False


def _is_json(value: object) -> bool:
    if value is None or isinstance(value, bool | int | float | str):
        return True
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return False


def config_class(spec: AlgorithmSpec, owner: str) -> type[AlgorithmConfig] | None:
    """Return the class of an algorithm's options, or `None` when it has none.

    Raises:
        PluginLoadError: The reference leads nowhere, or not to an `AlgorithmConfig`.
    """
    if spec.config is None:
        return None
    found = resolve(spec.config, owner)
    if not attempted(lambda: isinstance(found, type) and hasattr(found, "model_fields"), False):
        raise PluginLoadError(f"{owner}: {spec.config!r} is {describe(found)}, not a subclass of AlgorithmConfig.")
    return cast("type[AlgorithmConfig]", found)


def checked(spec: AlgorithmSpec, options: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return every option of an algorithm with its value, as its constructor takes them.

    Args:
        spec: The algorithm.
        options: Those that were given; the others take their defaults.
        owner: The id and where it comes from, for messages.

    Raises:
        ConfigError: An option is not a JSON value, unknown, of the wrong type or out of range.
        PluginLoadError: The configuration class cannot be loaded.
    """
    for name, value in options.items():
        if not is_json(value):
            module, _, attribute = spec.factory.partition(":")
            raise ConfigError(
                f"{spec.id}: option {name!r} was given {describe(value)}. make takes JSON values only, so that a run "
                f"can be recorded. Use the constructor: from {module} import {attribute}; {attribute}({name}=…)."
            )
    config = config_class(spec, owner)
    if config is None:
        if options:
            raise ConfigError(f"{spec.id} has no options, but was given {shorten(list(options))}.")
        return {}
    with calling(f"{owner}: {spec.config!r}"):
        values = config(**options)
        return {name: getattr(values, name) for name in config.model_fields}
