"""Deprecated name of `nlcore.plotting`, kept until 0.3."""

from __future__ import annotations

import warnings
from typing import Any

_NAMES = ("Field", "Sweep", "check_drawing", "draw", "sweep")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import nlcore.plotting

    warnings.warn(
        f"nlcore.pictures.{name} is deprecated and will be removed in 0.3; import nlcore.plotting.{name}.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(nlcore.plotting, name)
