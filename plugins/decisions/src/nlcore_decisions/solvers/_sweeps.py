"""Sweeps over the edges of a network in torch, for many cost vectors at once, on any device; the samples come last."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_decisions.solvers._network import Network

__all__ = ["Sweeps", "trace"]


class Sweeps:
    """Distances of all nodes from the source, [n, N], and the relaxations that lower them.

    Args:
        network: The graph.
        costs: [M, N], those of the padded edges.
    """

    def __init__(self, network: Network, costs: Tensor) -> None:
        self.network, self.costs = network, costs
        _, self.start, self.end = (one.to(costs.device) for one in network.padded)
        self.distance = costs.new_full((len(network.nodes), costs.shape[1]), torch.inf)
        self.distance[0] = 0
        counts = [block.last - block.first for block in network.blocks]
        sizes = [block.degree * count for block, count in zip(network.blocks, counts, strict=True)]
        shapes = [(block.degree, count, -1) for block, count in zip(network.blocks, counts, strict=True)]
        parts = (
            *(torch.split(one, n) for one, n in ((self.distance[1:], counts), (self.start, sizes), (costs, sizes))),
            shapes,
        )
        self._blocks = list(zip(*parts, strict=True))

    @classmethod
    def of(cls, network: Network, costs: Tensor) -> Sweeps:
        """Return the sweeps for costs [N, E], in the dtype in which sums are taken."""
        edge = network.padded[0].to(costs.device)
        return cls(network, torch.cat([costs.mT, costs.new_full((1, len(costs)), torch.inf)]).index_select(0, edge))

    def fewest(self, slack: Tensor | None = None) -> Sweeps:
        """Return the sweeps, made, that count the edges of shortest paths; arguments as of `pointers`."""
        reached, best = self.distance[self.start] + self.costs, self.distance[self.end]
        best = best if slack is None else best + slack
        sweeps = Sweeps(self.network, torch.where(reached <= best, 1.0, torch.inf).to(reached))
        while bool(sweeps.lower().any()):
            pass
        return sweeps

    def once(self) -> None:
        """Set the distances in topological order, which are then final."""
        for known, start, costs, shape in self._blocks:
            torch.amin(self.distance.index_select(0, start).add_(costs).view(shape), 0, out=known)

    def lower(self, slack: Tensor | None = None) -> Tensor:
        """Lower all distances by one edge; return which samples changed, bool [N].

        Args:
            slack: [N], a distance has to become lower by more than that; by default 0.
        """
        before = self.distance.clone()
        for known, start, costs, shape in self._blocks:
            reached = self.distance.index_select(0, start).add_(costs).view(shape).amin(0)
            if slack is not None:
                reached = torch.where(reached < known - slack, reached, known)
            torch.minimum(reached, known, out=known)
        return (self.distance < before).any(0)

    def pointers(self, slack: Tensor | None = None) -> Tensor:
        """Return the first best padded edge into each node, [n, N]; 0 for the source."""
        found = torch.zeros_like(self.distance, dtype=torch.int64)
        for edge, node in reversed([tuple(one.to(found.device) for one in slot) for slot in self.network.slots]):
            reached = self.distance.index_select(0, self.start[edge]).add_(self.costs.index_select(0, edge))
            best = self.distance.index_select(0, node)
            others = found.index_select(0, node)
            good = reached <= (best if slack is None else best.add_(slack))
            found.index_copy_(0, node, torch.where(good, edge[:, None], others))
        return found


def trace(network: Network, pointers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the masks of the paths, [N, E] bool, walked back from the goal, and which reach the source, bool [N].

    Args:
        network: The graph.
        pointers: [n, N], the padded edge by which a path enters each node.
    """
    count = pointers.shape[1]
    edge, start, _ = (one.to(pointers.device) for one in network.padded)
    sample = torch.arange(count, device=pointers.device)
    before = start[pointers].mul_(count).add_(sample)
    before[0] = sample
    before, place = before.flatten(), sample + network.goal * count
    visited = []
    for step in range(len(network.nodes)):
        visited.append(place)
        place = before.index_select(0, place)
        if step % 8 == 7 and torch.equal(place, sample):
            break
    index = edge[pointers].add_(sample * (network.size + 1))
    index[0] = sample * (network.size + 1) + network.size
    mask = torch.zeros(count, network.size + 1, dtype=torch.bool, device=pointers.device)
    mask.view(-1)[index.flatten()[torch.cat(visited)]] = True
    return mask[:, :-1], place == sample
