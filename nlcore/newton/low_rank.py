"""Leading eigenvectors of a matrix known by its products: the randomised range finder (Halko et al. 2011, §4.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore.pullbacks import LinearMap

__all__ = ["leading_eigenvectors"]

_BLOCK = 16
"""Directions that are added to the basis at a time; their number bounds the risk of stopping too early by 10^−16."""

_SAFETY = 10 * math.sqrt(2 / math.pi)
"""The largest of a block of random products, times this, bounds the norm of what the basis leaves out."""


def leading_eigenvectors(product: LinearMap, like: Tensor, remainder: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors such that the rest of a symmetric matrix is small.

    The basis grows by random products, which are the same on every rank and in every run, until what it leaves out is
    small or it is complete. k eigenvectors take 2k products, and 16 more for the estimate.

    Args:
        product: Maps directions [r, B, m] to B matrices [m, m] times each, [r, B, m].
        like: A tensor [B, m] of the dtype and device wanted.
        remainder: [], the largest norm of the rest.

    Returns:
        Values [B, k] and vectors [B, m, k].
    """
    count, size = like.shape
    generator = torch.Generator(like.device).manual_seed(0)
    basis = like.new_zeros(count, size, 0)
    while basis.shape[-1] < size:
        width = min(_BLOCK, size - basis.shape[-1])
        random = torch.randn(width, size, generator=generator, dtype=like.dtype, device=like.device)
        image = product(random.unsqueeze(1).expand(-1, count, -1).contiguous()).permute(1, 2, 0)
        for _ in range(2):  # once more, for what rounding has left
            image = image - basis @ (basis.mT @ image)
        if basis.shape[-1] and bool(_SAFETY * image.norm(dim=1).amax() <= remainder):
            break
        basis = torch.linalg.qr(torch.cat([basis, image], -1)).Q
    projected = basis.mT @ product(basis.permute(2, 0, 1).contiguous()).permute(1, 2, 0)
    values, vectors = torch.linalg.eigh((projected + projected.mT) / 2)
    return values, basis @ vectors
