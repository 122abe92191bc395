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


def softsort_curvature(ordered: Tensor, permutation: Tensor) -> Tensor:
    """Return Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits −|s_i − s_j|.

    Args:
        ordered: [..., n], scores in ascending order.
        permutation: [..., n, n], the relaxed permutation matrix of `ordered`.

    Returns:
        [..., n, n].
    """
    signs = _signs(ordered)
    flow = permutation * signs
    mean = flow - torch.diag_embed(flow.sum(dim=-1))
    return _laplacian(permutation * signs.square()) - mean.mT @ mean


def neuralsort_curvature(ordered: Tensor, permutation: Tensor) -> Tensor:
    """Return Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i for the logits (2i + 1 − n)s_j − Σ_k |s_j − s_k|.

    Args:
        ordered: [..., n], scores in ascending order.
        permutation: [..., n, n], the relaxed permutation matrix of `ordered`.

    Returns:
        [..., n, n].
    """
    n = ordered.shape[-1]
    signs = _signs(ordered)
    own = torch.arange(1 - n, n, 2, dtype=ordered.dtype, device=ordered.device)
    slope = own.unsqueeze(-1) - signs.sum(dim=-1).unsqueeze(-2)
    strange = permutation - torch.diag_embed(permutation.diagonal(dim1=-2, dim2=-1))
    flow = permutation * slope
    mixed = (torch.diag_embed(flow.sum(dim=-2)) - flow.mT) @ signs
    squares = torch.diag_embed((flow * slope).sum(dim=-2)) + mixed + mixed.mT + signs.mT @ _laplacian(strange) @ signs
    mean = flow + (strange - torch.diag_embed(strange.sum(dim=-1))) @ signs
    return squares - mean.mT @ mean


def _signs(ordered: Tensor) -> Tensor:
    """Return sign(s_i − s_j), 0 for equal scores as in the derivative of |·|."""
    return (ordered.unsqueeze(-1) - ordered.unsqueeze(-2)).sign()


def _laplacian(weights: Tensor) -> Tensor:
    """Return Σ_ij w_ij (e_i − e_j)(e_i − e_j)ᵀ; the diagonal of `weights` has to be 0."""
    both = weights + weights.mT
    return torch.diag_embed(both.sum(dim=-1)) - both
