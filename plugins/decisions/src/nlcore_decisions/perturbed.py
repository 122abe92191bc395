r"""Smoothing of any batched argmin of a linear objective by Gaussian noise, and estimates from its samples.

An argmin here is a function of costs [N, *event] that returns y*(c) = argmin_y ⟨c, y⟩ for each of N problems, [N,
*event], over a set that does not depend on c: paths, matchings, subsets, permutations, the vertices of a polytope. It
is constant almost everywhere, so its derivative is of no use. With Z standard normal, the smoothed version y_σ(c) =
E[y*(c + σZ)] is differentiable.

Samples are given as noise Z and solutions y*, both [S, N, *event]. The *score function* estimates the derivative of any
mean E[f(y*)] from the samples alone, as E[f(y*) Z]/σ. Control variates make the estimate less noisy and do not change
its mean:

- `"none"`: nothing is subtracted;
- `"leave_one_out"`: from each f the mean of the others;
- `"antithetic"`: Z comes in pairs Z, −Z; from each f the mean of the other pairs.

The score function does not use that the objective is linear in the costs. If it is, y_σ is the gradient of F_σ(c) =
E[min_y ⟨c + σZ, y⟩]. Its Jacobian J is then a Hessian, so it is symmetric (and negative semi-definite, since a minimum
of linear functions is concave). For a loss ℓ(y_σ(c)) with v = ∂ℓ/∂y_σ, the gradient Jᵀv therefore equals Jv, the
derivative of y_σ *along* v, which a difference of two means estimates: see `central_difference`. This holds for exact
minimisers of an objective that is linear in the costs. It does not hold for a relaxation, nor if the feasible set or
the noise depends on c.

*Multiplicative* noise keeps the sign of every cost (Dalle, Baty, Bouvier, Parmentier, [Learning with Combinatorial
Optimization Layers](https://arxiv.org/abs/2207.13513), 2022): the costs are multiplied by $M = \exp(\sigma Z -
\sigma^2/2)$, whose mean is 1. $F_\sigma(c) = \mathbb{E} \min_y \langle c \odot M, y \rangle$ is concave as well, with
the gradient $\mathbb{E}[M \odot y^*(c \odot M)]$ and the Hessian of `multiplied_jacobian`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, ShapeError
from nlcore_decisions._random import drawing_device
from nlcore_decisions.config import Control, Noise

__all__ = [
    "Argmin",
    "central_difference",
    "centred",
    "draw_noise",
    "factors",
    "fenchel_young",
    "jacobian",
    "multiplied_jacobian",
    "perturb",
    "score_gradient",
    "score_hessian",
    "solutions",
]

Argmin: TypeAlias = Callable[[Tensor], Tensor]
"""Maps costs [N, *event] to the solutions of least cost, [N, *event]."""


def draw_noise(
    costs: Tensor, num_samples: int, *, control: Control = "none", generator: torch.Generator | None = None
) -> Tensor:
    """Return standard normal noise, [num_samples, *costs.shape]; for `"antithetic"` the second half mirrors the first.

    If the number of antithetic samples is odd, the last of the first half has no mirror image.

    Args:
        costs: Gives shape, dtype and device.
        num_samples: S, at least 1, and 2 for `"leave_one_out"`.
        control: The control variate that the samples are for.
        generator: Source of random numbers; they are drawn on its device.

    Raises:
        ConfigError: Too few samples.

    Example:
        >>> noise = draw_noise(torch.zeros(5, 3), 4, control="antithetic")
        >>> noise.shape, float((noise[:2] + noise[2:]).abs().max())
        (torch.Size([4, 5, 3]), 0.0)
    """
    least = 2 if control == "leave_one_out" else 1
    if num_samples < least:
        raise ConfigError(f"num_samples was given {num_samples}; control={control!r} needs at least {least}.")
    count = (num_samples + 1) // 2 if control == "antithetic" else num_samples
    drawn_on = drawing_device(generator, costs.device)
    noise = torch.randn((count, *costs.shape), generator=generator, dtype=costs.dtype, device=drawn_on).to(costs.device)
    return torch.cat([noise, -noise])[:num_samples] if control == "antithetic" else noise


def factors(noise: Tensor, sigma: float) -> Tensor:
    """Return the factors M = exp(σZ − σ²/2) of multiplicative noise, positive and 1 in the mean; shape of `noise`."""
    return (sigma * noise - 0.5 * sigma**2).exp_()


def perturb(costs: Tensor, noise: Tensor, sigma: float, kind: Noise = "additive") -> Tensor:
    """Return perturbed costs, c + σZ, or c ⊙ exp(σZ − σ²/2) for multiplicative noise.

    Args:
        costs: [N, *event].
        noise: [S, N, *event], standard normal.
        sigma: Scale of the noise: in units of the costs, or, multiplicative, relative to them.
        kind: Which noise.

    Returns:
        [S, N, *event].
    """
    if kind == "multiplicative":
        return factors(noise, sigma).mul_(costs)
    return (sigma * noise).add_(costs)


def solutions(argmin: Argmin, costs: Tensor) -> Tensor:
    """Return the solutions of problems in any number of leading dimensions, all in one call of `argmin`.

    Args:
        argmin: The solver.
        costs: [S, N, *event], perturbed costs.

    Returns:
        [S, N, *event].

    Raises:
        ShapeError: The solver returned another shape than it was given.
    """
    flat = costs.flatten(0, 1)
    found = argmin(flat)
    if not isinstance(found, Tensor):
        raise ContractError(f"The argmin must return a tensor, and returned a {type(found).__name__}.")
    if found.shape != flat.shape:
        raise ShapeError(
            f"The argmin was given costs of shape {list(flat.shape)} and returned {list(found.shape)}; it must "
            "return a solution of the same shape for each."
        )
    return found.to(costs.dtype).reshape(costs.shape)


def centred(values: Tensor, control: Control) -> Tensor:
    """Return the samples with their control variate subtracted; the mean of their products with the score stays.

    Args:
        values: [S, …].
        control: Which control variate.

    Returns:
        [S, …].
    """
    count = values.shape[0]
    if control == "leave_one_out" and count > 1:
        return (values - values.mean(0)) * (count / (count - 1))
    if control == "antithetic" and count > 2:
        pairs = (count + 1) // 2
        mirrored = values[pairs:]
        own = values[:pairs].clone()
        own[: len(mirrored)] += mirrored
        size = values.new_full((pairs, *[1] * (values.ndim - 1)), 2.0)
        size[len(mirrored) :] = 1
        others = (values.sum(0) - own) / (count - size)
        return values - torch.cat([others, others[: len(mirrored)]])
    return values


def fenchel_young(costs: Tensor, target: Tensor, found: Tensor) -> Tensor:
    """Return the perturbed Fenchel–Young loss, estimated from samples: the mean of ⟨c + σZ, t − y*(c + σZ)⟩.

    Its mean is ⟨c, t⟩ − E[min_y ⟨c + σZ, y⟩], convex in c, at least 0 for a feasible t, with the gradient t − y_σ(c)
    and the Hessian −J. The constant of the conjugate, which depends only on t, is left out. Each sample is at least 0.

    Args:
        costs: [S, N, *event], the perturbed costs c + σZ.
        target: [N, *event], the solution that should be found.
        found: [S, N, *event], the solutions for `costs`.

    Returns:
        [N].
    """
    products = costs * (target - found)
    return products.sum(dim=(0, *range(2, products.ndim))) / len(products)


def jacobian(found: Tensor, noise: Tensor, sigma: float, *, control: Control = "none") -> Tensor:
    """Return the estimate E[y* Zᵀ]/σ of the Jacobian J_ij = ∂y_σ,i/∂c_j; symmetric and semi-definite in the mean only.

    Args:
        found: [S, N, *event], solutions.
        noise: [S, N, *event], the noise they were found with.
        sigma: Scale of the noise.
        control: Control variate of the samples.

    Returns:
        [N, m, m], m the product of the event's sizes.

    Example:
        >>> def cheaper(costs):  # of two things
        ...     return torch.nn.functional.one_hot(costs.argmin(-1), 2).to(costs)
        >>> costs = torch.zeros(1, 2)
        >>> noise = draw_noise(costs, 100_000, generator=torch.Generator().manual_seed(0))
        >>> J = jacobian(solutions(cheaper, costs + noise), noise, 1.0)[0]
        >>> bool((J + 0.2821 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).abs().max() < 0.01)  # 1/√(4π)
        True
    """
    y, z = centred(found, control).flatten(2), noise.flatten(2)
    return torch.einsum("sni,snj->nij", y, z) / (sigma * len(y))


def multiplied_jacobian(
    found: Tensor, noise: Tensor, costs: Tensor, sigma: float, *, control: Control = "none"
) -> Tensor:
    r"""Return the estimate of the Jacobian of E[M ⊙ y*(c ⊙ M)] for multiplicative noise, the Hessian of F_σ.

    In the logarithms of the costs the noise is additive, so a score function gives, with w = M ⊙ y*,

    $$
    \frac{\partial\, \mathbb{E} w_i}{\partial c_j}
    = \frac{1}{c_j} \left( \frac{\mathbb{E}[w_i Z_j]}{\sigma} - \delta_{ij}\, \mathbb{E} w_i \right).
    $$

    Symmetric and negative semi-definite in the mean only. F_σ is homogeneous of degree 1, so the product with c is 0 in
    the mean. The column of a cost of 0, which no factor changes, is 0.

    Args:
        found: [S, N, *event], the solutions for c ⊙ M.
        noise: [S, N, *event], the noise Z they were found with.
        costs: [N, *event], c.
        sigma: Scale of the noise.
        control: Control variate of the samples.

    Returns:
        [N, m, m], m the product of the event's sizes.
    """
    weighted = (factors(noise, sigma) * found).flatten(2)
    score = torch.einsum("sni,snj->nij", centred(weighted, control), noise.flatten(2)) / (sigma * len(noise))
    score.diagonal(dim1=-2, dim2=-1).sub_(weighted.mean(0))
    inverse = costs.flatten(1).reciprocal().nan_to_num(posinf=0.0, neginf=0.0)
    return score * inverse[:, None, :]


def score_gradient(values: Tensor, noise: Tensor, sigma: float, *, control: Control = "none") -> Tensor:
    """Return the estimate E[f Z]/σ of the gradient of f_σ(c) = E[f(c + σZ)] for any f.

    Args:
        values: [S, N], f at the perturbed costs.
        noise: [S, N, *event].
        sigma: Scale of the noise.
        control: Control variate of the samples.

    Returns:
        [N, *event].
    """
    return torch.einsum("sn,sn...->n...", centred(values, control), noise) / (sigma * len(noise))


def score_hessian(values: Tensor, noise: Tensor, sigma: float, *, control: Control = "none") -> Tensor:
    """Return the estimate E[f (ZZᵀ − I)]/σ² of the Hessian of f_σ, [N, m, m]; arguments as of `score_gradient`."""
    f, z = centred(values, control), noise.flatten(2)
    matrix = torch.einsum("sn,sni,snj->nij", f, z, z) / len(z)
    matrix.diagonal(dim1=-2, dim2=-1).sub_(f.mean(0)[:, None])
    return matrix / sigma**2


def central_difference(
    argmin: Argmin, costs: Tensor, vector: Tensor, noise: Tensor, *, sigma: float, step: float = 1.0
) -> Tensor:
    """Return the estimate (y_σ(c + hv) − y_σ(c − hv))/2h of Jᵀv, both means over the same noise.

    By the symmetry of J, this is the gradient of a loss with slope v at y_σ; no score function and no control variate
    is needed. Its error in h is of second order. For small h, only few solutions change, and its variance is about
    1/(S·h); with noise drawn anew for either side it would be 1/(S·h²). With h = step·σ/max|v|, the costs are moved by
    at most `step`·σ, so h follows the scales of v and of the noise, the only lengths over which y_σ varies.

    Args:
        argmin: The solver; it is called once with 2·S·N problems.
        costs: [N, *event].
        vector: [N, *event], the slope of the loss at y_σ(c); where it is 0 the result is 0.
        noise: [S, N, *event].
        sigma: Scale of the noise.
        step: Largest shift of a cost in units of σ.

    Returns:
        [N, *event].
    """
    largest = vector.flatten(1).abs().amax(1).reshape(-1, *[1] * (vector.ndim - 1))
    h = step * sigma / largest.clamp(min=torch.finfo(vector.dtype).tiny)
    shift = torch.where(largest > 0, h * vector, 0)
    around = costs + sigma * noise
    ahead, behind = solutions(argmin, torch.cat([around + shift, around - shift])).chunk(2)
    return torch.where(largest > 0, (ahead - behind).mean(0) / (2 * h), 0)
