"""Minimum spanning trees in torch, for many cost vectors at once; of equal costs the first edge counts as the least."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["boruvka", "components", "prim"]


def components(edges: Tensor, chosen: Tensor) -> Tensor:
    """Return the least node of the component of every node, [N, V], with the chosen edges alone.

    Args:
        edges: [E, 2].
        chosen: [N, E], bool.
    """
    nodes = int(edges.max()) + 1
    label = torch.arange(nodes, device=chosen.device).repeat(len(chosen), 1)
    start, end = (one.to(chosen.device).expand_as(chosen) for one in edges.unbind(1))
    while True:
        a, b = label.gather(1, start), label.gather(1, end)
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        lower = label.scatter_reduce(1, high, torch.where(chosen, low, high), "amin")
        lower = lower.gather(1, lower)
        if torch.equal(lower, label):
            return label
        label = lower


def boruvka(costs: Tensor, edges: Tensor) -> Tensor:
    """Return the masks of minimum spanning trees by Borůvka's algorithm; O(log V) rounds over all edges.

    Args:
        costs: [N, E].
        edges: [E, 2], of a connected graph.

    Returns:
        [N, E], the dtype of the costs.
    """
    order = costs.argsort(dim=1, stable=True)
    start, end = (one.to(costs.device)[order] for one in edges.unbind(1))
    count, size = costs.shape
    own = torch.arange(int(edges.max()) + 1, device=costs.device).expand(count, -1)
    place = torch.arange(size, device=costs.device)
    label, mask = own, torch.zeros(count, size + 1, dtype=costs.dtype, device=costs.device)
    while True:
        a, b = label.gather(1, start), label.gather(1, end)
        joins = torch.where(a != b, place, size)
        best = torch.full_like(label, size).scatter_reduce_(1, a, joins, "amin").scatter_reduce_(1, b, joins, "amin")
        if bool((best == size).all()):
            return mask[:, :-1]
        edge = best.clamp(max=size - 1)
        mask.scatter_(1, torch.where(best < size, order.gather(1, edge), size), 1)
        other = torch.where(best < size, a.gather(1, edge) + b.gather(1, edge) - own, own)
        parent = torch.where((other.gather(1, other) == own) & (own < other), own, other)  # each chose the other
        label = _roots(parent).gather(1, label)


def prim(costs: Tensor, index: Tensor) -> Tensor:
    """Return the masks of minimum spanning trees by Prim's algorithm; O(V) steps over all nodes.

    Args:
        costs: [N, E].
        index: [V, V], the edge between two nodes, E for none.

    Returns:
        [N, E], the dtype of the costs.
    """
    size = costs.shape[1]
    padded = torch.cat([costs, costs.new_full((len(costs), 1), torch.inf)], 1)
    edge = index[0].repeat(len(costs), 1)
    low = padded.gather(1, edge)
    inside = torch.zeros_like(low)
    inside[:, 0] = torch.inf
    taken = []
    for _ in range(len(index) - 1):
        outside = low + inside
        node = torch.where(outside == outside.amin(1, keepdim=True), edge, size + 1).argmin(1, keepdim=True)
        taken.append(edge.gather(1, node))
        inside.scatter_(1, node, torch.inf)
        other = index[node[:, 0]]
        reached = padded.gather(1, other)
        closer = (reached < low) | ((reached == low) & (other < edge))
        low, edge = torch.where(closer, reached, low), torch.where(closer, other, edge)
    return torch.zeros_like(padded).scatter_(1, torch.cat(taken, 1), 1)[:, :-1]


def _roots(parent: Tensor) -> Tensor:
    """Return the root of every node, [N, V], of a forest given by parents."""
    while True:
        above = parent.gather(1, parent)
        if torch.equal(above, parent):
            return parent
        parent = above
