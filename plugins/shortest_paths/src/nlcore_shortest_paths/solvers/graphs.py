"""Exact shortest paths on any sparse graph with costs on its edges, by scipy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, DtypeError, NonFiniteError, NumericalError, ShapeError, shorten

__all__ = ["graph_shortest_path"]

_NAME = "graph_shortest_path"


def graph_shortest_path(costs: Tensor, edges: Tensor, *, source: int, goal: int) -> Tensor:
    """Return the edges of a shortest path in each of many graphs that differ in their costs alone.

    Of several shortest paths the one is returned that, walked back from the goal, enters by the first best edge in the
    order of `edges`. Distances are summed in float64. The graphs are solved one after the other in compiled code.

    Args:
        costs: [..., E], positive and finite, one for each edge.
        edges: [E, 2], int64, start and end of each edge, which leads one way. An edge that leads both ways is given
            twice; of parallel edges the cheapest counts.
        source: Node where the path starts.
        goal: Node where it ends.

    Returns:
        [..., E], 1 on the path, dtype and device of `costs`; not differentiable.

    Raises:
        ConfigError: scipy is not installed, or source or goal is no node of an edge.
        ContractError: Shapes or dtypes do not fit, costs are not positive, or the goal cannot be reached.
        NonFiniteError: A cost is NaN or infinite.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0, 1], [1, 2], [0, 2]])
        >>> graph_shortest_path(torch.tensor([[1.0, 1.0, 3.0], [1.0, 1.0, 1.5]]), edges, source=0, goal=2)
        tensor([[1., 1., 0.],
                [0., 0., 1.]])
    """
    _check(costs, edges)
    flat = costs.detach().double().cpu().reshape(-1, edges.shape[0])
    _check_costs(flat)
    graph = _Graph(edges.cpu(), source, goal)
    masks = torch.zeros_like(flat)
    for sample, values in enumerate(flat):
        masks[sample, graph.path(values, sample)] = 1.0
    return masks.reshape(costs.shape).to(costs)


class _Graph:
    """Edges sorted for scipy, and for the way back."""

    def __init__(self, edges: Tensor, source: int, goal: int) -> None:
        try:
            import numpy as np
            from scipy.sparse import csr_array
            from scipy.sparse.csgraph import dijkstra
        except ImportError as error:
            raise ConfigError(
                f"{_NAME} needs scipy: pip install 'nlcore-shortest-paths[scipy]'. For grids shortest_path needs none."
            ) from error
        self._np: Any = np
        self._csr: Any = csr_array
        self._dijkstra: Any = dijkstra
        self.start, self.end = edges[:, 0].numpy(), edges[:, 1].numpy()
        self.nodes = int(edges.max()) + 1 if edges.numel() else 0
        for name, node in (("source", source), ("goal", goal)):
            if not 0 <= node < self.nodes:
                raise ConfigError(f"{name} {node} is no node of an edge; the nodes are 0 to {self.nodes - 1}.")
        self.source, self.goal = source, goal
        self.by_end = np.argsort(self.end, kind="stable")  # edges into one node stay in their order
        self.first = np.searchsorted(self.end[self.by_end], np.arange(self.nodes + 1))
        pair = self.start * self.nodes + self.end
        self.pairs, self.group = np.unique(pair, return_inverse=True)

    def path(self, costs: Tensor, sample: int) -> list[int]:
        """Return the edges of the shortest path for costs [E]."""
        values = costs.numpy()
        least = self._np.full(len(self.pairs), self._np.inf)
        self._np.minimum.at(least, self.group, values)
        places = (self.pairs // self.nodes, self.pairs % self.nodes)
        graph = self._csr((least, places), shape=(self.nodes, self.nodes))
        distance = self._dijkstra(graph, indices=self.source)
        if not self._np.isfinite(distance[self.goal]):
            raise ContractError(
                f"{_NAME}: sample {sample}: no edges lead from node {self.source} to node {self.goal}. Edges lead one "
                "way; give those that lead both ways twice."
            )
        found: list[int] = []
        node = self.goal
        while node != self.source and len(found) <= self.nodes:
            into = self.by_end[self.first[node] : self.first[node + 1]]
            edge = int(into[self._np.argmin(distance[self.start[into]] + values[into])])
            found.append(edge)
            node = int(self.start[edge])
        if node != self.source:
            raise NumericalError(
                f"{_NAME}: the costs of sample {sample} differ by more than float64 resolves. Limit their range."
            )
        return found


def _check(costs: Tensor, edges: Tensor) -> None:
    if not costs.is_floating_point() or edges.dtype != torch.int64:
        raise DtypeError(
            f"{_NAME}: costs are {costs.dtype} and edges {edges.dtype}; floating point and torch.int64 are needed."
        )
    if edges.ndim != 2 or edges.shape[1] != 2 or costs.ndim < 1 or costs.shape[-1] != edges.shape[0]:
        raise ShapeError(
            f"{_NAME}: costs have shape {list(costs.shape)} and edges {list(edges.shape)}; [..., E] and [E, 2] are "
            "needed."
        )
    if edges.numel() and int(edges.min()) < 0:
        raise ContractError(f"{_NAME}: edges name the node {int(edges.min())}; nodes are counted from 0.")


def _check_costs(costs: Tensor) -> None:
    infinite = (~costs.isfinite()).any(1).nonzero()[:, 0].tolist()
    if infinite:
        raise NonFiniteError(
            f"{_NAME}: the costs of samples {shorten(infinite)} are NaN or infinite. Leave an edge that must not be "
            "used out of `edges`.",
            infinite,
        )
    wrong = (costs <= 0).any(1).nonzero()[:, 0].tolist()
    if wrong:
        edge = int((costs[wrong[0]] <= 0).nonzero()[0])
        raise ContractError(
            f"{_NAME}: the costs of samples {shorten(wrong)} are not positive; sample {wrong[0]} has "
            f"{float(costs[wrong[0], edge]):.6g} on edge {edge}. Make them positive, for a network's output with "
            "torch.nn.functional.softplus(output) + 1e-2."
        )
