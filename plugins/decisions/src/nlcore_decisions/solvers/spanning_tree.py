"""Minimum spanning trees: many instances that differ in the costs of the edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.errors import ConfigError, shorten
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._network import Edges, read_edges
from nlcore_decisions.solvers._trees import boruvka, components, prim
from nlcore_decisions.solvers.base import Solver

__all__ = ["SpanningTree"]

_DENSE = 8
"""Edges for each node from which a graph is dense, unless it is large."""

_LARGE = 2000


@dataclass(frozen=True)
class SpanningTree(Solver):
    r"""The spanning tree of least cost; costs of any sign on the edges of an undirected graph.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in \text{spanning trees}} \langle c, y \rangle,
    $$

    y is 1 on the V − 1 edges of the tree. Of edges with equal costs the first counts as the least, which makes the tree
    unique.

    Cost:
        With numba and costs on the CPU: Prim's algorithm, O(V²) per instance, for at least 8 edges a node and up to
        2 000 nodes, and Borůvka's, O(E log V), for other graphs. Else the same two in torch for all instances at once;
        on a GPU always Borůvka's.

    Args:
        edges: E pairs of nodes, which are counted from 0; parallel edges are allowed. The graph has all nodes up to the
            largest number.

    Raises:
        ConfigError: An edge is not a pair of nodes, or leads from a node to itself.
        InfeasibleError: The graph is not connected; its components are named.

    Example:
        >>> import torch
        >>> tree = SpanningTree([(0, 1), (1, 2), (0, 2)])
        >>> tree(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, -1.0]]))
        tensor([[1., 1., 0.],
                [1., 0., 1.]])
    """

    binary: ClassVar[bool] = True

    edges: Edges

    def __post_init__(self) -> None:
        edges = read_edges("SpanningTree", self.edges)
        for index, (start, end) in enumerate(edges):
            if start == end:
                raise ConfigError(
                    f"SpanningTree: edge {index} leads from node {start} to itself; no tree contains it. Leave it out."
                )
        self._store(edges=edges)
        label = components(self._pairs, torch.ones(1, len(edges), dtype=torch.bool))[0]
        if bool(label.any()):
            parts = [(label == one).nonzero()[:, 0].tolist() for one in torch.unique(label).tolist()]
            named = shorten([f"{{{shorten(part)}}}" for part in parts])
            raise InfeasibleError(
                f"SpanningTree: the graph is not connected; its components are {named}. Add edges between them; nodes "
                f"are counted from 0 to {len(label) - 1}, and each must have an edge."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for each edge."""
        return (len(self.edges),)

    @cached_property
    def _pairs(self) -> Tensor:
        return torch.tensor(self.edges)

    @cached_property
    def _nodes(self) -> int:
        return max(map(max, self.edges)) + 1

    @cached_property
    def _index(self) -> Tensor | None:
        """The edge between two nodes, [V, V], −1 for none; None if the graph is sparse or has parallel edges."""
        size = len(self.edges)
        if size < _DENSE * self._nodes or self._nodes > _LARGE or len({frozenset(pair) for pair in self.edges}) < size:
            return None
        index = torch.full((self._nodes, self._nodes), -1)
        start, end = self._pairs.unbind(1)
        index[start, end] = index[end, start] = torch.arange(size)
        return index

    @cached_property
    def _compiled(self) -> Callable[[Tensor], Tensor]:
        bridge = import_module("nlcore_decisions._compiled.graph_bridge")
        solve: Callable[[Tensor], Tensor] = bridge.spanning_tree(self._pairs, self._index)
        return solve

    def _solve(self, costs: Tensor) -> Tensor:
        on_cpu = costs.device.type == "cpu"
        if on_cpu and has_numba():
            return self._compiled(costs)
        if on_cpu and self._index is not None:
            return prim(costs, self._index.where(self._index >= 0, len(self.edges)))
        return boruvka(costs, self._pairs)

    def _feasible(self, solutions: Tensor) -> Tensor:
        whole = ((solutions == 0) | (solutions == 1)).all(1) & (solutions.sum(1) == self._nodes - 1)
        return whole & (components(self._pairs, solutions > 0.5) == 0).all(1)
