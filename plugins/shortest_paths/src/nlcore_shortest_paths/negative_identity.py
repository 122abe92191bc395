"""Backpropagation through the shortest path as if it were the negative identity."""

from __future__ import annotations

from nlcore_decisions.negative_identity import NegativeIdentityEstimate
from nlcore_shortest_paths._base import EstimatedPathLoss
from nlcore_shortest_paths.config import NegativeIdentityConfig

__all__ = ["NegativeIdentity"]


class NegativeIdentity(
    NegativeIdentityEstimate, EstimatedPathLoss, id="shortest_paths/negative_identity-v1", config=NegativeIdentityConfig
):
    r"""Backpropagation through the negative identity: the number of differing cells, with minus its slope as gradient.

    $$
    \ell(c, t) = \sum_v |y^*_v(c) - t_v|, \qquad \nabla = -2 (y^*(c) - t).
    $$

    A path avoids cells whose costs rise, so minus the identity takes the place of the Jacobian of the path. The
    gradient is then −v, with v = 2(y*(c) − t) the slope of Σ(y − t)², which equals ℓ for paths. It is the gradient of a
    perceptron, and needs no further solve.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the number of cells in which path and true path differ.

    Cost:
        One exact solve per map.

    When it fails:
        The gradient ignores by how much a path is the shortest, so the margin is never widened: learning stops as soon
        as the training paths are right. The scale of the costs drifts as with `BlackBox`: use |output| plus a floor,
        not softplus. The paper's projections (of the mean, of the norm) are not applied: for paths, whose lengths
        differ, they change the solution.

    Reference:
        Sahoo, Paulus, Vlastelica, Musil, Kuleshov, Martius, [Backpropagation through Combinatorial Algorithms: Identity
        with Projection Works](https://arxiv.org/abs/2205.15213), ICLR 2023.
    """
