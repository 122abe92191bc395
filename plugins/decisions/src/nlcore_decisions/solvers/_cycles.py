"""Cycles of negative cost, and cycles as text, for error messages."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nlcore_decisions.solvers._network import Network

__all__ = ["negative_cycle", "walk_text"]


def negative_cycle(network: Network, costs: Tensor) -> tuple[list[int], float] | None:
    """Return the nodes of a negative cycle, by their numbers in the whole graph, and its cost; None without one.

    Args:
        network: The graph; cycles through its source and its goal are not part of it.
        costs: [E], float64, on the CPU.
    """
    own, nodes = costs[network.edge], len(network.nodes)
    slack = float(own.abs().max()) * nodes * 4e-15
    distance, back = torch.zeros(nodes, dtype=torch.float64), torch.full((nodes,), -1)
    better = torch.zeros(nodes, dtype=torch.bool)
    for _ in range(nodes + 1):
        reached = distance[network.start] + own
        best = torch.full_like(distance, torch.inf).scatter_reduce_(0, network.end, reached, "amin")
        better = best < distance - slack
        if not bool(better.any()):
            return None
        hit = (better[network.end] & (reached == best[network.end])).nonzero()[:, 0]
        back[network.end[hit]] = hit
        distance = torch.where(better, best, distance)
    node = int(better.nonzero()[0])
    for _ in range(nodes):
        node = int(network.start[back[node]])
    cycle, cost = [node], 0.0
    while len(cycle) == 1 or cycle[-1] != node:
        edge = int(back[cycle[-1]])
        cost += float(own[edge])
        cycle.append(int(network.start[edge]))
    return network.nodes[cycle[::-1]].tolist(), cost


def walk_text(nodes: Iterable[int]) -> str:
    """Return the nodes of a walk as text."""
    return " → ".join(map(str, nodes))
