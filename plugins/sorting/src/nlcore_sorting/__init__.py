"""Differentiable sorting and ranking losses for nlcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_sorting._base import RankingLoss, ranks
    from nlcore_sorting._lapsum import LapSum
    from nlcore_sorting._matrix import PermutationLoss
    from nlcore_sorting._networks import SortingNetwork
    from nlcore_sorting._permutahedron import FastSoftSort
    from nlcore_sorting._softmax import NeuralSort, SoftSort
    from nlcore_sorting._transport import OptimalTransportSort
    from nlcore_sorting.config import (
        FastSoftSortConfig,
        LapSumConfig,
        NeuralSortConfig,
        OptimalTransportSortConfig,
        SoftSortConfig,
        SortingNetworkConfig,
    )

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
    "_base": ["RankingLoss", "ranks"],
    "_lapsum": ["LapSum"],
    "_matrix": ["PermutationLoss"],
    "_networks": ["SortingNetwork"],
    "_permutahedron": ["FastSoftSort"],
    "_softmax": ["NeuralSort", "SoftSort"],
    "_transport": ["OptimalTransportSort"],
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
