"""Kernels for minimum spanning trees: Borůvka's algorithm for sparse graphs, and Prim's on a matrix for dense ones.

Of equal costs the first edge counts as the least.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel

__all__ = ["dense_tree", "sparse_tree"]

_Array = NDArray[Any]


@kernel()
def sparse_tree(costs: _Array, masks: _Array, edges: _Array, nodes: int) -> None:
    """Mark the edges of the minimum spanning tree of each sample.

    Args:
        costs: [N, E].
        masks: [N, E], zeros.
        edges: [E, 2], of a connected graph.
        nodes: Number of nodes.
    """
    live, component = np.empty(len(edges), dtype=np.int64), np.empty(nodes, dtype=np.int64)
    best, parent = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    low = np.empty(nodes, dtype=costs.dtype)
    for n in range(len(costs)):
        own = costs[n]
        for e in range(len(edges)):
            live[e] = e
        for v in range(nodes):
            component[v] = parent[v] = v
        count, left = len(edges), nodes
        while left > 1:
            count = _least(own, edges, live, count, component, best, low)
            for v in range(nodes):
                e = best[v]
                if e < 0:
                    continue
                a, b = _root(parent, component[edges[e, 0]]), _root(parent, component[edges[e, 1]])
                if a != b:
                    masks[n, e] = 1
                    parent[max(a, b)] = min(a, b)
                    left -= 1
            for v in range(nodes):
                component[v] = _root(parent, component[v])


@kernel()
def dense_tree(costs: _Array, masks: _Array, index: _Array) -> None:
    """Mark the edges of the minimum spanning tree of each sample.

    Args:
        costs: [N, E].
        masks: [N, E], zeros.
        index: [V, V], the edge between two nodes, −1 for none.
    """
    nodes = len(index)
    low, entered = np.empty(nodes, dtype=costs.dtype), np.empty(nodes, dtype=np.int64)
    for n in range(len(costs)):
        own = costs[n]
        low[:] = np.inf
        entered[:] = -1
        inside = np.zeros(nodes, dtype=np.bool_)
        inside[0] = True
        last = 0
        for _ in range(nodes - 1):
            least, edge, node = np.inf, -1, -1
            for v in range(nodes):
                if inside[v]:
                    continue
                e = index[last, v]
                if e >= 0 and (own[e] < low[v] or (own[e] == low[v] and e < entered[v])):
                    low[v], entered[v] = own[e], e
                if low[v] < least or (low[v] == least and entered[v] < edge):
                    least, edge, node = low[v], entered[v], v
            masks[n, edge] = 1
            inside[node] = True
            last = node


@kernel()
def _least(own: _Array, edges: _Array, live: _Array, count: int, component: _Array, best: _Array, low: _Array) -> int:
    """Find the least edge out of each component; drop the edges within one, and return how many are left."""
    best[:] = -1
    low[:] = np.inf
    kept = 0
    for i in range(count):
        e = live[i]
        a, b = component[edges[e, 0]], component[edges[e, 1]]
        if a == b:
            continue
        live[kept] = e
        kept += 1
        cost = own[e]
        if cost < low[a]:
            low[a], best[a] = cost, e
        if cost < low[b]:
            low[b], best[b] = cost, e
    return kept


@kernel()
def _root(parent: _Array, v: int) -> int:
    """Return the representative of a component, and shorten the way to it."""
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v
