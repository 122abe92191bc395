"""Code that numba compiles, and the switch between it and torch, for all plugins; does not import torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeVar, cast

from nlcore.errors import PerformanceWarning

__all__ = ["has_numba", "kernel", "torch_alone"]

_F = TypeVar("_F", bound=Callable[..., Any])
_FASTMATH: dict[str, Any] = {"exact": False, "contracted": {"contract"}, "any": {"contract", "reassoc"}}

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


def kernel(sums: Literal["exact", "contracted", "any"] = "exact") -> Callable[[_F], _F]:
    """Return a decorator by which numba compiles a function on its first call.

    Kernels are sequential: a parallel one would reset the number of threads that torch uses. They release the
    interpreter's lock. The compiled code is kept on disk for later processes.

    Args:
        sums: Whether numbers are added in the order of the code: `"exact"`; `"contracted"`, where a product and a sum
            may be rounded once; or in `"any"` order, and so in vectors.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH[sums], "error_model": "numpy"}

    def compiled(function: _F) -> _F:
        njit: Any = import_module("numba").njit
        try:
            return cast(_F, njit(cache=True, **options)(function))
        except RuntimeError:  # no folder that can be written to
            return cast(_F, njit(**options)(function))

    return compiled
