"""Curvature matrices of earlier batches, used again: a step costs a gradient and a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.newton.candidates import Candidates, CandidatesAtBatch
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import choose_damping
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, InverseMatrix
from nlcore.newton.problem import Problem
from nlcore.newton.solve import inverse_power

__all__ = ["EarlierMatrices", "Reused"]


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


@dataclass(slots=True)
class EarlierMatrices:
    """The inverses of the matrices of earlier batches, for the candidates of a choice.

    Attributes:
        candidates: The candidates; `constant` and `refresh` say how long an inverse serves.
        kept: By the index of a candidate, the step of its inverse and the candidate with that inverse.
    """

    candidates: Candidates
    kept: dict[int, tuple[int, Reused]] = field(default_factory=dict)

    def serving(self, member: int, problem: Problem, step: int) -> Reused | None:
        """Return a candidate by the matrix of an earlier batch, where that serves at a step."""
        age, kept = self.kept.get(member, (0, None))
        constant = self.candidates.constant and problem.samples.keep is None
        if kept is None or len(kept.inverse) != problem.prediction.shape[1]:
            return None
        if not constant and step - age >= self.candidates.refresh:
            return None
        return replace(kept, inverse=kept.inverse.to(problem.prediction.device))

    def candidate(self, member: int, at_batch: CandidatesAtBatch, step: int, *, same: bool) -> Curvature:
        """Return a candidate that uses the matrix of an earlier batch, or that of this batch, which is then kept.

        Three kinds of matrices are not kept: samples' own, those that are not formed, and those that are not positive.

        Args:
            member: Its index.
            at_batch: The candidates at this batch.
            step: The step.
            same: See `CandidatesAtBatch.mean_matrix`.
        """
        curvature = self.candidates.curvatures[member]
        if curvature.aggregate == "sample" or not curvature.power or curvature.kind == "gradient":
            return curvature
        if (kept := self.serving(member, at_batch.problem, step)) is not None:
            return kept
        matrix = at_batch.mean_matrix(curvature, same=same)
        if not isinstance(matrix, DenseMatrix):
            return curvature
        damped = choose_damping(curvature.damping, matrix)
        inverse = inverse_power(matrix, damped, curvature.power)
        if inverse is None:
            return curvature
        unit = 1.0 if matrix.unit is None else matrix.unit
        reused = Reused(curvature, inverse, float(damped.strength * unit))
        self.kept[member] = step, reused
        return reused
