"""Losses with a shortest path inside, and the exact solvers they stand on; importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_shortest_paths.bellman_ford import BellmanFord
    from nlcore_shortest_paths.config import BellmanFordConfig
    from nlcore_shortest_paths.graphs import graph_shortest_path
    from nlcore_shortest_paths.solvers import available_backends, path_cost, shortest_path

__all__ = [
    "BellmanFord",
    "BellmanFordConfig",
    "available_backends",
    "graph_shortest_path",
    "path_cost",
    "shortest_path",
]

_HOMES = {
    "BellmanFord": "bellman_ford",
    "BellmanFordConfig": "config",
    "available_backends": "solvers",
    "graph_shortest_path": "graphs",
    "path_cost": "solvers",
    "shortest_path": "solvers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
