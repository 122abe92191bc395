"""Closed-form Hessians of the row-wise cross-entropy of NeuralSort and SoftSort.

The logits z of both are piecewise linear in the scores, so the Hessian of row i is J_iᵀ(diag p_i − p_i p_iᵀ)J_i with
p_i the softmax of row i and J_i the Jacobian of its logits: the covariance, under p_i, of the rows of J_i. A covariance
does not change when one vector is subtracted from all rows. Here it is the row of the item that belongs to place i,
which has the largest weight: what remains is multiplied by small weights alone, so nothing cancels where the relaxation
is sharp. The sum over places is a handful of n×n products. A sum has no order, so that nothing is sorted: row i is that
of the place where item i belongs.

Everything is transposed, Q[j, i] being the weight of item j at the place of item i; sums over short columns are faster.
S[i, j] is sign(s_i − s_j), 0 where |·| has no derivative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting._lists import real_items

__all__ = ["neuralsort_curvature", "softsort_curvature"]


def softsort_curvature(scores: Tensor, temperature: float, length: Tensor | None = None) -> Tensor:
    """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits −|s_i − s_j|/τ.

    Args:
        scores: [batch, n].
        temperature: τ.
        length: [batch, 1], the number of real items, which stand in front; `None` for all.

    Returns:
        [batch, n, n], 0 at padding.
    """
    differences, real = _differences(scores, length)
    signs = differences.sign()
    flow = _weights(differences.abs().div_(-temperature), real) * signs
    weights = flow * signs
    both = weights + weights.mT
    mean = flow.diagonal_scatter(-flow.sum(dim=-2), dim1=-2, dim2=-1)
    result = torch.baddbmm(both, mean, mean.mT, beta=-1, alpha=-1)
    result.diagonal(dim1=-2, dim2=-1).add_(both.sum(dim=-1))
    return result


def neuralsort_curvature(scores: Tensor, temperature: float, length: Tensor | None = None) -> Tensor:
    """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits (a_i·s_j − Σ_k |s_j − s_k|)/τ.

    Here a_i is 2r + 1 − n, with r the place of item i. Let F[j, i] be Q[j, i](a_i − Σ_k S[j, k]), and R hold the
    weights Q of the other items, less the sum of each column in the diagonal. The means under all p_i are the columns
    of M = F − SR. The means of squares add up to a diagonal from F and, as R + Rᵀ is a Laplacian but for its diagonal,
    to X + Xᵀ with X in terms of M and S.

    Args:
        scores: [batch, n].
        temperature: τ.
        length: [batch, 1], the number n of real items, which stand in front; `None` for all.

    Returns:
        [batch, n, n], 0 at padding.
    """
    differences, real = _differences(scores, length)
    signs = differences.sign()
    pull = _pulls(scores, length).unsqueeze(-2)
    spread = differences.abs().sum(dim=-1, keepdim=True)
    logits = (differences * pull).add_(spread.mT - spread).div_(temperature)
    weights = _weights(logits.clamp(max=0), real)  # which rounding, however sharp, does not lift above the largest
    slope = pull - signs.sum(dim=-1, keepdim=True)
    flow = weights * slope
    others = weights.diagonal_scatter(torch.zeros_like(scores), dim1=-2, dim2=-1)
    given, taken = others.sum(dim=-1), others.sum(dim=-2)
    others.diagonal(dim1=-2, dim2=-1).sub_(taken)
    mean = torch.baddbmm(flow, signs, others, alpha=-1)
    factor = (signs * ((given - taken) / 2).unsqueeze(-2)).add_(mean)
    factor.diagonal(dim1=-2, dim2=-1).sub_(flow.sum(dim=-1))
    half = factor @ signs
    result = torch.baddbmm(half + half.mT, mean, mean.mT, beta=-1, alpha=-1)
    result.diagonal(dim1=-2, dim2=-1).add_((flow * slope).sum(dim=-1))
    return result


def _differences(scores: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return s_i − s_j, 0 with padding, and where both are real."""
    differences = scores.unsqueeze(-1) - scores.unsqueeze(-2)
    if length is None:
        return differences, None
    real = real_items(length, scores.shape[-1])
    both = real.unsqueeze(-1) & real.unsqueeze(-2)
    return torch.where(both, differences, 0.0), both


def _pulls(scores: Tensor, length: Tensor | None) -> Tensor:
    """Return 2r + 1 − n of every real item, [batch, n], with r its place among n, equal ones by index."""
    size = scores.shape[-1]
    ascending = torch.arange(1 - size, size, 2, dtype=scores.dtype, device=scores.device).expand_as(scores)
    if length is not None:
        ascending = ascending + (size - length)
        scores = torch.where(real_items(length, size), scores, torch.inf)
    return torch.zeros_like(scores).scatter(-1, scores.argsort(dim=-1, stable=True), ascending)


def _weights(logits: Tensor, real: Tensor | None) -> Tensor:
    """Return the softmax of columns whose largest logits are the zeros of the diagonal, 0 at padding."""
    weights = logits.exp_()
    if real is None:
        return weights / weights.sum(dim=-2, keepdim=True)
    weights = torch.where(real, weights, 0.0)
    return weights / weights.sum(dim=-2, keepdim=True).clamp(min=1)
