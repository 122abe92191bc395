"""What this distribution registers: descriptions only, so that listing it imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `shortest_paths`."""
    return ()
