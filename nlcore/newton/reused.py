"""A curvature matrix of an earlier batch, used again: a step costs a gradient and a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.newton.curvature import Curvature
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.matrix import CurvatureMatrix, InverseMatrix
from nlcore.newton.problem import Problem

__all__ = ["Reused"]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Reused(Curvature):
    """(C + λI)^(−κ) of an earlier batch.

    Args:
        of: The curvature that C is of.
        inverse: [m, m] float64, (C + λI)^(−κ).
        damping: λ.
        normalize: The root mean square that directions are scaled to; False leaves them.
    """

    kind: ClassVar[Kind] = "gradient"

    of: Curvature
    inverse: Tensor
    damping: float
    normalize: bool | float = False

    def __repr__(self) -> str:
        return f"Reused({self.of!r})"

    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the matrix by its inverse."""
        known = torch.full((), torch.nan, dtype=torch.float64, device=self.inverse.device)
        return InverseMatrix(problem.samples, None, len(self.inverse), known, known, inverse=self.inverse)
