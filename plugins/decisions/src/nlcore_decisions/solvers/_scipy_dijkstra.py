"""Distances in a network by scipy's compiled Dijkstra, one instance after the other: for large graphs without numba."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from nlcore_decisions.solvers._network import Network

__all__ = ["distances"]


def distances(network: Network, costs: Tensor) -> Tensor:
    """Return the distance of every node from the source, [n, N].

    Args:
        network: The graph.
        costs: [N, E], float64, on the CPU, at least 0.
    """
    nodes = len(network.nodes)
    pairs, group = torch.unique(network.start * nodes + network.end, return_inverse=True)  # sorted as scipy stores them
    own = costs[:, network.edge]
    least = torch.full((len(costs), len(pairs)), torch.inf, dtype=costs.dtype)
    least.scatter_reduce_(1, group.expand_as(own), own, "amin")  # parallel edges are one
    rows, columns = np.divmod(pairs.numpy(), nodes)
    graph = csr_array((least[0].numpy(), (rows, columns)), shape=(nodes, nodes))
    found = np.empty((nodes, len(costs)))
    for sample, values in enumerate(least.numpy()):
        graph.data = values
        found[:, sample] = dijkstra(graph, indices=0)
    return torch.from_numpy(found)
