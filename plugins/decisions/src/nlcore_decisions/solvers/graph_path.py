"""Shortest paths in any directed graph: many instances that differ in the costs of the edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.errors import NumericalError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._cycles import negative_cycle, walk_text
from nlcore_decisions.solvers._network import Edges, Network, check_ends, network, read_edges
from nlcore_decisions.solvers._sweeps import Sweeps, trace
from nlcore_decisions.solvers.base import Solver

__all__ = ["GraphPath"]

_NEGATIVE = 1
"""The code of a negative cycle that the kernel returns."""

_LARGE = 300
"""Number of nodes from which Dijkstra's algorithm in scipy is faster than sweeps in torch."""


@dataclass(frozen=True)
class GraphPath(Solver):
    r"""The shortest path between two nodes of a directed graph, which may have cycles; costs on edges.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in \text{paths}} \langle c, y \rangle,
    $$

    y is 1 on the edges of the path. Costs may be negative where no cycle has a negative sum. A cycle through the source
    or the goal does not count, as a path visits each once. Of several shortest paths the one is returned that, walked
    back from the goal, enters every node by the first best edge in the order of `edges`; if that walk runs in a cycle
    of cost 0, a path of fewest edges.

    Cost:
        With numba and costs on the CPU: Dijkstra's algorithm with a heap, O(E log V) per instance, for costs ≥ 0, and
        Bellman and Ford's with a queue for others, O(VE) at most. Else Bellman and Ford's in torch for all instances at
        once, O(E) for each edge of the longest shortest path; on the CPU scipy's Dijkstra if it is installed, for costs
        ≥ 0 and at least 300 nodes. Distances are summed in float64, on MPS in float32. With
        negative costs a path may be longer than the shortest by the rounding of V sums.

    Args:
        edges: E pairs (start, end) of nodes, which are counted from 0. An edge that leads both ways is given twice;
            parallel edges are allowed.
        source: Node where the path begins.
        goal: Node where it ends; if it is the source, the path has no edges.

    Raises:
        ConfigError: An edge is not a pair of nodes, or source or goal is not a node.
        InfeasibleError: No edges lead from the source to the goal; in a call: a cycle is negative, so that walks have
            no least cost. It names the samples and a cycle.
        NumericalError: In a call: sums of costs overflow.

    Example:
        >>> import torch
        >>> path = GraphPath([(0, 1), (1, 0), (1, 2), (0, 2)], source=0, goal=2)
        >>> path(torch.tensor([[1.0, 1.0, 1.0, 3.0], [1.0, 1.0, 1.0, 1.5]]))
        tensor([[1., 0., 1., 0.],
                [0., 0., 0., 1.]])
    """

    binary: ClassVar[bool] = True

    edges: Edges
    source: int
    goal: int

    def __post_init__(self) -> None:
        edges = read_edges("GraphPath", self.edges)
        check_ends("GraphPath", edges, self.source, self.goal)
        self._store(edges=edges)
        if self.source != self.goal:
            self._store(_network=network("GraphPath", edges, self.source, self.goal))

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for each edge."""
        return (len(self.edges),)

    @cached_property
    def _network(self) -> Network:
        return network("GraphPath", self.edges, self.source, self.goal)

    def _solve(self, costs: Tensor) -> Tensor:
        if self.source == self.goal:
            return torch.zeros_like(costs)
        if costs.device.type == "cpu" and has_numba():
            masks, failed, fault = self._compiled(costs)
            if fault == _NEGATIVE:
                self._refuse_cycle(costs, failed)
            if fault:
                raise self._overflow(failed)
            return masks
        return self._swept(costs if costs.device.type == "mps" else costs.double()).to(costs.dtype)

    @cached_property
    def _compiled(self) -> Callable[[Tensor], tuple[Tensor, int, int]]:
        bridge = import_module("nlcore_decisions._compiled.graph_bridge")
        solve: Callable[[Tensor], tuple[Tensor, int, int]] = bridge.graph_path(self._network)
        return solve

    def _swept(self, costs: Tensor) -> Tensor:
        """Return the masks of costs in the dtype in which sums are taken, by sweeps over all edges."""
        sweeps = Sweeps.of(self._network, costs)
        usable = costs[:, self._network.edge.to(costs.device)]
        negative = (usable < 0).any(1)
        slack = None
        if bool(negative.any()):
            rounding = len(self._network.nodes) * 16 * torch.finfo(costs.dtype).eps
            slack = self._lowered(sweeps, costs, usable.abs().amax(1) * negative * rounding)
        elif costs.device.type == "cpu" and len(self._network.nodes) >= _LARGE and _has_scipy():
            dijkstra = import_module("nlcore_decisions.solvers._scipy_dijkstra")
            sweeps.distance.copy_(dijkstra.distances(self._network, costs))
        else:
            self._lowered(sweeps, costs, None)
        lost = sweeps.distance[self._network.goal].isinf().nonzero()[:, 0].tolist()
        if lost:
            raise self._overflow(lost[0])
        masks, arrived = trace(self._network, sweeps.pointers(slack))
        if not bool(arrived.all()):
            fewest, _ = trace(self._network, sweeps.fewest(slack).pointers())
            masks = torch.where(arrived[:, None], masks, fewest)
        return masks

    def _lowered(self, sweeps: Sweeps, costs: Tensor, slack: Tensor | None) -> Tensor | None:
        """Lower the distances until nothing changes; return the slack that was needed for that."""
        rounds, changed = 0, sweeps.lower(slack)
        while bool(changed.any()):
            rounds += 1
            if rounds > len(self._network.nodes) and slack is not None:
                self._refuse_cycle(costs, int(changed.nonzero()[0]))
                slack, rounds = torch.where(changed, slack * 16, slack), 0  # of cost 0, but negative by rounding
            changed = sweeps.lower(slack)
        return slack

    def _refuse_cycle(self, costs: Tensor, sample: int) -> None:
        """Raise if the costs of a sample have a negative cycle."""
        found = negative_cycle(self._network, costs[sample].cpu().double())
        if found is not None:
            raise InfeasibleError(
                f"GraphPath: sample {sample}: the cycle {walk_text(found[0])} costs {found[1]:.6g}, so that walks have "
                "no least cost. Make the costs positive: torch.nn.functional.softplus(output) + 1e-2 for a network's "
                "output, and noise that multiplies. On a graph without cycles DagPath takes costs of any sign.",
                [sample],
            )

    @staticmethod
    def _overflow(sample: int) -> NumericalError:
        return NumericalError(f"GraphPath: sums of the costs of sample {sample} overflow. Scale the costs down.")

    def _feasible(self, solutions: Tensor) -> Tensor:
        if self.source == self.goal:
            return (solutions == 0).all(1)
        flows = self._network.flows(solutions)
        return flows & ~self._network.circling(solutions * flows[:, None])

    def _dearer(self, solution: Tensor) -> Tensor:
        return solution  # no path contains another


@cache
def _has_scipy() -> bool:
    return find_spec("scipy") is not None
