"""Shortest paths in a directed graph without cycles, with costs of any sign on its edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.errors import ConfigError
from nlcore_decisions.solvers._cycles import walk_text
from nlcore_decisions.solvers._network import Edges, Network, check_ends, levels, network, read_edges
from nlcore_decisions.solvers._sweeps import Sweeps, trace
from nlcore_decisions.solvers.base import Solver

__all__ = ["DagPath"]


@dataclass(frozen=True)
class DagPath(Solver):
    r"""The shortest path between two nodes of a directed acyclic graph; costs on edges, of any sign.

    $$
    d(v) = \min_{e = (u, v)} d(u) + c_e, \qquad d(\text{source}) = 0,
    $$

    in topological order, level by level; y is 1 on the edges of the path to the goal. Of several shortest paths the one
    is returned that, walked back from the goal, enters every node by the first best edge in the order of `edges`. A
    longest path is the shortest for −c.

    Cost:
        O(E) per instance, in compiled code if numba is installed and the costs are on the CPU; else each level of the
        graph is some operations of torch on all instances at once. Distances are summed in float64 on the CPU, and in
        the dtype of the costs elsewhere.

    Args:
        edges: E pairs (start, end) of nodes, which are counted from 0; parallel edges are allowed.
        source: Node where the path begins.
        goal: Node where it ends; if it is the source, the path has no edges.

    Raises:
        ConfigError: An edge is not a pair of nodes, source or goal is not a node, or the graph has a cycle.
        InfeasibleError: No edges lead from the source to the goal.

    Example:
        >>> import torch
        >>> path = DagPath([(0, 1), (1, 2), (0, 2)], source=0, goal=2)
        >>> path(torch.tensor([[1.0, -3.0, 0.0], [1.0, 1.0, 1.0]]))
        tensor([[1., 1., 0.],
                [0., 0., 1.]])
    """

    binary: ClassVar[bool] = True

    edges: Edges
    source: int
    goal: int

    def __post_init__(self) -> None:
        edges = read_edges("DagPath", self.edges)
        check_ends("DagPath", edges, self.source, self.goal)
        self._store(edges=edges)
        level, cyclic = levels(torch.tensor(edges))
        if bool(cyclic.any()):
            raise ConfigError(
                f"DagPath: the graph has the cycle {_cycle(edges, cyclic)}. Remove one of its edges, or use GraphPath."
            )
        if self.source != self.goal:
            self._store(_network=network("DagPath", edges, self.source, self.goal, level))

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for each edge."""
        return (len(self.edges),)

    @cached_property
    def _network(self) -> Network:
        return network("DagPath", self.edges, self.source, self.goal, levels(torch.tensor(self.edges))[0])

    @cached_property
    def _compiled(self) -> Callable[[Tensor], Tensor]:
        solve: Callable[[Tensor], Tensor] = import_module("nlcore_decisions._compiled.graph_bridge").dag_path(
            self._network
        )
        return solve

    def _solve(self, costs: Tensor) -> Tensor:
        if self.source == self.goal:
            return torch.zeros_like(costs)
        on_cpu = costs.device.type == "cpu"
        if on_cpu and has_numba():
            return self._compiled(costs)
        sweeps = Sweeps.of(self._network, costs.double() if on_cpu else costs)
        sweeps.once()
        return trace(self._network, sweeps.pointers())[0].to(costs.dtype)

    def _feasible(self, solutions: Tensor) -> Tensor:
        if self.source == self.goal:
            return (solutions == 0).all(1)
        return self._network.flows(solutions)

    def _dearer(self, solution: Tensor) -> Tensor:
        return solution  # no path contains another


def _cycle(edges: Edges, cyclic: Tensor) -> str:
    """Return a cycle as text, from the nodes that lie on or behind one."""
    before = {end: start for start, end in edges if bool(cyclic[start]) and bool(cyclic[end])}
    node, seen = next(iter(before)), dict[int, None]()
    while node not in seen:
        seen[node] = None
        node = before[node]
    walk = [*seen][[*seen].index(node) :]
    return walk_text([node, *reversed(walk)])
