"""Losses with an algorithm on a sequence inside; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_sequences.linear_filter import LinearFilter
    from nlcore_sequences.linear_operator import LinearOperator
    from nlcore_sequences.prefix_sum import PrefixSum
    from nlcore_sequences.rollout import Rollout
    from nlcore_sequences.soft_dtw import SoftDTW, SoftDTWDivergence, cosine_cost, lengths_of
    from nlcore_sequences.systems import System, runge_kutta, semi_implicit_euler

__all__ = [
    "LinearFilter",
    "LinearOperator",
    "PrefixSum",
    "Rollout",
    "SoftDTW",
    "SoftDTWDivergence",
    "System",
    "cosine_cost",
    "lengths_of",
    "runge_kutta",
    "semi_implicit_euler",
]

_HOMES = {
    "linear_filter": ["LinearFilter"],
    "linear_operator": ["LinearOperator"],
    "prefix_sum": ["PrefixSum"],
    "rollout": ["Rollout"],
    "soft_dtw": ["SoftDTW", "SoftDTWDivergence", "cosine_cost", "lengths_of"],
    "systems": ["System", "runge_kutta", "semi_implicit_euler"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
