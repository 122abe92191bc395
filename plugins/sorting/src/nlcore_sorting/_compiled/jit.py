"""Compilation of the kernels by numba.

The kernels are sequential: a parallel one would reset the number of threads that torch uses. They release the
interpreter's lock. The compiled code is kept on disk for later processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, overload

import numba

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def compiled(function: _F) -> _F: ...
@overload
def compiled(*, exact: bool) -> Callable[[_F], _F]: ...
def compiled(function: Any = None, *, exact: bool = False) -> Any:
    """Return a function compiled on its first call.

    Args:
        function: Written in what numba understands.
        exact: Keep the order of sums; else they are taken in any, and so in vectors.
    """
    if function is None:
        return partial(compiled, exact=exact)
    fast = {"contract"} if exact else {"contract", "reassoc"}
    options: dict[str, Any] = {"nogil": True, "fastmath": fast, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        return numba.njit(**options)(function)
