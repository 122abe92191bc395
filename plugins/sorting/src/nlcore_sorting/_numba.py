"""How kernels are compiled; imported, like every module named after it, only where numba is installed.

The kernels are sequential: a parallel one would reset the number of threads that torch uses. They let go of the
interpreter's lock. What is compiled is kept on disk, so that later processes do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Return `function` compiled on its first call; sums may be taken in any order."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract"}, "error_model": "numpy"}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that can be written to
        return cast(_F, numba.njit(**options)(function))
