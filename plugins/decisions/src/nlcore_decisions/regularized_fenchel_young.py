"""Fenchel–Young losses of solutions with a quadratic regulariser."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions.config import RegularizedFenchelYoungConfig
from nlcore_decisions.estimated_decision_loss import EstimatedDecisionLoss
from nlcore_decisions.frank_wolfe import Regularized, regularized_argmin

__all__ = ["RegularizedFenchelYoung"]


class RegularizedFenchelYoung(
    EstimatedDecisionLoss,
    config=RegularizedFenchelYoungConfig,
    traits=Traits(order=2, transforms="autograd", psd_hessian=True),
):
    r"""Fenchel–Young loss of the regularised solution: convex, smooth and without random numbers.

    With $y_\sigma$ the nearest point to −c/σ of the convex hull of the solutions,

    $$
    y_\sigma(c) = \operatorname*{arg\,min}_{y \in \operatorname{conv} Y} \langle c, y \rangle
    + \frac{\sigma}{2} \lVert y \rVert^2,
    $$

    $$
    \ell(c, t) = \langle c, t - y_\sigma \rangle + \frac{\sigma}{2} \left( \lVert t \rVert^2 - \lVert y_\sigma \rVert^2
    \right), \qquad \nabla = t - y_\sigma(c), \qquad H = \frac{1}{\sigma} P,
    $$

    P the projector onto the span of the face that $y_\sigma$ lies in; the loss is at least $\frac{\sigma}{2} \lVert t -
    y_\sigma \rVert^2$. The point is found by the fully corrective Frank–Wolfe algorithm, `frank_wolfe`, whose steps are
    solutions of linear costs. `solution(prediction)` returns $y_\sigma$ itself, sparse: 0 where no nearly best solution
    has a part.

    Shape:
        - prediction: `[batch, *event]`, the costs.
        - target: `[batch, *event]`, the true solution.
        - value: at least 0, in units of the costs; 0 where the regularised solution is the true one.

    Cost:
        One exact solve for each step, for all samples of the batch: some more than the vertices of which
        $y_\sigma$ is made, which become more as σ grows. A small linear system for each.

    When it fails:
        With a small σ, $y_\sigma$ is a vertex, and the loss that of a perceptron. With a large one it has many
        vertices; where `max_steps` does not suffice, the point is not the best yet and the gradient inexact.

    Reference:
        Blondel, Martins, Niculae, [Learning with Fenchel–Young Losses](https://arxiv.org/abs/1901.02324), JMLR 2020;
        Niculae, Martins, Blondel, Cardie, [SparseMAP](https://arxiv.org/abs/1802.04223), ICML 2018; Dalle, Baty,
        Bouvier, Parmentier, [Learning with Combinatorial Optimization Layers](https://arxiv.org/abs/2207.13513), 2022.

    Example:
        >>> import torch
        >>> from nlcore_decisions.solvers.vertices import Vertices
        >>> loss = RegularizedFenchelYoung(Vertices([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
        >>> loss.solution(torch.tensor([[0.0, 0.5, 3.0]]))  # the projection onto the simplex
        tensor([[0.7500, 0.2500, 0.0000]])
    """

    regularization_strength: float = 1.0
    max_steps: int = 100

    def solution(self, prediction: Tensor, *, context: object = None) -> Tensor:
        """Return the regularised solutions, [batch, *event], of predicted costs; not differentiable."""
        with torch.no_grad():
            costs, _ = self._checked_costs(prediction, context)
            return (
                self._found(costs.detach(), Truth(context=context))
                .solution.reshape(prediction.shape)
                .to(prediction.dtype)
            )

    def hessian(
        self, prediction: Tensor, target: object, *, generator: torch.Generator | None = None, context: object = None
    ) -> Tensor:
        """Return the Hessian of each sample, [batch, m, m]; arguments as of the call."""
        with torch.no_grad():
            costs, truth = self._checked(prediction, target, context)
            found = self._found(costs.detach(), truth)
            return (found.projector() / self.regularization_strength).to(prediction.dtype)

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        y = self._found(costs, truth).solution
        target, c = truth.the_solution.flatten(1).double(), costs.flatten(1).double()
        # With d = t − y: ⟨c, d⟩ + σ/2 (‖t‖² − ‖y‖²) = ⟨c + σy, d⟩ + σ/2 ‖d‖², a sum of terms that are not negative.
        gap = target - y
        strength = self.regularization_strength
        value = ((c + strength * y) * gap).sum(1) + 0.5 * strength * gap.square().sum(1)
        return value.to(costs.dtype), gap.to(costs.dtype).reshape(costs.shape)

    def _found(self, costs: Tensor, truth: Truth) -> Regularized:
        def argmin(flat: Tensor) -> Tensor:
            return self._solutions(truth, self._changed(flat.reshape(costs.shape)))[0].flatten(1)

        return regularized_argmin(argmin, costs.flatten(1), self.regularization_strength, max_steps=self.max_steps)
