"""Maximum-entropy walks on a graph: the likelihood of the true path among all walks, with every derivative."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import NumericalError, shorten
from nlcore.protocol import Traits
from nlcore_decisions.solvers._sweeps import Sweeps
from nlcore_shortest_paths._graph_layout import Layout, layout
from nlcore_shortest_paths._graph_loss import GraphLoss
from nlcore_shortest_paths.config import GraphMaxEntropyConfig

__all__ = ["GraphMaxEntropy"]

_SMALL = 64
"""Number of nodes up to which the sums over walks of a graph with cycles are the solution of a linear system."""

_DENSE = 1000
"""Number of nodes up to which they are where walks of more than 200 edges count."""

_CHUNK = 1 << 22
"""Numbers of the matrices that are factored at once."""

_ROUNDS = 200, 2000
"""Longest walks that are summed, in edges, with a linear system to fall back on, and without."""


class GraphMaxEntropy(
    GraphLoss,
    id="shortest_paths/graph_max_entropy-v1",
    config=GraphMaxEntropyConfig,
    traits=Traits(psd_hessian=True, transforms="autograd"),
):
    r"""Negative log-likelihood of the true path among all walks from source to goal, with costs on edges.

    A walk has a probability proportional to exp(−β · its cost), so

    $$
    \ell(c, t) = \beta \langle c, t \rangle + \log Z, \qquad Z = \sum_{\text{walks}} e^{-\beta \cdot \text{cost}},
    $$

    with Z the sum over all walks, which may use an edge repeatedly; on a graph without cycles they are the paths. With
    $w_e = e^{-\beta c_e}$, $W_{uv}$ the sum of $w_e$ over the edges from u to v, and $F = (I - W)^{-1}$, the sum for
    source s and goal g is $Z = F_{sg}$. The expected number of uses of an edge e from u to v, and with it the gradient,
    are

    $$
    N_e = \frac{F_{su} w_e F_{vg}}{Z}, \qquad \nabla = \beta (t - N),
    $$

    and the Hessian is β² times the covariance of the numbers of uses, so the loss is convex. Costs may have any sign.

    On a grid whose cells have costs, `MaxEntropy` is this loss with the cost of the cell entered on each edge: the two
    values are equal, since the cost of the source is part of every walk and of the path, and the gradient with respect
    to the cost of a cell is the sum of the gradients for the edges into it.

    Shape:
        - prediction: `[batch, E]`, the cost of every edge, large enough for Z to be finite.
        - target: `[batch, E]`, the true path, 1 on its edges and 0 elsewhere.
        - value: minus the logarithm of the probability of the true path, in nats.

    Cost:
        On a graph without cycles O(E) per sample, computed with logarithms, for graphs of any size. With cycles O(E·L),
        L the number of edges of the longest walks that contribute to Z; for n ≤ 64 usable nodes, and for n ≤ 1 000 if
        walks of more than 200 edges contribute, one LU factorisation of an n × n matrix per sample instead. All in
        float64. The Hessian has E² entries and needs the inverse of an n × n matrix.

    When it fails:
        With cycles, Z is infinite if the number of walks grows with their length faster than their weight falls, as
        with a negative cycle; the loss then raises an error. It is enough that β · cost ≥ log k on all edges, k the
        largest number of edges that leave a node. On a graph of more than 1 000 nodes, walks of more than 2 000 edges
        must not contribute to Z.

    Reference:
        Ziebart, Maas, Bagnell, Dey, [Maximum Entropy Inverse Reinforcement
        Learning](https://cdn.aaai.org/AAAI/2008/AAAI08-227.pdf), AAAI 2008.

    Example:
        >>> import torch
        >>> loss = GraphMaxEntropy(edges=[[0, 1], [0, 1], [1, 2]], source=0, goal=2, beta=1.0)
        >>> loss(torch.tensor([[1.0, 1.0, 5.0]]), torch.tensor([[1.0, 0.0, 1.0]]))  # one of two equal paths
        tensor([0.6931])
    """

    beta: float = 5.0

    def visits(self, costs: Tensor) -> Tensor:
        """Return the expected number of times that a walk uses each edge.

        Args:
            costs: [..., E].

        Returns:
            [..., E], the dtype and device of `costs`; not differentiable.

        Raises:
            ContractError: The costs are not a floating-point tensor of edges.
            NonFiniteError: A cost is NaN or infinite.
            NumericalError: The number of walks grows faster than their weight falls.
        """
        flat = self._checked_costs(costs.detach()).reshape(-1, len(self.edges))
        return self._uses(flat)[1].reshape(costs.shape).to(costs.dtype)

    def gradient(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return β times the true path minus the expected uses, [batch, E]; arguments as of the call."""
        costs, known = self._checked(prediction, target)
        with torch.no_grad():
            return (self.beta * (known - self._uses(costs.detach())[1])).to(prediction.dtype)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return β² times the covariance of the uses of each sample, [batch, E, E]; arguments as of the call."""
        costs, _ = self._checked(prediction, target)
        with torch.no_grad():
            pieces = [self._covariance(piece) for piece in self._chunks(costs.detach().double())]
            covariance = torch.cat(pieces) if pieces else costs.new_zeros(0, len(self.edges), len(self.edges))
            return (covariance * self.beta**2).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random costs for which Z is finite, and the path of other costs."""
        costs, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return costs * (10 / self.beta), target

    def _loss(self, costs: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            log_z, uses = self._uses(costs.detach())
            value = self.beta * (costs.double() * target).sum(1) + log_z
            gradient = self.beta * (target - uses)
        connected: Tensor = _Connected.apply(costs, value.to(costs.dtype), gradient.to(costs.dtype))  # type: ignore[no-untyped-call]
        return connected

    @cached_property
    def _reversed(self) -> Layout:
        edges = tuple((end, start) for start, end in self.edges)
        return layout(type(self).__name__, edges, self.goal, self.source)

    def _chunks(self, costs: Tensor) -> list[Tensor]:
        size = max(1, _CHUNK // len(self._layout.network.nodes) ** 2)
        return list(torch.split(costs, size)) if len(costs) else []

    def _uses(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """Return log Z, [N], and the expected uses, [N, E], in float64."""
        exact = costs.double()
        if not len(exact):
            return exact.sum(1), exact
        nodes = len(self._layout.network.nodes)
        if self._layout.acyclic or nodes > _SMALL:
            summed = self._summed(exact, _ROUNDS[nodes > _DENSE])
            if summed is not None:
                return summed
        pieces = [self._solved(piece)[:2] for piece in self._chunks(exact)]
        log_z, uses = (torch.cat(one) for one in zip(*pieces, strict=True))
        return log_z, uses

    def _summed(self, costs: Tensor, rounds: int) -> tuple[Tensor, Tensor] | None:
        """Return log Z and the uses by sums over walks from the source, and to the goal, in the logarithm.

        None if more rounds are needed and a linear system will do.
        """
        ahead, behind = (self._log_sums(one, costs, rounds) for one in (self._layout, self._reversed))
        if ahead is None or behind is None:
            return None
        start, end = torch.tensor(self.edges, device=costs.device).unbind(1)
        log_z = ahead[self.goal]
        return log_z, (ahead[start] + behind[end] - log_z - self.beta * costs.mT).exp().mT

    def _log_sums(self, graph: Layout, costs: Tensor, rounds: int) -> Tensor | None:
        """Return the logarithm of the sum over all walks to each node, [V, N]; −∞ for those that are not usable."""
        exponents = graph.per_edge(-self.beta * costs, padding=-torch.inf)
        network, start = graph.network, graph.network.padded[1].to(costs.device)
        sums = torch.full((len(network.nodes), len(costs)), -torch.inf, dtype=costs.dtype, device=costs.device)
        sums[0] = 0
        sizes = [(one.last - one.first) * one.degree for one in network.blocks]
        parts = list(zip(network.blocks, torch.split(start, sizes), torch.split(exponents, sizes), strict=True))
        for step in range(rounds + 1):
            before = sums.clone()
            for block, begin, exponent in parts:
                reached = sums.index_select(0, begin).add_(exponent)
                torch.logsumexp(reached.view(block.degree, -1, len(costs)), 0, out=sums[block.first : block.last])
            if graph.acyclic:
                break
            more = ((sums - before).abs() > 1e-14 * sums.abs().clamp(min=1)).any(0)
            if not bool(more.any()):
                break
            if step == rounds:
                if len(network.nodes) > _DENSE:
                    self._refuse(more, f"Z diverges, or walks of more than {rounds} edges count")
                return None
        whole = torch.full_like(sums[:1], -torch.inf).repeat(int(network.nodes.max()) + 1, 1)
        whole[network.nodes.to(costs.device)] = sums
        return whole

    def _solved(self, costs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return log Z, the uses, and what they are made of, by an LU factor of I − W in units of the shortest paths.

        Weights are relative to the shortest paths, w_e = exp(−β (c_e + d(u) − d(v))) ≤ 1, so that every sum over walks
        is at least 1, whatever the exponents.
        """
        network = self._layout.network
        edge, start, end = (one.to(costs.device) for one in (network.edge, network.start, network.end))
        further = torch.cat([costs, costs.new_zeros(len(costs), 2)], 1)
        distance = self._distances(further)
        weight = (-self.beta * (further[:, edge] + distance[:, start] - distance[:, end])).exp()
        nodes = len(network.nodes)
        matrix = torch.eye(nodes, dtype=costs.dtype, device=costs.device).repeat(len(costs), 1, 1)
        flat = (start * nodes + end).expand_as(weight)
        matrix.view(len(costs), -1).scatter_add_(1, flat, -weight)
        factor, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        ends = matrix.new_zeros(len(costs), nodes, 1)
        ends[:, 0] = 1
        ahead = torch.linalg.lu_solve(factor, pivots, ends, adjoint=True)[..., 0]
        self._refuse(~(ahead > 0.5).all(1))  # each is at least 1
        ends[:, 0], ends[:, network.goal] = 0, 1
        behind = torch.linalg.lu_solve(factor, pivots, ends)[..., 0]
        z = ahead[:, network.goal]
        uses = costs.new_zeros(further.shape)
        uses[:, edge] = ahead[:, start] * weight * behind[:, end] / z[:, None]
        return z.log() - self.beta * distance[:, network.goal], uses[:, :-2], matrix, ahead, behind, weight

    def _covariance(self, costs: Tensor) -> Tensor:
        """Return the covariance of the uses, [N, E, E]."""
        network = self._layout.network
        edge, start, end = (one.to(costs.device) for one in (network.edge, network.start, network.end))
        _, uses, matrix, ahead, behind, weight = self._solved(costs)
        between = torch.linalg.inv(matrix)[:, end][:, :, start]
        first, then = ahead[:, start] * weight, weight * behind[:, end] / ahead[:, network.goal, None]
        through = first[:, :, None] * between * then[:, None]
        both = costs.new_zeros(len(costs), len(self.edges) + 2, len(self.edges) + 2)
        both[:, edge[:, None], edge] = through + through.mT
        covariance = both[:, :-2, :-2] + torch.diag_embed(uses)
        return covariance - uses[:, :, None] * uses[:, None]

    def _distances(self, costs: Tensor) -> Tensor:
        """Return the distances of all nodes from the source, [N, n], of a graph without negative cycles."""
        sweeps = Sweeps.of(self._layout.network, costs)
        for _ in self._layout.network.nodes:
            changed = sweeps.lower()
            if not bool(changed.any()):
                return sweeps.distance.mT
        self._refuse(changed)
        return sweeps.distance.mT

    def _refuse(self, wrong: Tensor, reason: str = "Z diverges") -> None:
        """Raise if the sums of a sample diverge, bool [N]."""
        samples = wrong.nonzero()[:, 0].tolist()
        if samples:
            most = int(torch.tensor(self.edges)[:, 0].bincount().max())
            safe = torch.tensor(most).double().log() / self.beta
            raise NumericalError(
                f"{self.id}: all walks of samples {shorten(samples)} have no finite weight: {reason}. Costs of at "
                f"least {float(safe):.4g} are safe at beta={self.beta}, as up to {most} edges leave a node: add a "
                "floor to the network's output, or raise beta."
            )


class _Connected(torch.autograd.Function):
    """A value whose backward pass returns a gradient that was computed with it."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0][:, None] * gradient, None, None
