"""Specifications of algorithms and tasks, and records of plugins: plain data, so that a listing imports nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from nlcore.errors import RegistryError

__all__ = ["NAME", "VERSION", "AlgorithmSpec", "PluginRecord", "PluginState", "Spec", "TaskSpec", "is_namespace"]

NAME = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
VERSION = r"[1-9][0-9]{0,8}"
_ID = re.compile(rf"{NAME}/{NAME}-v{VERSION}")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Common base of the specifications: an id, and references to the code behind it.

    Args:
        id: `namespace/name-vN`, lower snake case. A configuration whose numbers change becomes a new vN.
        factory: `"module:attribute"` of a callable that takes the options and returns the object.
        config: `"module:Class"` of its `AlgorithmConfig`; `None` when there are no options.
        summary: One line for lists.

    Raises:
        RegistryError: The id or a reference does not have its form, or another field is not a string.
    """

    id: str
    factory: str
    config: str | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in values.items():
            if isinstance(value, str) and type(value) is not str:
                object.__setattr__(self, name, str.__str__(value))  # methods that a subclass overrides are not called
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise RegistryError(
                f"{self.id!r} is not an id. Write namespace/name-vN in lower snake case, as in 'sorting/neuralsort-v1'."
            )
        for name in ("factory", "config"):
            value = getattr(self, name)
            if value is None and name == "config":
                continue
            if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
                raise RegistryError(
                    f"{self.id}: {name} {value!r} is not a reference. "
                    "Write 'module:attribute', as in 'my_plugin.losses:Blur'."
                )
        for name in values.keys() - {"id", "factory", "config"}:
            value = values[name]
            if not isinstance(value, str) and (value is not None or name != "deprecated"):
                raise RegistryError(f"{self.id}: {name} is of type {type(value).__name__}. Write a string.")

    @classmethod
    def copied(cls, given: Any) -> Self:
        """Return a copy of a specification, which may be of a subclass or changed since it was made, checked anew."""
        return cls(**{one.name: getattr(given, one.name) for one in fields(cls)})

    @property
    def namespace(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of the id between the slash and the version."""
        return self.id.partition("/")[2].rpartition("-v")[0]

    @property
    def version(self) -> int:
        """The number behind `-v`."""
        return int(self.id.rpartition("-v")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSpec(Spec):
    """One algorithm of a plugin.

    Args:
        id: `namespace/name-vN`, lower snake case. A configuration whose numbers change becomes a new vN.
        factory: `"module:attribute"` of a callable that takes the options and returns an `AlgorithmicLoss`.
        config: `"module:Class"` of its `AlgorithmConfig`; `None` when there are no options.
        summary: One line for lists.
        reference: The paper or page that defines the algorithm.
        since: The version of the distribution that brought it.
        deprecated: Why not to use it any more and what to use instead; `None` while it is current.

    Raises:
        RegistryError: The id or a reference does not have its form, or another field is not a string.
    """

    reference: str = ""
    since: str = ""
    deprecated: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec(Spec):
    """One task of a plugin, on which `nlcore bench` trains.

    Args:
        id: `namespace/name-vN`, lower snake case. A configuration whose numbers change becomes a new vN.
        factory: `"module:attribute"` of a callable that takes the options and returns a task.
        config: `"module:Class"` of its `AlgorithmConfig`; `None` when there are no options.
        summary: One line for lists.

    Raises:
        RegistryError: The id or a reference does not have its form, or another field is not a string.
    """


def is_namespace(text: str) -> bool:
    """Return whether `text` can stand before the slash of an id."""
    return re.fullmatch(NAME, text) is not None


class PluginState(StrEnum):
    """State of a plugin.

    Attributes:
        DISCOVERED: Installed, not yet needed.
        LOADED: Imported; its algorithms are registered.
        FAILED: Its import or its hooks failed.
        CONFLICT: Withheld, because its namespace belongs to another distribution or is claimed by several.
        DISABLED: Switched off by `NLCORE_PLUGINS` or `NLCORE_BLOCK_PLUGINS`.
        INCOMPATIBLE: Written for another plugin interface or another version of nlcore.
    """

    DISCOVERED = "discovered"
    LOADED = "loaded"
    FAILED = "failed"
    CONFLICT = "conflict"
    DISABLED = "disabled"
    INCOMPATIBLE = "incompatible"

    @property
    def faulty(self) -> bool:
        """Whether something has to be fixed before the plugin can be used."""
        return self in {PluginState.FAILED, PluginState.CONFLICT, PluginState.INCOMPATIBLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One namespace of one distribution.

    Attributes:
        namespace: The entry-point name, which is the part of an id before the slash.
        distribution: Its name on the package index; empty where it is not in the metadata, and for `register`.
        version: The distribution's version; empty as above.
        state: Its state.
        error: The fault and its remedy, or `None`.
        seconds: Duration of the import and the hooks.
        specs: Its algorithms, once it is loaded.
        value: The module that the entry point names.
        cause: The exception behind `error`, when there is one.
    """

    namespace: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.DISCOVERED
    error: str | None = None
    seconds: float = 0.0
    specs: tuple[AlgorithmSpec, ...] = ()
    value: str = ""
    cause: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """The distribution with its version, for messages."""
        if not self.distribution:
            return "a distribution without a name" if self.value else "this process"
        return f"{self.distribution} {self.version}".rstrip()
