"""Losses with a shortest path inside, and the exact solvers they stand on; importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "BellmanFord": "bellman_ford",
    "BellmanFordConfig": "config",
    "BlackBox": "comparison",
    "BlackBoxConfig": "config",
    "CentralDifference": "central_difference",
    "CentralDifferenceConfig": "config",
    "IMLE": "comparison",
    "IMLEConfig": "config",
    "MaxEntropy": "max_entropy",
    "MaxEntropyConfig": "config",
    "NegativeIdentity": "comparison",
    "NegativeIdentityConfig": "config",
    "PerturbedFenchelYoung": "fenchel_young",
    "PerturbedFenchelYoungConfig": "config",
    "SPOPlus": "comparison",
    "SPOPlusConfig": "config",
    "SmoothedAlgorithm": "smoothing",
    "SmoothedAlgorithmConfig": "config",
    "SmoothedLoss": "smoothing",
    "SmoothedLossConfig": "config",
    "available_backends": "solvers",
    "graph_shortest_path": "graphs",
    "path_cost": "solvers",
    "shortest_path": "solvers",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
