"""The relaxed Bellman–Ford algorithm on a graph with costs on edges, with every derivative."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from nlcore_shortest_paths._bellman_ford_plain import EPSILON, MAX_ROUNDS
from nlcore_shortest_paths._costs import check_positive
from nlcore_shortest_paths._graph_layout import Layout
from nlcore_shortest_paths._graph_loss import GraphLoss
from nlcore_shortest_paths._relaxed_path import RelaxedPathLoss
from nlcore_shortest_paths._t_conorms import conorm
from nlcore_shortest_paths.config import GraphBellmanFordConfig

__all__ = ["GraphBellmanFord"]

_NEVER = -1e30
"""Exponent of an edge that does not count; finite, so that derivatives are."""

_NO_SWEEP = 1 << 60
"""Sweep from which on a further or padded edge counts."""


class GraphBellmanFord(
    RelaxedPathLoss, GraphLoss, id="shortest_paths/graph_bellman_ford-v1", config=GraphBellmanFordConfig
):
    r"""The relaxed Bellman–Ford algorithm on a graph, with a relaxed traceback from the goal; costs on edges.

    Let $c_e$ be the cost of edge e = (u, v), and $d(v)$ the distance of node v from the source. In each of `iterations`
    sweeps, every node averages over the edges into it that the source has reached, with softmin weights,

    $$
    d(v) \leftarrow \sum_e w_e\, (d(u) + c_e), \qquad w = \operatorname{softmin}_e \beta (d(u) + c_e), \qquad
    d(\text{source}) = 0,
    $$

    with the inverse temperature $\beta$. The weights of the last sweep are the relaxed predecessors. The path is traced
    back along them: a mass q of 1 starts at the goal, and in each step $w_e\, q(v)$ of it moves back along the edge e.
    A trace x records the mass on each edge: $x_e \leftarrow x_e \perp w_e\, q(v)$. The t-conorm ⊥ is a soft "or",
    which keeps the trace between 0 and 1. The final trace is the relaxed path. The loss is its distance to the true
    path t, with `objective="l2"` (the default) and with `objective="l1"` respectively,

    $$
    \ell(c, t) = \sum_e (\operatorname{path}_e(c) - t_e)^2 \qquad \text{and} \qquad
    \ell(c, t) = \sum_e |\operatorname{path}_e(c) - t_e| .
    $$

    With `loop="for"` the mass moves `iterations` steps. With `loop="while"` it moves a further step with the
    probability sigmoid(β(1 − a)), where a is the mass that has arrived at the source, added up by ⊥. The relaxed path
    is the expected trace at the end of the loop. A sample is stopped once the probability that it continues has fallen
    to 1e-5; the derivative treats the step at which it is stopped as fixed. With `objective="l2"` the loss has a
    Gauss–Newton split: the features are the relaxed path.

    `BellmanFord` is the same algorithm with costs on cells. On the graph of a map in which every edge has the cost of
    the cell that it enters, distances, weights and masses are equal to those of `BellmanFord`, but there is a trace for
    each edge instead of each cell.

    Shape:
        - prediction: `[batch, E]`, the cost of every edge; positive, of any sign on a graph without cycles.
        - target: `[batch, E]`, the true path, 1 on its edges and 0 elsewhere.
        - value: the distance of the relaxed path to the true one, summed over the edges; 0 where they agree.

    Cost:
        Time and memory O(iterations · E) per sample, for the gradient too. All samples are computed at once, in some
        ten operations a sweep for nodes of similar in-degrees.

    When it fails:
        β times a typical difference of costs should be between 1 and 100. With a smaller β, the path spreads over the
        graph; with a larger one, the gradient vanishes except near ties. Mass that reaches the source moves on along
        the edges into it; leave these out, since no shortest path needs them. A shortest path of more than `iterations`
        edges is not found.

    Reference:
        Petersen, Borgelt, Kuehne, Deussen, [Learning with Algorithmic Supervision via Continuous
        Relaxations](https://arxiv.org/abs/2110.05651), NeurIPS 2021.

    Example:
        >>> import torch
        >>> loss = GraphBellmanFord(edges=[[0, 1], [1, 2], [0, 2]], source=0, goal=2)
        >>> loss.path(torch.tensor([[1.0, 1.0, 3.0], [1.0, 1.0, 1.5]])).round(decimals=2).abs()
        tensor([[1.0000, 1.0000, 0.0000],
                [0.0100, 0.0100, 0.9900]])
    """

    _event_ndim: ClassVar[int] = 1
    _ordered: ClassVar[bool] = False

    def path(self, costs: Tensor) -> Tensor:
        """Return the relaxed paths: how much each edge belongs to the shortest path, from 0 to 1.

        Args:
            costs: [..., E].

        Returns:
            [..., E], the dtype and device of `costs`; differentiable.

        Raises:
            ContractError: The costs are not a floating-point tensor of edges, or not positive on a graph with cycles.
            NonFiniteError: A cost is NaN or infinite.
        """
        return self._path(self._checked_costs(costs)).to(costs.dtype)

    def _check_values(self, costs: Tensor) -> None:
        if self._layout.acyclic:
            super()._check_values(costs)
        else:
            check_positive(self.id, costs, event_ndim=1)

    def _loss(self, costs: Tensor, target: Tensor) -> Tensor:
        return self._distance(self._path(costs), target)

    def _path(self, costs: Tensor) -> Tensor:
        flat = costs.reshape(-1, len(self.edges))
        if not len(flat):
            return costs * 0
        weights = self._weights(flat)
        trace = self._trace(weights)
        edge = self._layout.network.padded[0].to(costs.device)
        real = edge < len(self.edges)
        path = flat.new_zeros(len(self.edges), len(flat)).index_copy(0, edge[real], trace[real])
        return path.mT.reshape(costs.shape)

    def _weights(self, costs: Tensor) -> Tensor:
        """Return the weights of the padded edges in the last sweep, [M, N]; 0 for those that do not count."""
        graph = self._layout
        edge, start, _ = (one.to(costs.device) for one in graph.network.padded)
        hops = graph.hops.to(costs.device)[start]
        hops = hops.masked_fill(edge >= len(self.edges), _NO_SWEEP)[:, None]
        scaled = graph.per_edge(costs * self.beta, padding=0.0)
        elsewhere = costs.new_ones(len(graph.network.nodes), 1)
        elsewhere[graph.source] = 0
        d = costs.new_zeros(len(graph.network.nodes), len(costs))
        for sweep in range(self._sweeps - 1):
            reached = torch.where(hops <= sweep, d.index_select(0, start) + scaled, -_NEVER)
            d = torch.cat([d[:1], _Softmin.apply(reached, graph)]) * elsewhere  # type: ignore[no-untyped-call]
        counts = hops < self._sweeps
        reached = torch.where(counts, d.index_select(0, start) + scaled, -_NEVER)
        return _softmin(reached, graph) * counts

    @property
    def _sweeps(self) -> int:
        if self.iterations is not None:
            return self.iterations
        network, longest = self._layout.network, self._layout.longest
        if longest is not None:
            return max(1, longest)
        inside = network.nodes < network.nodes.max()  # without the node behind the goal
        return 2 * int(self._layout.hops[inside].max()) + 1

    def _trace(self, weights: Tensor) -> Tensor:
        """Return the relaxed paths on the padded edges, [M, N]."""
        graph = self._layout
        _, start, end = (one.to(weights.device) for one in graph.network.padded)
        join = conorm(self.t_conorm, self.p)
        x = torch.zeros_like(weights)
        q = weights.new_zeros(len(graph.network.nodes), weights.shape[1])
        q[graph.goal] = 1
        if self.loop == "for":
            for _ in range(self._sweeps):
                flow = weights * q.index_select(0, end)
                x, q = join(x, flow), torch.zeros_like(q).index_add(0, start, flow)
            return x
        total, arrived = torch.zeros_like(x), torch.zeros_like(q[0])
        go_on = torch.sigmoid(self.beta * (1 - arrived))
        for _ in range(MAX_ROUNDS):
            flow = weights * q.index_select(0, end)
            x, arrived = join(x, flow), join(arrived, q[graph.source])
            q = torch.zeros_like(q).index_add(0, start, flow)
            after = go_on * torch.sigmoid(self.beta * (1 - arrived))
            after = after * (after > EPSILON)
            total = total + (go_on - after) * x
            go_on = after
            if not bool((go_on > 0).any()):
                break
        return total + go_on * x


def _softmin(values: Tensor, graph: Layout) -> Tensor:
    """Return the weights of the edges into each node by the softmin of their values, [M, N]."""
    end = graph.network.padded[2].to(values.device) - 1
    low = graph.per_node(values.detach(), torch.amin).index_select(0, end)
    powers = (low - values).exp()
    return powers / graph.per_node(powers, torch.sum).index_select(0, end)


class _Softmin(torch.autograd.Function):
    r"""The softmin-weighted means D of the values x of the edges into each node, [n − 1, N].

    ∂D/∂x_e = w_e (1 + D − x_e). The backward pass computes the weights anew, in differentiable operations: only the
    values are kept, and any order of derivatives is exact.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, graph: Layout) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(values)
        return graph.per_node(_softmin(values, graph) * values, torch.sum)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        graph, end = ctx.graph, ctx.graph.network.padded[2].to(values.device) - 1
        weights = _softmin(values, graph)
        mean = graph.per_node(weights * values, torch.sum)
        slope = weights * (1 + mean.index_select(0, end) - values)
        return slope * gradients[0].index_select(0, end), None
