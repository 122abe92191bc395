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
    r"""The relaxed Bellman–Ford algorithm, with a relaxed traceback from the goal.

    Let $c(v)$ be the cost of cell $v$, $d(v)$ its distance from the source, and $v + k$ its neighbour in direction $k$.
    In each of `iterations` sweeps, every cell averages the distances of its neighbours with softmin weights and adds
    its own cost,

    $$
    d(v) \leftarrow \sum_k w_k\, d(v + k) + c(v), \qquad w = \operatorname{softmin}_k \beta d(v + k), \qquad
    d(\text{source}) = 0,
    $$

    with the inverse temperature $\beta$. The weights of the last sweep are the relaxed predecessors. The path is traced
    back along them: a mass of 1 starts at the goal and is passed on to the predecessors of each cell, in proportion to
    their weights. A trace x records the mass q that each cell receives: in each step, x ← x ⊥ q. The t-conorm ⊥ is a
    soft "or", which keeps the trace between 0 and 1. The final trace is the relaxed path. The loss is its distance to
    the true path $t$, with `objective="l2"` (the default) and with `objective="l1"` respectively,

    $$
    \ell(c, t) = \sum_v (\operatorname{path}_v(c) - t_v)^2 \qquad \text{and} \qquad
    \ell(c, t) = \sum_v |\operatorname{path}_v(c) - t_v| .
    $$

    With `loop="for"` the trace is updated `iterations` times, the first time while the mass is still at the goal. With
    `loop="while"` the mass moves a further step with the probability sigmoid(β(1 − x(source))), and the relaxed path is
    the expected trace at the end of the loop. A sample is stopped once the product of these probabilities has fallen to
    1e-5; the derivative treats the step at which it is stopped as fixed. With `objective="l2"` the loss has a
    Gauss–Newton split: the features are the relaxed path.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the distance of the relaxed path to the true one, summed over the cells; 0 where they agree.

    Cost:
        Time O(iterations · neighbours · H·W) per map, and as much again for the gradient, which is exact and
        handwritten. It keeps O((iterations + neighbours) · H·W) numbers: 5 MiB for a hundred 12×12 maps, in float32
        with the default options. The derivatives of the gradient are computed by automatic differentiation: the Hessian
        of a map has (H·W)² entries and takes one backward pass for each of its rows.

    When it fails:
        β times a typical difference of costs should be between 1 and 100. With a smaller β, the path spreads over the
        map; with a larger one, the gradient vanishes except near ties. Mass that reaches the source moves on from it,
        so the trace at the cells beside the source is too large, more so with `loop="for"` than with `loop="while"`. A
        shortest path of more than `iterations` steps is not found; with `loop="for"`, one of exactly `iterations` steps
        is found without its source.

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
