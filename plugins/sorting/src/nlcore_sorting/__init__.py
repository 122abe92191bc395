"""Differentiable sorting and ranking losses for nlcore."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "FastSoftSort": "_permutahedron",
    "FastSoftSortConfig": "config",
    "LapSum": "_lapsum",
    "LapSumConfig": "config",
    "NeuralSort": "_softmax",
    "NeuralSortConfig": "config",
    "OptimalTransportSort": "_transport",
    "OptimalTransportSortConfig": "config",
    "PermutationLoss": "_matrix",
    "RankingLoss": "_base",
    "SoftSort": "_softmax",
    "SoftSortConfig": "config",
    "SortingNetwork": "_networks",
    "SortingNetworkConfig": "config",
    "ranks": "_base",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(set(globals()) | set(__all__))
