"""Losses with a shortest path inside, and the exact solvers they stand on; importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_shortest_paths.bellman_ford import BellmanFord
    from nlcore_shortest_paths.central_difference import CentralDifference
    from nlcore_shortest_paths.comparison import IMLE, BlackBox, NegativeIdentity, SPOPlus
    from nlcore_shortest_paths.config import (
        BellmanFordConfig,
        BlackBoxConfig,
        CentralDifferenceConfig,
        IMLEConfig,
        MaxEntropyConfig,
        NegativeIdentityConfig,
        PerturbedFenchelYoungConfig,
        SmoothedAlgorithmConfig,
        SmoothedLossConfig,
        SPOPlusConfig,
    )
    from nlcore_shortest_paths.fenchel_young import PerturbedFenchelYoung
    from nlcore_shortest_paths.graphs import graph_shortest_path
    from nlcore_shortest_paths.max_entropy import MaxEntropy
    from nlcore_shortest_paths.smoothing import SmoothedAlgorithm, SmoothedLoss
    from nlcore_shortest_paths.solvers import available_backends, path_cost, shortest_path

__all__ = [
    "IMLE",
    "BellmanFord",
    "BellmanFordConfig",
    "BlackBox",
    "BlackBoxConfig",
    "CentralDifference",
    "CentralDifferenceConfig",
    "IMLEConfig",
    "MaxEntropy",
    "MaxEntropyConfig",
    "NegativeIdentity",
    "NegativeIdentityConfig",
    "PerturbedFenchelYoung",
    "PerturbedFenchelYoungConfig",
    "SPOPlus",
    "SPOPlusConfig",
    "SmoothedAlgorithm",
    "SmoothedAlgorithmConfig",
    "SmoothedLoss",
    "SmoothedLossConfig",
    "available_backends",
    "graph_shortest_path",
    "path_cost",
    "shortest_path",
]

_HOMES = {
    "bellman_ford": ["BellmanFord"],
    "central_difference": ["CentralDifference"],
    "comparison": ["BlackBox", "IMLE", "NegativeIdentity", "SPOPlus"],
    "config": [
        "BellmanFordConfig",
        "BlackBoxConfig",
        "CentralDifferenceConfig",
        "IMLEConfig",
        "MaxEntropyConfig",
        "NegativeIdentityConfig",
        "PerturbedFenchelYoungConfig",
        "SPOPlusConfig",
        "SmoothedAlgorithmConfig",
        "SmoothedLossConfig",
    ],
    "fenchel_young": ["PerturbedFenchelYoung"],
    "graphs": ["graph_shortest_path"],
    "max_entropy": ["MaxEntropy"],
    "smoothing": ["SmoothedAlgorithm", "SmoothedLoss"],
    "solvers": ["available_backends", "path_cost", "shortest_path"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
