"""Compilation of the kernels by numba.

The kernels are sequential: a parallel one would reset the number of threads that torch uses. They release the
interpreter's lock. The compiled code is kept on disk for later processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Return a function compiled on its first call; floating-point numbers are added in the order of the code."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that can be written to
        return cast(_F, numba.njit(**options)(function))
