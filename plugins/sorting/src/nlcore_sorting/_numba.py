"""How kernels are compiled; imported, like every module named after it, only where numba is installed.

The kernels are sequential: a parallel one would reset the number of threads that torch uses. They let go of the
interpreter's lock. What is compiled is kept on disk, so that later processes do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["compiled", "lengths_of", "with_bits"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Return `function` compiled on its first call; sums may be taken in any order."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract"}, "error_model": "numpy"}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that can be written to
        return cast(_F, numba.njit(**options)(function))


def lengths_of(length: Tensor | None, batch: int, n: int) -> NDArray[np.int64]:
    """Return the number of real items of every list, [batch], from `length` [..., 1] or from `None`, all n."""
    return _all(batch, n) if length is None else length.reshape(-1).numpy()


@lru_cache(maxsize=16)
def _all(batch: int, n: int) -> NDArray[np.int64]:
    return np.full(batch, n)


def with_bits(rows: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return contiguous rows, and their bits as integers, by which they are sorted."""
    values = rows.numpy()
    return values, values.view(np.int32 if values.itemsize == 4 else np.int64)
