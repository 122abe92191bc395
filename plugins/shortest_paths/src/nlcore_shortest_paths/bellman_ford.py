"""The relaxed Bellman–Ford algorithm of AlgoVision, fast, with every derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_shortest_paths._base import PathLoss
from nlcore_shortest_paths._checks import check_costs, check_positive, working
from nlcore_shortest_paths._conorms import conorm
from nlcore_shortest_paths._handwritten import relaxed
from nlcore_shortest_paths._relaxed import Relaxation
from nlcore_shortest_paths.config import BellmanFordConfig, Loop, Objective, TConorm

__all__ = ["BellmanFord"]

_TRAITS = Traits(event_ndim=2, order=2, transforms="autograd")


@dataclass(frozen=True, repr=False, kw_only=True)
class BellmanFord(PathLoss):
    """Relaxed Bellman–Ford, ℓ(c, t) = Σ|path(c) − t| or Σ(path(c) − t)² over the cells of a map.

    `iterations` times every cell takes the softmin-weighted mean of its neighbours' distances and adds its cost,
    d(v) ← Σ_k w_k d(v + k) + c(v) with w = softmin(β d), d(source) = 0; the last weights are those of the predecessors.
    From the goal, mass walks back along them, and a trace collects it: x ← x ⊥ q with a t-conorm ⊥. A loop "for" walks
    `iterations` steps; "while" asks before every step whether to go on, with probability σ(β(1 − x[source])), and
    returns the mean of the traces over where the walk ends. Once a sample goes on with a probability of at most 1e-5 it
    ends; the derivative treats that moment as given.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs
    O(iterations · neighbours · H·W), and its gradient as much again and the memory of O((iterations + neighbours) ·
    H·W) numbers, 7 MiB for a hundred 12×12 maps; the gradient is written by hand and exact. Derivatives of the gradient
    are taken by automatic differentiation: the Hessian of a map is a matrix of (H·W)² numbers at one backward pass for
    each of its rows.

    Where it fails: with a β small beside the differences of costs the path spreads over the map, with a large one the
    gradient vanishes but near ties; β times a difference of costs should be of the order of 1 to 100. Mass that reaches
    the source walks on from it, so that the cells beside the source are over-counted, by "for" more than by "while". A
    map whose paths have more than `iterations` steps is not solved.

    With `objective="l2"` the loss has a Gauss–Newton split: the features are the relaxed path.

    Reference:
        Petersen, Borgelt, Kuehne, Deussen, Learning with Algorithmic Supervision via Continuous Relaxations, NeurIPS
        2021.

    Example:
        >>> import torch
        >>> costs = torch.tensor([[[1.0, 9.0, 9.0], [9.0, 1.0, 9.0], [9.0, 9.0, 1.0]]])
        >>> BellmanFord().path(costs).round(decimals=3).abs()[0]
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """

    source: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (-1, -1)
    neighbours: Literal[4, 8] = 8
    loop: Loop = "for"
    objective: Objective = "l2"
    t_conorm: TConorm = "hamacher"
    p: float = 5.0
    beta: float = 10.0
    iterations: int | None = None

    id: ClassVar[str] = "shortest_paths/bellman_ford-v1"
    config = BellmanFordConfig

    def __new__(
        cls,
        *,
        source: tuple[int, int] = (0, 0),
        goal: tuple[int, int] = (-1, -1),
        neighbours: Literal[4, 8] = 8,
        loop: Loop = "for",
        objective: Objective = "l2",
        t_conorm: TConorm = "hamacher",
        p: float = 5.0,
        beta: float = 10.0,
        iterations: int | None = None,
    ) -> Self:
        """Choose the class of the objective: capabilities are told from the methods that an object has."""
        chosen = _Squared if objective == "l2" else BellmanFord
        if issubclass(chosen, cls):
            return cast(Self, object.__new__(chosen))
        other = BellmanFord(  # as in dataclasses.replace(squared, objective="l1")
            source=source,
            goal=goal,
            neighbours=neighbours,
            loop=loop,
            objective=objective,
            t_conorm=t_conorm,
            p=p,
            beta=beta,
            iterations=iterations,
        )
        return cast(Self, other)

    @property
    def traits(self) -> Traits:
        """Deterministic, twice differentiable by autograd."""
        return _TRAITS

    def path(self, costs: Tensor) -> Tensor:
        """Return the relaxed paths: how much each cell belongs to the shortest path, from 0 to 1.

        Args:
            costs: [..., H, W], positive.

        Returns:
            [..., H, W], the dtype and device of `costs`; differentiable.

        Raises:
            ContractError: The costs are no floating-point tensor of maps, or not positive.
            NonFiniteError: A cost is NaN or infinite.
        """
        check_costs(self.id, costs)
        values = working(costs)
        check_positive(self.id, values.detach())
        return self._path(values).to(costs.dtype)

    def _path(self, costs: Tensor) -> Tensor:
        graph = self._grid(costs)
        rounds = self.iterations or graph.height + graph.width + 1
        how = Relaxation(graph, self.beta, rounds, conorm(self.t_conorm, self.p), self.loop)
        return relaxed(costs.reshape(-1, graph.height, graph.width), how).reshape(costs.shape)

    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return (self._path(costs) - target).abs().sum(dim=(1, 2))


class _Squared(BellmanFord):
    """The capabilities of the squared objective: `GaussNewtonSplit`."""

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the relaxed path of each map, [batch, H, W]."""
        return self.path(prediction)

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return Σ(p − t)² of each map, [batch]."""
        self._check_target(features, target)
        return (features - target.to(features.dtype)).square().sum(dim=(1, 2))

    def _loss(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> Tensor:
        return (self._path(costs) - target).square().sum(dim=(1, 2))
