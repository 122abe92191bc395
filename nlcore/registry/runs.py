"""Records of runs: which algorithm an object is, with which options, in JSON values."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from nlcore.errors import ConfigError, RegistryError, shorten
from nlcore.registry.loading import describe, is_made_by
from nlcore.registry.options import config_class, is_json
from nlcore.registry.spec import AlgorithmSpec, split_id

__all__ = ["Origins", "options_of", "parsed", "spec_of"]

_MISSING = object()


class Origins:
    """Remembers what `make` has made, as long as the object lives.

    Keys are identities and not the objects, which may be unhashable, or equal to another algorithm's. An object that
    cannot be weakly referenced is not remembered; its class tells what it is.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], AlgorithmSpec, dict[str, Any]]] = {}

    def remember(self, algorithm: object, spec: AlgorithmSpec, options: Mapping[str, Any]) -> None:
        """Note that `algorithm` was made from `spec` with `options`."""
        key = id(algorithm)
        try:
            reference = weakref.ref(algorithm, lambda _: self._found.pop(key, None))
        except TypeError:
            return
        self._found[key] = (reference, spec, dict(options))

    def recall(self, algorithm: object) -> tuple[AlgorithmSpec, dict[str, Any]] | None:
        """Return what was remembered of this very object."""
        found = self._found.get(id(algorithm))
        return (found[1], found[2]) if found is not None and found[0]() is algorithm else None


def spec_of(algorithm: object, specs: Sequence[AlgorithmSpec]) -> AlgorithmSpec:
    """Return the algorithm whose factory is the class of an object; of several versions the newest.

    Raises:
        RegistryError: No registered algorithm is made by that class, or several are.
    """
    cls = type(algorithm)
    found = [spec for spec in specs if is_made_by(cls, spec.factory)]
    if not found:
        raise RegistryError(
            f"cannot dump {describe(algorithm)}: no registered algorithm has the factory "
            f"'{cls.__module__}:{cls.__qualname__}'. Make it with nlcore.make, or register it with nlcore.register."
        )
    families = sorted({f"{spec.namespace}/{spec.name}" for spec in found})
    if len(families) > 1:
        raise RegistryError(
            f"cannot dump {describe(algorithm)}: its class is the factory of {shorten(families)}, and the object does "
            "not tell which one it is. Make it with nlcore.make."
        )
    return max(found, key=lambda spec: spec.version)


def options_of(algorithm: object, spec: AlgorithmSpec, made_with: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the options of an object as JSON values, read from the attributes of the same names.

    Args:
        algorithm: The object.
        spec: What it is.
        made_with: The options that `make` made it with, used for those that it does not keep as attributes.
        owner: The id and where it comes from, for messages.

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
        if not (is_json(value) or hasattr(value, "model_fields")):
            raise ConfigError(
                f"cannot dump {describe(algorithm)} as {spec.id}: its option {name!r} is {describe(value)}, which JSON "
                "cannot hold. Record by hand how to construct it."
            )
        options[name] = value
    written: dict[str, Any] = config(**options).model_dump(mode="json")
    return written


def parsed(record: object) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return id, options and versions of a record that `dump` wrote.

    Raises:
        RegistryError: It is not such a record.
    """
    if isinstance(record, Mapping):
        id, options, versions = record.get("id"), record.get("options", {}), record.get("versions", {})
        parts = split_id(id) if isinstance(id, str) else None
        if parts and parts[2] is not None and isinstance(options, Mapping) and isinstance(versions, Mapping):
            return str(id), dict(options), dict(versions)
    raise RegistryError(
        f"{describe(record)} is not a record of an algorithm. nlcore.dump writes them: "
        "{'id': 'namespace/name-vN', 'options': {…}, 'versions': {…}}."
    )
