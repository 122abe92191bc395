"""Differentiable sorting and ranking losses for nlcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_sorting._permutation_loss import PermutationLoss
    from nlcore_sorting._ranking_loss import RankingLoss, ranks
    from nlcore_sorting.config import (
        FastSoftSortConfig,
        LapSumConfig,
        NeuralSortConfig,
        OptimalTransportSortConfig,
        SoftSortConfig,
        SortingNetworkConfig,
    )
    from nlcore_sorting.fast_soft_sort import FastSoftSort
    from nlcore_sorting.lapsum import LapSum
    from nlcore_sorting.neuralsort import NeuralSort, SoftSort
    from nlcore_sorting.optimal_transport import OptimalTransportSort
    from nlcore_sorting.sorting_network import SortingNetwork

__all__ = [
    "FastSoftSort",
    "FastSoftSortConfig",
    "LapSum",
    "LapSumConfig",
    "NeuralSort",
    "NeuralSortConfig",
    "OptimalTransportSort",
    "OptimalTransportSortConfig",
    "PermutationLoss",
    "RankingLoss",
    "SoftSort",
    "SoftSortConfig",
    "SortingNetwork",
    "SortingNetworkConfig",
    "ranks",
]

_HOMES = {
    "_ranking_loss": ["RankingLoss", "ranks"],
    "lapsum": ["LapSum"],
    "_permutation_loss": ["PermutationLoss"],
    "sorting_network": ["SortingNetwork"],
    "fast_soft_sort": ["FastSoftSort"],
    "neuralsort": ["NeuralSort", "SoftSort"],
    "optimal_transport": ["OptimalTransportSort"],
    "config": [
        "FastSoftSortConfig",
        "LapSumConfig",
        "NeuralSortConfig",
        "OptimalTransportSortConfig",
        "SoftSortConfig",
        "SortingNetworkConfig",
    ],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
