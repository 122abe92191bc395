"""Access to the kernels for paths and trees: every kernel as a function of tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nlcore_decisions._compiled import paths, trees
from nlcore_decisions.solvers._network import Network

__all__ = ["dag_path", "graph_path", "spanning_tree"]


def dag_path(network: Network) -> Callable[[Tensor], Tensor]:
    """Return a function of costs [N, E], contiguous, that returns the masks of shortest paths in their dtype.

    Args:
        network: The graph, with its nodes in topological order.
    """
    first, start, edge = (one.numpy() for one in (network.first, network.start, network.edge))

    def solve(costs: Tensor) -> Tensor:
        masks = torch.zeros_like(costs)
        paths.solve_dag(costs.numpy(), masks.numpy(), first, start, edge, network.goal)
        return masks

    return solve


def graph_path(network: Network) -> Callable[[Tensor], tuple[Tensor, int, int]]:
    """Return a function of costs [N, E], contiguous, that returns the masks, and the first failure: `solve_graph`."""
    order, leaves = network.leaving
    inward = network.first.numpy(), network.start.numpy(), network.edge.numpy()
    outward = leaves.numpy(), network.end[order].numpy(), order.numpy()

    def solve(costs: Tensor) -> tuple[Tensor, int, int]:
        masks = torch.zeros_like(costs)
        failed, fault = paths.solve_graph(costs.numpy(), masks.numpy(), inward, outward, network.goal)
        return masks, failed, fault

    return solve


def spanning_tree(edges: Tensor, index: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return a function of costs [N, E], contiguous, that returns the masks of minimum spanning trees in their dtype.

    Args:
        edges: [E, 2], of a connected graph.
        index: [V, V], the edge between two nodes, −1 for none, for a dense graph without parallel edges.
    """
    nodes = int(edges.max()) + 1

    def solve(costs: Tensor) -> Tensor:
        masks = torch.zeros_like(costs)
        if index is not None:
            trees.dense_tree(costs.numpy(), masks.numpy(), index.numpy())
        else:
            trees.sparse_tree(costs.numpy(), masks.numpy(), edges.numpy(), nodes)
        return masks

    return solve
