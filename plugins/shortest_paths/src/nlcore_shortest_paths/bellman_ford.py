"""The relaxed Bellman–Ford algorithm of AlgoVision, with every derivative."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlcore_shortest_paths._base import PathLoss
from nlcore_shortest_paths._bellman_ford_handwritten import fast_path
from nlcore_shortest_paths._bellman_ford_plain import Relaxation
from nlcore_shortest_paths._relaxed_path import RelaxedPathLoss
from nlcore_shortest_paths._t_conorms import conorm
from nlcore_shortest_paths.config import BellmanFordConfig

__all__ = ["BellmanFord"]


class BellmanFord(RelaxedPathLoss, PathLoss, id="shortest_paths/bellman_ford-v1", config=BellmanFordConfig):
    r"""The relaxed Bellman–Ford algorithm, with a relaxed trace back from the goal.

    In each of `iterations` sweeps, every cell takes the softmin-weighted mean of its neighbours' distances and adds its
    own cost,

    $$
    d(v) \leftarrow \sum_k w_k\, d(v + k) + c(v), \qquad w = \operatorname{softmin}_k \beta d(v + k), \qquad
    d(\text{source}) = 0.
    $$

    The weights of the last sweep are the relaxed predecessors. A mass q starts at the goal and moves back along them,
    and a trace x collects it by a t-conorm ⊥: x ← x ⊥ q. The trace is the relaxed path, and the loss is its distance to
    the true path $t$,

    $$
    \ell(c, t) = \sum_v |\operatorname{path}_v(c) - t_v| \quad \text{or} \quad
    \sum_v (\operatorname{path}_v(c) - t_v)^2.
    $$

    With `loop="for"` the mass takes `iterations` steps. With `loop="while"` it takes a further step with probability
    σ(β(1 − x[source])), and the result is the expected trace at the end of the loop. A sample that continues with a
    probability of at most 1e-5 has ended; the derivative treats the step at which it ends as fixed. With
    `objective="l2"` the loss has a Gauss–Newton split: the features are the relaxed path.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the distance of the relaxed path to the true one, summed over the cells; 0 where they agree.

    Cost:
        Time O(iterations · neighbours · H·W) per map, and as much again for the gradient, which is exact and written by
        hand. It keeps O((iterations + neighbours) · H·W) numbers, 7 MiB for a hundred 12×12 maps. Derivatives of the
        gradient are taken by automatic differentiation: the Hessian of a map has (H·W)² numbers and takes one backward
        pass for each of its rows.

    When it fails:
        β times a difference of costs should be of the order of 1 to 100. With a smaller β the path spreads over the
        map; with a larger one the gradient vanishes except near ties. Mass that reaches the source moves on from it, so
        that the cells beside the source are over-counted, more with `loop="for"` than with "while". A map whose paths
        have more than `iterations` steps is not solved.

    Reference:
        Petersen, Borgelt, Kuehne, Deussen, [Learning with Algorithmic Supervision via Continuous
        Relaxations](https://arxiv.org/abs/2110.05651), NeurIPS 2021.

    Example:
        >>> import torch
        >>> costs = torch.tensor([[[1.0, 9.0, 9.0], [9.0, 1.0, 9.0], [9.0, 9.0, 1.0]]])
        >>> BellmanFord().path(costs).round(decimals=3).abs()[0]
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """

    _event_ndim: ClassVar[int] = 2

    def path(self, costs: Tensor) -> Tensor:
        """Return the relaxed paths: how much each cell belongs to the shortest path, from 0 to 1.

        Args:
            costs: [..., H, W], positive.

        Returns:
            [..., H, W], the dtype and device of `costs`; differentiable.

        Raises:
            ContractError: The costs are not a floating-point tensor of maps, or not positive.
            NonFiniteError: A cost is NaN or infinite.
        """
        return self._path(self._checked_costs(costs)).to(costs.dtype)

    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._distance(self._path(costs), target)

    def _path(self, costs: Tensor) -> Tensor:
        graph = self._grid(costs)
        rounds = self.iterations or graph.height + graph.width + 1
        how = Relaxation(graph, self.beta, rounds, conorm(self.t_conorm, self.p), self.loop)
        return fast_path(costs.reshape(-1, graph.height, graph.width), how).reshape(costs.shape)
