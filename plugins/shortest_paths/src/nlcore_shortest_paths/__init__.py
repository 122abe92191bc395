"""Losses with a shortest path inside, and the exact solvers they use; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_shortest_paths.bellman_ford import BellmanFord
    from nlcore_shortest_paths.blackbox import BlackBox
    from nlcore_shortest_paths.central_difference import CentralDifference
    from nlcore_shortest_paths.config import (
        BellmanFordConfig,
        BlackBoxConfig,
        CentralDifferenceConfig,
        GraphBellmanFordConfig,
        GraphMaxEntropyConfig,
        IMLEConfig,
        MaxEntropyConfig,
        NegativeIdentityConfig,
        PerturbedFenchelYoungConfig,
        SmoothedAlgorithmConfig,
        SmoothedLossConfig,
        SPOPlusConfig,
    )
    from nlcore_shortest_paths.graph_bellman_ford import GraphBellmanFord
    from nlcore_shortest_paths.graph_max_entropy import GraphMaxEntropy
    from nlcore_shortest_paths.imle import IMLE
    from nlcore_shortest_paths.max_entropy import MaxEntropy
    from nlcore_shortest_paths.negative_identity import NegativeIdentity
    from nlcore_shortest_paths.perturbed_fenchel_young import PerturbedFenchelYoung
    from nlcore_shortest_paths.smoothed_algorithm import SmoothedAlgorithm
    from nlcore_shortest_paths.smoothed_loss import SmoothedLoss
    from nlcore_shortest_paths.solvers import available_backends, path_cost, shortest_path
    from nlcore_shortest_paths.solvers.graphs import graph_shortest_path
    from nlcore_shortest_paths.spo_plus import SPOPlus

__all__ = [
    "IMLE",
    "BellmanFord",
    "BellmanFordConfig",
    "BlackBox",
    "BlackBoxConfig",
    "CentralDifference",
    "CentralDifferenceConfig",
    "GraphBellmanFord",
    "GraphBellmanFordConfig",
    "GraphMaxEntropy",
    "GraphMaxEntropyConfig",
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
    "blackbox": ["BlackBox"],
    "central_difference": ["CentralDifference"],
    "config": [name for name in __all__ if name.endswith("Config")],
    "graph_bellman_ford": ["GraphBellmanFord"],
    "graph_max_entropy": ["GraphMaxEntropy"],
    "imle": ["IMLE"],
    "max_entropy": ["MaxEntropy"],
    "negative_identity": ["NegativeIdentity"],
    "perturbed_fenchel_young": ["PerturbedFenchelYoung"],
    "smoothed_algorithm": ["SmoothedAlgorithm"],
    "smoothed_loss": ["SmoothedLoss"],
    "solvers": ["available_backends", "path_cost", "shortest_path"],
    "solvers.graphs": ["graph_shortest_path"],
    "spo_plus": ["SPOPlus"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
