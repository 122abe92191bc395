"""Losses with a shortest path inside, and the exact solvers they use; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_shortest_paths.bellman_ford import BellmanFord as BellmanFord
    from nlcore_shortest_paths.blackbox import BlackBox as BlackBox
    from nlcore_shortest_paths.central_difference import CentralDifference as CentralDifference
    from nlcore_shortest_paths.config import BellmanFordConfig as BellmanFordConfig
    from nlcore_shortest_paths.config import BlackBoxConfig as BlackBoxConfig
    from nlcore_shortest_paths.config import CentralDifferenceConfig as CentralDifferenceConfig
    from nlcore_shortest_paths.config import GraphBellmanFordConfig as GraphBellmanFordConfig
    from nlcore_shortest_paths.config import GraphMaxEntropyConfig as GraphMaxEntropyConfig
    from nlcore_shortest_paths.config import IMLEConfig as IMLEConfig
    from nlcore_shortest_paths.config import MaxEntropyConfig as MaxEntropyConfig
    from nlcore_shortest_paths.config import NegativeIdentityConfig as NegativeIdentityConfig
    from nlcore_shortest_paths.config import PerturbedFenchelYoungConfig as PerturbedFenchelYoungConfig
    from nlcore_shortest_paths.config import SmoothedAlgorithmConfig as SmoothedAlgorithmConfig
    from nlcore_shortest_paths.config import SmoothedLossConfig as SmoothedLossConfig
    from nlcore_shortest_paths.config import SPOPlusConfig as SPOPlusConfig
    from nlcore_shortest_paths.graph_bellman_ford import GraphBellmanFord as GraphBellmanFord
    from nlcore_shortest_paths.graph_max_entropy import GraphMaxEntropy as GraphMaxEntropy
    from nlcore_shortest_paths.imle import IMLE as IMLE
    from nlcore_shortest_paths.max_entropy import MaxEntropy as MaxEntropy
    from nlcore_shortest_paths.negative_identity import NegativeIdentity as NegativeIdentity
    from nlcore_shortest_paths.perturbed_fenchel_young import PerturbedFenchelYoung as PerturbedFenchelYoung
    from nlcore_shortest_paths.smoothed_algorithm import SmoothedAlgorithm as SmoothedAlgorithm
    from nlcore_shortest_paths.smoothed_loss import SmoothedLoss as SmoothedLoss
    from nlcore_shortest_paths.solvers import available_backends as available_backends
    from nlcore_shortest_paths.solvers import path_cost as path_cost
    from nlcore_shortest_paths.solvers import shortest_path as shortest_path
    from nlcore_shortest_paths.solvers.graphs import graph_shortest_path as graph_shortest_path
    from nlcore_shortest_paths.spo_plus import SPOPlus as SPOPlus

_HOMES = {
    "bellman_ford": ["BellmanFord"],
    "blackbox": ["BlackBox"],
    "central_difference": ["CentralDifference"],
    "config": [
        "BellmanFordConfig",
        "BlackBoxConfig",
        "CentralDifferenceConfig",
        "GraphBellmanFordConfig",
        "GraphMaxEntropyConfig",
        "IMLEConfig",
        "MaxEntropyConfig",
        "NegativeIdentityConfig",
        "PerturbedFenchelYoungConfig",
        "SPOPlusConfig",
        "SmoothedAlgorithmConfig",
        "SmoothedLossConfig",
    ],
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

__all__ = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
