"""Registration of the algorithms; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]

_ALGORITHMS: tuple[AlgorithmSpec, ...] = ()


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `decisions`."""
    return _ALGORITHMS
