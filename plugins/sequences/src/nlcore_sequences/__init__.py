"""Losses with an algorithm over a sequence inside; importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_sequences.prefix_sum import PrefixSum

__all__ = ["PrefixSum"]

_HOME = {"PrefixSum": "nlcore_sequences.prefix_sum"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
