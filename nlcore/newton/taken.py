"""What a curvature hands back: directions with the matrix and damping behind them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.newton.solve import Solution

__all__ = ["CurvatureStep", "capped"]


@dataclass(frozen=True, slots=True)
class CurvatureStep:
    """Directions, and the damping they came from, for statistics.

    Attributes:
        solution: The directions and how the solve ended.
        strength: [], λ, in the units of the loss's curvature.
        mean_curvature: [], |tr C|/m.
        negative: [], the share of the eigenvalues before repair that are negative, where it is known.
        per_sample: [] bool, whether every sample's own matrix was used.
        largest: [], the largest absolute entry of C, where it was formed.
    """

    solution: Solution
    strength: Tensor
    mean_curvature: Tensor
    negative: Tensor | None = None
    per_sample: Tensor | None = None
    largest: Tensor | None = None


def capped(direction: Tensor, longest: Tensor | float) -> Tensor:
    """Shorten directions [N, m] to at most the given norm."""
    norms = direction.norm(dim=-1, keepdim=True)
    return direction * (longest / norms.clamp(min=torch.finfo(direction.dtype).tiny)).clamp(max=1.0)
