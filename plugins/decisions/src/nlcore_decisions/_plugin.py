"""Registration of the algorithms; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]

_SUMMARIES = {
    "top_k": ("TopK", "The k best of n elements"),
    "knapsack": ("Knapsack", "The most valuable items within one or several capacities"),
    "assignment": ("Assignment", "Rows of a matrix to columns of their own"),
    "grid_edges": ("GridEdges", "Shortest path through a grid with costs on its edges, right and down"),
    "dag_path": ("DagPath", "Shortest path in a directed acyclic graph, costs of any sign"),
    "graph_path": ("GraphPath", "Shortest path in a directed graph with cycles"),
    "spanning_tree": ("SpanningTree", "Spanning tree of least cost"),
    "linear_program": ("LinearProgram", "Linear program, with integers or without"),
}

_ALGORITHMS = tuple(
    AlgorithmSpec(
        id=f"decisions/{name}-v1",
        factory=f"nlcore_decisions.problems.{name}:{kind}Loss",
        config=f"nlcore_decisions.problems.config:{kind}Config",
        summary=f"{summary}, trained by any of thirteen methods",
        reference="that of the method: Berthet et al., NeurIPS 2020; Elmachtoub and Grigas, Management Science 2022; …",
        since="0.2.0",
    )
    for name, (kind, summary) in _SUMMARIES.items()
)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `decisions`."""
    return _ALGORITHMS
