"""The switch between code that numba compiles and torch, for all plugins; does not import torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from nlcore.errors import PerformanceWarning

__all__ = ["has_numba", "torch_alone"]

_ALONE = ContextVar("_ALONE", default=False)


def has_numba() -> bool:
    """Return whether numba can be imported and is not blocked by `torch_alone`."""
    return not _ALONE.get() and _importable()


@contextmanager
def torch_alone() -> Iterator[None]:
    """Compute everything in torch, as if numba were not installed; for comparisons of the two."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@cache
def _importable() -> bool:
    if find_spec("numba") is None:
        return False
    try:
        import_module("numba")
    except ImportError as error:
        warnings.warn(f"numba is installed, but not used: {error}", PerformanceWarning, stacklevel=2)
        return False
    return True
