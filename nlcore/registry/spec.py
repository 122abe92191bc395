"""What a plugin tells about one of its algorithms: strings only, so that describing it imports nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from nlcore.errors import RegistryError

__all__ = ["AlgorithmSpec", "is_namespace", "split_id"]

_NAME = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
_ID = re.compile(rf"(?P<namespace>{_NAME})/(?P<name>{_NAME})(?:-v(?P<version>[1-9][0-9]{{0,8}}))?")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSpec:
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

    id: str
    factory: str
    config: str | None = None
    summary: str = ""
    reference: str = ""
    since: str = ""
    deprecated: str | None = None

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            if isinstance(value, str) and type(value) is not str:
                object.__setattr__(self, name, str.__str__(value))  # what a subclass does is its own affair
        parts = split_id(self.id) if isinstance(self.id, str) else None
        if parts is None or parts[2] is None:
            raise RegistryError(
                f"{self.id!r} is not an id. Write namespace/name-vN in lower snake case, as in 'sorting/neuralsort-v1'."
            )
        for name, value in (("factory", self.factory), ("config", self.config)):
            if value is None and name == "config":
                continue
            if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
                raise RegistryError(
                    f"{self.id}: {name} {value!r} is not a reference. "
                    "Write 'module:attribute', as in 'my_plugin.losses:Blur'."
                )
        for name in ("summary", "reference", "since", "deprecated"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name != "deprecated"):
                raise RegistryError(f"{self.id}: {name} is of type {type(value).__name__}. Write a string.")

    @classmethod
    def copied(cls, given: AlgorithmSpec) -> AlgorithmSpec:
        """Return a copy of a specification, which may be of a subclass or changed since it was made, checked anew."""
        return cls(**{name: getattr(given, name) for name in _FIELDS})

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


_FIELDS = tuple(field.name for field in fields(AlgorithmSpec))


def is_namespace(text: str) -> bool:
    """Return whether `text` can stand before the slash of an id."""
    return re.fullmatch(_NAME, text) is not None


def split_id(text: str) -> tuple[str, str, int | None] | None:
    """Return namespace, name and version of an id, the version `None` when left out; `None` for a malformed id."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    return match["namespace"], match["name"], int(match["version"]) if match["version"] else None
