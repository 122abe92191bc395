"""The part of a directed graph that paths from a source to a goal can use, laid out for sweeps over many cost vectors.

Nodes and edges are renumbered: the source comes first, and the edges into a node stand together, in the order in which
they were given. For torch, nodes of similar in-degree form a block, whose in-degrees are padded to a power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError, shorten
from nlcore_decisions.config import refuse_rows
from nlcore_decisions.errors import InfeasibleError

__all__ = ["Block", "Edges", "Network", "check_ends", "levels", "network", "read_edges"]

Edges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes `first` to `last − 1`, each with `degree` padded edges into it: [degree, nodes], the slot in front.

    Attributes:
        first: First node.
        last: One past the last node.
        offset: Index of the first padded edge.
        degree: Edges into each node.
    """

    first: int
    last: int
    offset: int
    degree: int


@dataclass(frozen=True)
class Network:
    """The usable part of a graph: every node lies on a walk from the source, node 0, to the goal.

    Attributes:
        size: Number of edges of the whole graph, E.
        nodes: [n], the nodes by their number in the whole graph; in topological order if there is one.
        edge: [m], the edges by their index in the whole graph, sorted by their end.
        start: [m], the node where each begins.
        first: [n + 1], the first edge into each node.
        goal: The node of the goal.
        depth: [n], the level of each node in the topological order; 0 for all but the source without one.
    """

    size: int
    nodes: Tensor
    edge: Tensor
    start: Tensor
    first: Tensor
    goal: int
    depth: Tensor

    @cached_property
    def end(self) -> Tensor:
        """The node where each edge ends, [m]."""
        return torch.arange(len(self.nodes)).repeat_interleave(self.first.diff())

    @cached_property
    def leaving(self) -> tuple[Tensor, Tensor]:
        """The edges, [m], sorted by the node where they begin, and the first of each node, [n + 1]."""
        order = torch.argsort(self.start, stable=True)
        return order, _offsets(torch.bincount(self.start, minlength=len(self.nodes)))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in topological order; without the source."""
        keys = torch.stack([self.depth, _padded(self.first.diff())])[:, 1:]
        _, counts = torch.unique_consecutive(keys, dim=1, return_counts=True)
        blocks, first, offset = [], 1, 0
        for count in counts.tolist():
            degree = int(keys[1, first - 1])
            blocks.append(Block(first, first + count, offset, degree))
            first, offset = first + count, offset + count * degree
        return tuple(blocks)

    @cached_property
    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each padded edge, [M], the index in the whole graph, E for none, and its two nodes."""
        end = torch.cat([torch.arange(one.first, one.last).repeat(one.degree) for one in self.blocks])
        place, _ = self._places
        edge, start = torch.full_like(end, self.size), torch.zeros_like(end)
        edge[place], start[place] = self.edge, self.start
        return edge, start, end

    @cached_property
    def slots(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For k = 0, 1, … the padded edges that are the k-th into a node, and these nodes."""
        place, slot = self._places
        edges = [place[slot == k] for k in range(int(slot.max()) + 1)]
        return tuple((edge, self.padded[2][edge]) for edge in edges)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Of each edge, [m], the index among the padded ones, and the slot."""
        slot = torch.arange(len(self.edge)) - self.first[self.end]
        base, width = torch.zeros_like(self.nodes), torch.zeros_like(self.nodes)
        for block in self.blocks:
            nodes = torch.arange(block.last - block.first)
            base[block.first : block.last], width[block.first : block.last] = block.offset + nodes, len(nodes)
        return base[self.end] + slot * width[self.end], slot

    def flows(self, solutions: Tensor) -> Tensor:
        """Return which solutions [N, E] are 0/1 flows of 1 from source to goal within the usable part, bool [N]."""
        chosen = solutions[:, self.edge]
        net = solutions.new_zeros(len(solutions), len(self.nodes))
        net.index_add_(1, self.start.to(net.device), chosen).index_add_(1, self.end.to(net.device), -chosen)
        net[:, 0] -= 1
        net[:, self.goal] += 1
        whole = ((solutions == 0) | (solutions == 1)).all(1)
        return whole & (net == 0).all(1) & (chosen.sum(1) == solutions.sum(1))

    def circling(self, flows: Tensor) -> Tensor:
        """Return which 0/1 flows of 1, [N, E], are not paths, bool [N]: they visit a node twice, or have a cycle."""
        chosen = flows[:, self.edge] > 0
        start, end = self.start.to(flows.device), self.end.to(flows.device)
        after = torch.zeros(len(flows), len(self.nodes), dtype=torch.int64, device=flows.device)
        after.scatter_reduce_(1, start.expand_as(chosen), end * chosen, "amax")  # 0 where no edge leaves
        place, steps = after[:, :1], chosen.new_zeros(len(flows), dtype=torch.int64)
        while bool((place > 0).any()) and int(steps.max()) < len(self.nodes):
            steps += place[:, 0] > 0
            place = after.gather(1, place) * (place > 0)
        return steps != chosen.sum(1)


def read_edges(name: str, edges: Any) -> Edges:
    """Return edges as a tuple of pairs of nodes.

    Args:
        name: The solver; messages begin with it.
        edges: E ≥ 1 pairs of numbers ≥ 0: nested lists, or a tensor or array [E, 2].

    Raises:
        ConfigError: The edges are something else.
    """
    listed = edges.tolist() if hasattr(edges, "tolist") else edges
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not len(listed):
        raise ConfigError(
            f"{name}: edges were given {edges!r}; a list of pairs of nodes, [E, 2] with E ≥ 1, is needed."
        )
    try:
        refuse_rows(listed)
    except ValueError as error:
        raise ConfigError(f"{name}: edges were given as [2, {len(listed[0])}]: {error}.") from None
    for index, pair in enumerate(listed):
        if (
            not isinstance(pair, Sequence)
            or len(pair) != 2
            or any(isinstance(node, bool) or not isinstance(node, int) or node < 0 for node in pair)
        ):
            raise ConfigError(
                f"{name}: edge {index} was given {pair!r}; an edge is a pair of nodes, whole numbers counted from 0."
            )
    return tuple((start, end) for start, end in listed)


def check_ends(name: str, edges: Edges, source: int, goal: int) -> None:
    """Raise unless source and goal are nodes.

    Raises:
        ConfigError: One is not.
    """
    count = max(map(max, edges)) + 1
    for what, node in (("source", source), ("goal", goal)):
        if isinstance(node, bool) or not isinstance(node, int) or not 0 <= node < count:
            raise ConfigError(f"{name}: {what} {node!r} is not a node of an edge; the nodes are 0 to {count - 1}.")


def levels(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return the level of every node, [V], and which nodes lie on or behind a cycle, bool [V]; those lack a level.

    The level is the number of edges of the longest path that ends in the node.

    Args:
        edges: [E, 2].
    """
    start, end = edges.unbind(1)
    count = int(edges.max()) + 1
    level, waiting = torch.zeros(count, dtype=torch.int64), torch.bincount(end, minlength=count)
    done, step = torch.zeros(count, dtype=torch.bool), 0
    ready = waiting == 0
    while bool(ready.any()):
        level[ready] = step
        done |= ready
        waiting -= torch.bincount(end[ready[start]], minlength=count)
        ready, step = (waiting == 0) & ~done, step + 1
    return level, ~done


def network(name: str, edges: Edges, source: int, goal: int, level: Tensor | None = None) -> Network:
    """Return the part of a graph that paths from `source` to `goal` can use; the two differ.

    Args:
        name: The solver; messages begin with it.
        edges: Directed edges.
        source: Where a path begins.
        goal: Where it ends.
        level: Levels of a topological order, [V].

    Raises:
        InfeasibleError: No edges lead from source to goal.
    """
    pairs = torch.tensor(edges)
    start, end = pairs.unbind(1)
    count = int(pairs.max()) + 1
    passable = (end != source) & (start != goal)  # a path does not come back to its source, nor leave its goal
    usable = _reached(start[passable], end[passable], count, source)
    if not bool(usable[goal]):
        walked = usable.nonzero()[:, 0].tolist()
        raise InfeasibleError(
            f"{name}: no edges lead from node {source} to node {goal}; they lead to {shorten(walked)}. Edges are "
            "directed; give those that lead both ways twice."
        )
    usable &= _reached(end[passable], start[passable], count, goal)
    edge = (passable & usable[start] & usable[end]).nonzero()[:, 0]
    nodes = usable.nonzero()[:, 0]
    degree = torch.bincount(end[edge], minlength=count)[nodes]
    depth = torch.zeros_like(nodes) if level is None else level[nodes]
    depth[nodes == source] = -1
    order = torch.argsort(_padded(degree), stable=True)
    order = order[torch.argsort(depth[order], stable=True)]
    nodes, depth, degree = nodes[order], depth[order], degree[order]
    number = torch.zeros(count, dtype=torch.int64)
    number[nodes] = torch.arange(len(nodes))
    edge = edge[torch.argsort(number[end[edge]], stable=True)]
    return Network(len(edges), nodes, edge, number[start[edge]], _offsets(degree), int(number[goal]), depth)


def _reached(start: Tensor, end: Tensor, count: int, root: int) -> Tensor:
    """Return the nodes to which edges lead from a root, bool [V]."""
    reached = torch.zeros(count, dtype=torch.bool)
    reached[root] = True
    while True:
        fresh = end[reached[start] & ~reached[end]]
        if not len(fresh):
            return reached
        reached[fresh] = True


def _padded(degree: Tensor) -> Tensor:
    """Return the in-degrees rounded up to powers of two, from 2; 0 stays."""
    power = (degree.clamp(min=2) - 1).double().log2().floor().long() + 1
    return torch.where(degree > 0, 2**power, 0)


def _offsets(counts: Tensor) -> Tensor:
    """Return where each group begins, and the end of the last."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
