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

    With Z standard normal and $y_\sigma$ the mean perturbed shortest path,

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_y \langle c + \sigma Z, y \rangle, \qquad
    \nabla = t - y_\sigma(c), \qquad y_\sigma(c) = \mathbb{E}\, y^*(c + \sigma Z).
    $$

    The loss is convex in c and at least 0; its Hessian is −∂y_σ/∂c = −E[y*(c + σZ) Zᵀ]/σ. The returned value, the mean
    of ⟨c + σZ, t − y*⟩ over the draws of Z, has the expectation ℓ. The conjugate term of the Fenchel–Young loss, which
    depends only on t, is left out. With the same state of the generator, value, gradient and `hessian` use the same
    draws; the Hessian needs no further solve.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: at least 0, in units of the costs. 0 means that the true path is the best for every perturbation; the
          value does not measure how far the predicted path is from the best.

    Cost:
        `num_samples` exact solves per map; the Hessian has (H·W)² numbers and needs no further solve.

    When it fails:
        The estimate of the Hessian is symmetrised, but from few samples it is indefinite: use it with
        `nlcore.Hessian(psd="abs")` or `"clip"`. Perturbed costs below `min_cost` are set to it, which biases the
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
