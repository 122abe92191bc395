"""Losses with an algorithm inside; importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_veteran.config import SmoothMaximumConfig
    from nlcore_veteran.smooth_maximum import SmoothMaximum

__all__ = ["SmoothMaximum", "SmoothMaximumConfig"]

_HOMES = {"config": ["SmoothMaximumConfig"], "smooth_maximum": ["SmoothMaximum"]}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
