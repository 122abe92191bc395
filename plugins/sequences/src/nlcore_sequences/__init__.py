"""Losses with an algorithm on a sequence inside; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_sequences.prefix_sum import PrefixSum
    from nlcore_sequences.rollout import Rollout
    from nlcore_sequences.systems import System, runge_kutta, semi_implicit_euler

__all__ = ["PrefixSum", "Rollout", "System", "runge_kutta", "semi_implicit_euler"]

_HOMES = {
    "prefix_sum": ["PrefixSum"],
    "rollout": ["Rollout"],
    "systems": ["System", "runge_kutta", "semi_implicit_euler"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
