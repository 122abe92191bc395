"""Backpropagation through the shortest path as if it were the negative identity."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_shortest_paths._base import EstimatedLoss, hamming
from nlcore_shortest_paths.config import NegativeIdentityConfig

__all__ = ["NegativeIdentity"]


class NegativeIdentity(EstimatedLoss, id="shortest_paths/negative_identity-v1", config=NegativeIdentityConfig):
    """Backpropagation through the negative identity: the number of differing cells, with minus its slope as gradient.

    ℓ(c, t) = Σ|y*(c) − t|. A path avoids cells whose costs rise, so the gradient is −v with v = 2(y*(c) − t) the
    slope of Σ(y − t)², which equals ℓ for paths. It is the gradient of a perceptron, and needs no further solution.

    Prediction and target are [batch, H, W]; the target is the true path, 1 on it and 0 elsewhere. A step costs one
    exact solution a map.

    Where it fails: the gradient ignores by how much a path is the shortest, so the margin is never widened: learning
    stops as soon as the training paths are right. The scale of the costs drifts as with `BlackBox`: use |output| plus a
    floor, not softplus. The paper's projections (of the mean, of the norm) are not applied: for paths, whose lengths
    differ, they change the solution.

    Reference:
        Sahoo, Paulus, Vlastelica, Musil, Kuleshov, Martius, Backpropagation through Combinatorial Algorithms: Identity
        with Projection Works, ICLR 2023.
    """

    def _gradient(self, costs: Tensor, target: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        path = self._shortest(costs)
        return hamming(path, target), 2 * (target - path)
