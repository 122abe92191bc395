"""Namespace `core`: losses whose Newton steps are known in closed form."""

from nlcore.builtin._plugin import nlcore_algorithms

__all__ = ["nlcore_algorithms"]
