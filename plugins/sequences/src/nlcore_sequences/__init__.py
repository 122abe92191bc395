"""Losses with an algorithm on a sequence inside; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_sequences.linear_filter import LinearFilter as LinearFilter
    from nlcore_sequences.linear_operator import LinearOperator as LinearOperator
    from nlcore_sequences.prefix_sum import PrefixSum as PrefixSum
    from nlcore_sequences.rollout import Rollout as Rollout
    from nlcore_sequences.soft_dtw import SoftDTW as SoftDTW
    from nlcore_sequences.soft_dtw import SoftDTWDivergence as SoftDTWDivergence
    from nlcore_sequences.soft_dtw import cosine_cost as cosine_cost
    from nlcore_sequences.soft_dtw import lengths_of as lengths_of
    from nlcore_sequences.systems import System as System
    from nlcore_sequences.systems import runge_kutta as runge_kutta
    from nlcore_sequences.systems import semi_implicit_euler as semi_implicit_euler

_HOMES = {
    "linear_filter": ["LinearFilter"],
    "linear_operator": ["LinearOperator"],
    "prefix_sum": ["PrefixSum"],
    "rollout": ["Rollout"],
    "soft_dtw": ["SoftDTW", "SoftDTWDivergence", "cosine_cost", "lengths_of"],
    "systems": ["System", "runge_kutta", "semi_implicit_euler"],
}

__all__ = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
