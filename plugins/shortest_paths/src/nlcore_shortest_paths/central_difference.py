"""The gradient through a smoothed shortest path as a central difference along the slope of the loss."""

from __future__ import annotations

from nlcore_decisions.central_difference import CentralDifferenceEstimate
from nlcore_shortest_paths._base import PerturbedLoss
from nlcore_shortest_paths.config import CentralDifferenceConfig

__all__ = ["CentralDifference"]


class CentralDifference(
    CentralDifferenceEstimate, PerturbedLoss, id="shortest_paths/central_difference-v1", config=CentralDifferenceConfig
):
    r"""Squared distance of the mean perturbed path to the true path, with its gradient by a central difference.

    With the mean path of noisy costs, $y_\sigma$, and Z standard normal,

    $$
    \ell(c, t) = \lVert y_\sigma(c) - t \rVert^2, \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z),
    $$

    $$
    \nabla = \frac{y_\sigma(c + h v) - y_\sigma(c - h v)}{2 h}, \qquad v = 2 (y_\sigma(c) - t), \qquad
    h = \frac{\text{step} \cdot \sigma}{\max |v|}.
    $$

    The gradient of the loss is $J^\top v$ with J the Jacobian of $y_\sigma$. Now $y_\sigma$ is itself a gradient, that
    of the concave function E[min_y ⟨c + σZ, y⟩] (differentiate under the mean: where the minimiser is unique, the
    derivative of a minimum of linear functions is the minimiser). So J is a Hessian, hence symmetric, and Jᵀv = Jv is
    the derivative of $y_\sigma$ along v, the limit of the difference as h → 0. Both means are taken over the same
    noise, so that all solutions that do not change cancel exactly. On maps of 12×12 cells with the costs of `nlcore
    bench paths` and σ = 1 the cosine to the true gradient is .71 with 3 samples and .89 with 10, that of the score
    function of `SmoothedAlgorithm` .05 with 3.

    It holds because the objective is linear in the costs, the set of paths does not depend on them, and the solver is
    exact. `nlcore_decisions.perturbed.central_difference` takes any solver for which that is so.

    By the rule for h no cost is moved by more than `step`·σ; y_σ varies over lengths of σ, and the error is of second
    order in h. Value, v and both means use the same draw; the bias from that is of the order of 1/`num_samples`.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the squared distance of the mean path to the true one; 0 if every perturbed path is the true one.

    Cost:
        Three times `num_samples` exact solves per map.

    When it fails:
        Where no perturbation reaches another path, the gradient is 0 (raise σ). Costs that are moved below `min_cost`
        stay there.

    Reference:
        This project; the symmetric Jacobian is that of Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with
        Differentiable Perturbed Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020.
    """

    step: float = 1.0
