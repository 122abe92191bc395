"""A graph laid out for sums over the edges into each node, with the samples last.

Two edges are added, from a new node to the source and from the goal to another new one, so that every walk from source
to goal, which may come back to both, is a walk between two nodes that it visits once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nlcore_decisions.solvers._network import Network, levels, network

__all__ = ["Layout", "layout"]

Edges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The part of a graph that walks from source to goal can use.

    Attributes:
        size: Number of edges of the graph, E.
        longest: A bound of the number of edges of a path; None for a graph with cycles.
        network: The usable part with the two further edges, E and E + 1.
    """

    size: int
    longest: int | None
    network: Network

    @property
    def acyclic(self) -> bool:
        """Whether the graph has no cycle."""
        return self.longest is not None

    @cached_property
    def source(self) -> int:
        """The number of the source in the network."""
        return int(self.network.end[self.network.edge == self.size])

    @cached_property
    def goal(self) -> int:
        """The number of the goal in the network."""
        return int(self.network.start[self.network.edge == self.size + 1])

    @cached_property
    def hops(self) -> Tensor:
        """The least number of edges from the source to each node, [n]; −1 for the new node in front of it."""
        count = torch.full((len(self.network.nodes),), len(self.network.nodes))
        count[0] = -1
        while True:
            known = count.clone()
            count.scatter_reduce_(0, self.network.end, count[self.network.start] + 1, "amin")
            if torch.equal(count, known):
                return count

    def per_edge(self, costs: Tensor, *, padding: float) -> Tensor:
        """Return [N, E] numbers as [M, N] of the padded edges, 0 for the two further ones."""
        further = costs.new_zeros(len(costs), 3)
        further[:, 2] = padding
        return torch.cat([costs, further], 1).mT.index_select(0, self.network.padded[0].to(costs.device))

    def per_node(self, values: Tensor, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Return the values [M, N] of the edges into each node reduced, [n − 1, N], without the first node."""
        blocks = self.network.blocks
        parts = torch.split(values, [(one.last - one.first) * one.degree for one in blocks])
        shapes = [(one.degree, one.last - one.first, values.shape[1]) for one in blocks]
        return torch.cat([reduce(part.view(shape), 0) for part, shape in zip(parts, shapes, strict=True)])


def layout(name: str, edges: Edges, source: int, goal: int, *, ordered: bool = True) -> Layout:
    """Return the layout of a graph.

    Args:
        name: The loss; messages begin with it.
        edges: E directed edges, of nodes counted from 0.
        source: Where walks begin.
        goal: Where they end.
        ordered: Whether the nodes come in topological order, if there is one; else there are fewer blocks.

    Raises:
        InfeasibleError: No edges lead from source to goal.
    """
    nodes = max(map(max, edges)) + 1
    whole = (*edges, (nodes, source), (goal, nodes + 1))
    level, cyclic = levels(torch.tensor(whole))
    longest = None if bool(cyclic.any()) else int(level[goal] - level[source])
    if source != goal:
        network(name, edges, source, goal)  # its message names the nodes of the graph alone
    in_order = level if ordered and longest is not None else None
    return Layout(len(edges), longest, network(name, whole, nodes, nodes + 1, in_order))
