"""The former place of `nlcore_decisions.perturbed`; it will be removed in 0.3."""

from __future__ import annotations

import warnings
from typing import Any

from nlcore_decisions import perturbed as _moved

__all__ = list(_moved.__all__)


def __getattr__(name: str) -> Any:
    if name not in _moved.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; use nlcore_decisions.perturbed.")
    warnings.warn(
        "nlcore_shortest_paths.perturbed moved to nlcore_decisions.perturbed in 0.2; the old place will be removed in "
        "0.3.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(_moved, name)
