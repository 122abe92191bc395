"""Deprecated name of `nlcore_bench.data.letor`, kept until 0.3."""

from __future__ import annotations

from nlcore.lazy import moved_names

__getattr__ = moved_names(__name__, "nlcore_bench.data.letor", ("Letor", "LetorError", "load"))
