"""Fenchel–Young losses of perturbed optimisers."""

from __future__ import annotations

from nlcore.protocol import Traits
from nlcore_decisions.perturbed_fenchel_young import PerturbedFenchelYoungEstimate
from nlcore_shortest_paths._base import SampledLoss
from nlcore_shortest_paths.config import PerturbedFenchelYoungConfig

__all__ = ["PerturbedFenchelYoung"]


class PerturbedFenchelYoung(
    PerturbedFenchelYoungEstimate,
    SampledLoss,
    id="shortest_paths/perturbed_fenchel_young-v1",
    config=PerturbedFenchelYoungConfig,
    traits=Traits(event_ndim=2, order=1, stochastic=True, transforms="autograd"),
):
    r"""Perturbed Fenchel–Young loss of paths: the cost of the true path minus the mean least cost under noise.

    Let y run over all paths from the source to the goal, $y^*(c)$ be the shortest one for the costs c, t the true path,
    Z standard normal, and $y_\sigma$ the mean of the shortest paths for costs with noise:

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_y \langle c + \sigma Z, y \rangle, \qquad
    \nabla = t - y_\sigma(c), \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z).
    $$

    The loss is convex in c and at least 0; its Hessian is −∂y_σ/∂c = −E[y*(c + σZ) Zᵀ]/σ. The returned value, the mean
    of ⟨c + σZ, t − y*⟩ over the draws of Z, has the expectation ℓ. The loss of the paper has one more term, which
    depends on t alone and is left out. If the generator is in the same state, value, gradient and the method `hessian`
    use the same draws and the same solutions: a Newton step solves once for all three.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: at least 0, in units of the costs. 0 means that the true path is the shortest for every draw of the
          noise; the value does not say by how much the predicted path costs more than the true one.

    Cost:
        `num_samples` exact solves for each sample; the Hessian has (H·W)² numbers and needs no further solve.

    When it fails:
        The estimate of the Hessian is symmetrised, but with few draws it is indefinite: use it with
        `nlcore.Hessian(psd="abs")`, which takes the absolute values of its eigenvalues, or `psd="clip"`, which sets the
        negative ones to 0. A cost that falls below `min_cost` with its noise is set to `min_cost`, which biases the
        gradients of cheap cells where σ is as large as the costs.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020.

    Example:
        >>> import torch
        >>> loss = PerturbedFenchelYoung(num_samples=1000, sigma=0.5)
        >>> costs = torch.full((1, 3, 3), 2.0, requires_grad=True)
        >>> loss(costs, torch.eye(3)[None], generator=torch.Generator().manual_seed(0)).sum().backward()
        >>> bool(costs.grad[0, 0, 0] == 0), bool(costs.grad[0, 1, 1] > 0), bool(costs.grad[0, 1, 0] < 0)
        (True, True, True)
    """
