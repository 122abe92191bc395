"""How kernels are compiled; imported, like every module named after it, only where numba is installed.

The kernels are sequential: a parallel one would reset the number of threads that torch uses. They let go of the
interpreter's lock. What is compiled is kept on disk, so that later processes do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeVar, overload

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["compiled", "lengths_of"]

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


def lengths_of(length: Tensor | None, batch: int, n: int) -> NDArray[np.int64]:
    """Return the number of real items of every list, [batch], from `length` [..., 1] or from `None`, all n."""
    return _all(batch, n) if length is None else length.reshape(-1).numpy()


@lru_cache(maxsize=16)
def _all(batch: int, n: int) -> NDArray[np.int64]:
    return np.full(batch, n)
