"""Kernels for shortest paths: topological order, Dijkstra with a heap, and Bellman and Ford with a queue.

A graph comes as arrays: the edges into each node, `first` [n + 1], `start` [m] and `edge` [m], the index among the
costs; and for graphs with cycles the same edges sorted by their start, `leaves` [n + 1], `end` [m] and `place` [m], the
index among those sorted by their end. The source is node 0. Distances are summed in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel
from nlcore_decisions._compiled.heaps import pop, push

__all__ = ["solve_dag", "solve_graph"]

_Array = NDArray[Any]
_Arrays = tuple[_Array, _Array, _Array]


@kernel()
def solve_dag(costs: _Array, masks: _Array, first: _Array, start: _Array, edge: _Array, goal: int) -> None:
    """Mark the shortest path of each sample; the nodes are in topological order."""
    nodes = len(first) - 1
    distance, back = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    distance[0] = 0.0
    for n in range(len(costs)):
        for v in range(1, nodes):
            best = np.inf
            entered = first[v]
            for k in range(first[v], first[v + 1]):
                reached = distance[start[k]] + costs[n, edge[k]]
                if reached < best:
                    best, entered = reached, k
            distance[v], back[v] = best, entered
        node = goal
        while node != 0:
            masks[n, edge[back[node]]] = 1
            node = start[back[node]]


@kernel()
def solve_graph(costs: _Array, masks: _Array, inward: _Arrays, outward: _Arrays, goal: int) -> tuple[int, int]:
    """Mark the shortest path of each sample.

    Args:
        costs: [N, E].
        masks: [N, E], zeros.
        inward: `first`, `start` and `edge`.
        outward: `leaves`, `end` and `place`.
        goal: The goal.

    Returns:
        The first sample that could not be solved, and 1 for a negative cycle, 2 for sums that overflow; −1 and 0.
    """
    first, start, edge = inward
    place = outward[2]
    nodes, edges = len(first) - 1, len(edge)
    distance, back = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    heap, keys, own = np.empty(edges + 1, dtype=np.int64), np.empty(edges + 1), np.empty(edges)
    source = edge[place]
    for n in range(len(costs)):
        largest, least = 0.0, 0.0
        for i in range(edges):
            cost = float(costs[n, source[i]])
            own[i] = cost
            least, largest = min(least, cost), max(largest, abs(cost))
        slack = 0.0
        if least >= 0:
            _dijkstra(own, distance, outward, goal, heap, keys)
        else:
            slack = largest * nodes * 4e-15
            found = _queue(own, distance, back, slack, inward, outward)
            while found != 0:
                if found < 0:
                    return n, 1
                slack *= 16  # a cycle of cost 0, whose sum is negative by rounding
                found = _queue(own, distance, back, slack, inward, outward)
        if distance[goal] == np.inf:
            return n, 2
        if not _best(costs[n], distance, back, slack, inward, goal):
            _fewest(own, distance, back, slack, outward, heap)
        node = goal
        while node != 0:
            masks[n, edge[back[node]]] = 1
            node = start[back[node]]
    return -1, 0


@kernel()
def _best(costs: _Array, distance: _Array, back: _Array, slack: float, inward: _Arrays, goal: int) -> bool:
    """Write the first best edge into each node on the walk back from the goal; return whether it arrives."""
    first, start, edge = inward
    node = goal
    for _ in range(len(distance)):
        if node == 0:
            return True
        k = first[node]
        while k < first[node + 1] - 1 and distance[start[k]] + costs[edge[k]] > distance[node] + slack:
            k += 1
        back[node] = k
        node = start[k]
    return node == 0


@kernel()
def _fewest(own: _Array, distance: _Array, back: _Array, slack: float, outward: _Arrays, queue: _Array) -> None:
    """Write the edge by which the shortest path of fewest edges enters each node, the first of several."""
    leaves, end, place = outward
    steps = np.full(len(distance), len(distance) + 1)
    steps[0], queue[0], head, tail = 0, 0, 0, 1
    while head < tail:
        u = queue[head]
        head += 1
        for i in range(leaves[u], leaves[u + 1]):
            v = end[i]
            if steps[v] < steps[u] + 1 or distance[u] + own[i] > distance[v] + slack:
                continue
            if steps[v] > steps[u] + 1:
                steps[v], back[v] = steps[u] + 1, place[i]
                queue[tail] = v
                tail += 1
            else:
                back[v] = min(back[v], place[i])


@kernel()
def _dijkstra(own: _Array, distance: _Array, outward: _Arrays, goal: int, heap: _Array, keys: _Array) -> None:
    """Settle nodes in the order of their distance, up to that of the goal."""
    leaves, end, _ = outward
    distance[:] = np.inf
    distance[0] = 0.0
    size = push(heap, keys, 0, 0, 0.0)
    while size > 0:
        u, key = heap[0], keys[0]
        size = pop(heap, keys, size)
        if key > distance[u]:
            continue
        if key > distance[goal]:
            return
        for i in range(leaves[u], leaves[u + 1]):
            v = end[i]
            reached = key + own[i]
            if reached < distance[v] and reached <= distance[goal]:
                distance[v] = reached
                size = push(heap, keys, size, v, reached)


@kernel()
def _queue(own: _Array, distance: _Array, back: _Array, slack: float, inward: _Arrays, outward: _Arrays) -> int:
    """Relax the edges of the nodes that became closer, first come, first served.

    Returns:
        0; −1 after more rounds than there are nodes if the cycle that causes them is negative, 1 if it is not.
    """
    leaves, end, place = outward
    nodes = len(distance)
    queue, waiting = np.empty(nodes, dtype=np.int64), np.zeros(nodes, dtype=np.bool_)
    distance[:] = np.inf
    distance[0] = 0.0
    queue[0], head, count, left, rounds = 0, 0, 1, 1, 0
    waiting[0] = True
    while count > 0:
        if left == 0:
            left, rounds = count, rounds + 1
            if rounds > nodes:
                return _cycle(own, back, slack, inward, place, queue[head])
        u = queue[head]
        head, count, left = (head + 1) % nodes, count - 1, left - 1
        waiting[u] = False
        for i in range(leaves[u], leaves[u + 1]):
            v = end[i]
            reached = distance[u] + own[i]
            if reached < distance[v] - slack:
                distance[v], back[v] = reached, place[i]
                if not waiting[v]:
                    queue[(head + count) % nodes] = v
                    count += 1
                    waiting[v] = True
    return 0


@kernel()
def _cycle(own: _Array, back: _Array, slack: float, inward: _Arrays, place: _Array, node: int) -> int:
    """Return −1 if the walk back from a node, which runs into a cycle, runs into a negative one, else 1."""
    start = inward[1]
    for _ in range(len(back)):
        node = start[back[node]]
    costs = np.empty_like(own)
    costs[place] = own
    first, total = node, 0.0
    while True:
        total += costs[back[node]]
        node = start[back[node]]
        if node == first:
            return -1 if total < -slack else 1
