"""Deprecated name of `nlcore.plotting`, kept until 0.3."""

from __future__ import annotations

from nlcore.lazy import moved_names

__getattr__ = moved_names(__name__, "nlcore.plotting", ("Field", "Sweep", "check_drawing", "draw", "sweep"))
