"""Backpropagation through a solver as if it were the negative identity."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions._objective import ComparingLoss
from nlcore_decisions.config import NegativeIdentityConfig, Objective, Projection
from nlcore_decisions.estimated_decision_loss import EstimatedDecisionLoss

__all__ = ["NegativeIdentity", "NegativeIdentityEstimate"]


class NegativeIdentityEstimate(ComparingLoss):
    """Value and gradient of the negative identity."""

    @property
    def _projection(self) -> Projection:
        return "none"

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        (found,) = self._solutions(truth, costs)
        gradient = 2 * (truth.the_solution - found)
        return self._compare(found, truth), _projected(gradient, costs, self._projection)


class NegativeIdentity(
    NegativeIdentityEstimate,
    EstimatedDecisionLoss,
    config=NegativeIdentityConfig,
    traits=Traits(order=0, transforms="autograd"),
):
    r"""Backpropagation through the negative identity: the squared error of the solution, with minus its slope.

    $$
    \ell(c, t) = \lVert y^*(c) - t \rVert^2, \qquad \nabla = -2\, P_c^\top (y^*(c) - t).
    $$

    A solution avoids elements whose costs rise, so minus the identity takes the place of the Jacobian of the solution.
    The gradient is then −v, with v = 2(y*(c) − t) the slope of the loss; without projection it is that of a perceptron.
    The paper's projections make the costs invariant to what does not change the solution, and $P_c$ is their Jacobian:
    the mean is taken out ("mean"), or the norm is 1 ("norm"), or both ("standardise"). Since they leave the solution as
    it is, the solver is given the costs themselves.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution.
        - value: the squared distance of the solutions, the number of differing elements for zeros and ones.

    Cost:
        One exact solve per sample.

    When it fails:
        The gradient ignores by how much a solution is the best, so the margin is never widened: learning stops as soon
        as the solutions of the training data are right. "mean" and "standardise" are for sets whose solutions have all
        the same sum (subsets of k, assignments, trees); for others, such as paths of different length, they remove the
        part of the gradient that decides between the solutions.

    Reference:
        Sahoo, Paulus, Vlastelica, Musil, Kuleshov, Martius, [Backpropagation through Combinatorial Algorithms: Identity
        with Projection Works](https://arxiv.org/abs/2205.15213), ICLR 2023.
    """

    projection: Projection = "none"

    @property
    def _projection(self) -> Projection:
        return self.projection

    @property
    def _objective(self) -> Objective:
        return "squared_error"


def _projected(gradient: Tensor, costs: Tensor, projection: Projection) -> Tensor:
    """Return Pᵀg with P the Jacobian of the projection at the costs."""
    if projection == "none":
        return gradient
    g, c = gradient.flatten(1), costs.flatten(1)
    if projection != "norm":
        c = c - c.mean(1, keepdim=True)
    if projection != "mean":
        size = c.norm(dim=1, keepdim=True).clamp(min=torch.finfo(c.dtype).tiny ** 0.5)
        unit = c / size
        g = (g - unit * (unit * g).sum(1, keepdim=True)) / size
    if projection != "norm":
        g = g - g.mean(1, keepdim=True)
    return g.reshape(gradient.shape)
