"""Closed-form Hessians of the row-wise cross-entropy of NeuralSort and SoftSort.

The logits z of both are piecewise linear in the scores, so the Hessian of row i is J_iᵀ(diag p_i − p_i p_iᵀ)J_i with
p_i the softmax of row i and J_i the Jacobian of its logits: the covariance, under p_i, of the rows of J_i. A covariance
does not change when one vector is subtracted from all rows. Here it is the row of the item that belongs to place i,
which has the largest weight: what remains is multiplied by small weights alone, so nothing cancels where the relaxation
is sharp. With the items in ascending order the sum over places is a handful of n×n products.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["neuralsort_curvature", "softsort_curvature"]


def softsort_curvature(permutation: Tensor, signs: Tensor) -> Tensor:
    """Return Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits −|s_i − s_j|.

    Args:
        permutation: [..., n, n], the relaxed permutation matrix of scores in ascending order; 0 at padding.
        signs: [..., n, n], sign(s_i − s_j), 0 for equal scores and at padding.

    Returns:
        [..., n, n].
    """
    flow = permutation * signs
    mean = flow - torch.diag_embed(flow.sum(dim=-1))
    return _laplacian(permutation * signs.square()) - mean.mT @ mean


def neuralsort_curvature(permutation: Tensor, signs: Tensor, length: Tensor | None = None) -> Tensor:
    """Return Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits (2i + 1 − n)s_j − Σ_k |s_j − s_k|.

    Args:
        permutation: [..., n, n], the relaxed permutation matrix of scores in ascending order; 0 at padding.
        signs: [..., n, n], sign(s_i − s_j), 0 for equal scores and at padding.
        length: [..., 1], the number n of real items; `None` for all.

    Returns:
        [..., n, n].
    """
    n = signs.shape[-1] if length is None else length
    own = (2 * torch.arange(signs.shape[-1], device=signs.device) + 1 - n).to(signs.dtype)
    slope = own.unsqueeze(-1) - signs.sum(dim=-1).unsqueeze(-2)
    strange = permutation - torch.diag_embed(permutation.diagonal(dim1=-2, dim2=-1))
    flow = permutation * slope
    mixed = (torch.diag_embed(flow.sum(dim=-2)) - flow.mT) @ signs
    squares = torch.diag_embed((flow * slope).sum(dim=-2)) + mixed + mixed.mT + signs.mT @ _laplacian(strange) @ signs
    mean = flow + (strange - torch.diag_embed(strange.sum(dim=-1))) @ signs
    return squares - mean.mT @ mean


def _laplacian(weights: Tensor) -> Tensor:
    """Return Σ_ij w_ij (e_i − e_j)(e_i − e_j)ᵀ; the diagonal of `weights` has to be 0."""
    both = weights + weights.mT
    return torch.diag_embed(both.sum(dim=-1)) - both
