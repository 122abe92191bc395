"""Deprecated name of `nlcore_bench.data.letor`, kept until 0.3."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    from nlcore_bench.data import letor

    if name.startswith("_") or name not in letor.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"nlcore_bench.letor.{name} is deprecated and will be removed in 0.3; import nlcore_bench.data.letor.{name}.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(letor, name)
