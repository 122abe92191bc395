"""The curvature matrix of a batch, between the options that form it and the solve that applies its inverse.

A matrix states its structure, and nothing else about how it is used: dense (the mean and, where they were formed, the
samples' own), a Gram matrix RᵀR kept as R, each sample's own RᵀR kept as R, an operator of the loss, products alone,
the inverse of an earlier batch, or the identity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.newton.problem import Problem, Samples
from nlcore.protocol import CurvatureOperator
from nlcore.pullbacks import LinearMap

__all__ = [
    "CurvatureMatrix",
    "DenseMatrix",
    "FeatureMatrix",
    "GramMatrix",
    "IdentityMatrix",
    "InverseMatrix",
    "OperatorMatrix",
    "ProductMatrix",
]


@dataclass(frozen=True, slots=True)
class CurvatureMatrix(ABC):
    """A symmetric matrix C over the outputs, formed as C/unit.

    A new structure needs `matvec` alone, and is solved in its dense form; a faster solve has its place in
    `nlcore.newton.solve.solve`.

    Attributes:
        samples: Those it was formed from; the weight is zero where a sample's curvature is not finite.
        finite: [N] bool, which samples have a finite curvature; `None` if all have.
        size: m.
        mean_curvature: [], |tr C|/m over the outputs that count.
        largest: [], the scale of its entries: the largest absolute entry where it is formed.
        definite: Whether a negative eigenvalue is a failure, and not a property of the loss.
        rounding: Relative error of the entries; zero where λ is known to be above it.
        negative: [], the share of negative eigenvalues before repair, where known.
        unit: [], the factor by which C was divided; `None` for one.
    """

    samples: Samples
    finite: Tensor | None
    size: int
    mean_curvature: Tensor
    largest: Tensor
    definite: bool = True
    rounding: float = 0.0
    negative: Tensor | None = None
    unit: Tensor | None = None

    @abstractmethod
    def matvec(self, rows: Tensor) -> Tensor:
        """Return C/unit times each row of [r, m]."""

    def null_dimension(self) -> int:
        """Return the dimension that the null space is known to have at least."""
        return 0

    def dense(self) -> Tensor:
        """Return C/unit, [m, m]."""
        return self.matvec(torch.eye(self.size, dtype=torch.float64, device=self.mean_curvature.device))


@dataclass(frozen=True, slots=True)
class IdentityMatrix(CurvatureMatrix):
    """The identity, with which a Newton step is the gradient: what the power 0 makes of every curvature."""

    @classmethod
    def of(cls, problem: Problem) -> IdentityMatrix:
        """Return the identity over the outputs of a problem."""
        one = torch.ones((), dtype=torch.float64, device=problem.prediction.device)
        return cls(problem.samples, None, problem.prediction.shape[1], one, one)

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseMatrix(CurvatureMatrix):
    """The mean over the samples, and where they were formed the samples' own matrices.

    Attributes:
        mean: [m, m].
        own: [N, m, m], or `None`.
    """

    mean: Tensor
    own: Tensor | None = None

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the mean times each row of [r, m]."""
        return rows @ self.mean

    def null_dimension(self) -> int:
        """Return the dimension of the null space of the mean to rounding, 0 where it is not finite."""
        if not bool(torch.isfinite(self.mean).all()):
            return 0
        relative = self.size * max(self.rounding, torch.finfo(self.mean.dtype).eps)
        return self.size - int(torch.linalg.matrix_rank(self.mean, hermitian=True, rtol=relative))


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseMatrix(CurvatureMatrix):
    """A matrix known by (C + λI)^(−κ), which was computed for an earlier batch.

    Attributes:
        inverse: [m, m].
    """

    inverse: Tensor

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the matrix whose inverse is known times each row of [r, m]."""
        return torch.linalg.solve(self.inverse, rows.mT).mT


@dataclass(frozen=True, slots=True, kw_only=True)
class GramMatrix(CurvatureMatrix):
    """RᵀR with few rows: solved in the space of the rows, and never formed.

    Attributes:
        root: [r, m], the rows R of all ranks.
        own_rows: The rows that belong to this rank's samples.
        factors: [N, m], [N, 1] or [1]: the factors that the gradients were multiplied by, if the rows are weighted
            gradients; `None` if they are something else.
    """

    root: Tensor
    own_rows: slice
    factors: Tensor | None = None

    def matvec(self, rows: Tensor) -> Tensor:
        """Return RᵀR times each row of [r, m]."""
        return (rows @ self.root.mT) @ self.root


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix(CurvatureMatrix):
    """Every sample's own matrix RᵢᵀRᵢ with fewer rows than outputs: solved in the space of the rows.

    Attributes:
        root: [N, F, m], the rows Rᵢ, zero for a sample that does not count.
    """

    root: Tensor

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the mean matrix times each row of [r, m]."""
        along = torch.einsum("nfm,rm->rnf", self.root, rows * self.samples.scale)
        summed = torch.einsum("n,rnf,nfm->rm", self.samples.weight, along, self.root)
        return self.samples.total(summed) * self.samples.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorMatrix(CurvatureMatrix):
    """One matrix for all samples and steps, which the loss supplies by its structure.

    Attributes:
        operator: Its products and solves.
    """

    operator: CurvatureOperator

    @classmethod
    def of(cls, operator: CurvatureOperator, problem: Problem) -> OperatorMatrix:
        """Return the matrix over the outputs of a problem."""
        size = problem.prediction.shape[1]
        numbers = torch.tensor([operator.trace / size, operator.largest], dtype=torch.float64, device="cpu")
        mean, largest = numbers.to(problem.prediction.device).unbind()
        return cls(problem.samples, None, size, mean, largest, operator=operator)

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the matrix times each row of [r, m]."""
        return self.operator.matvec(rows) if len(rows) else rows

    def null_dimension(self) -> int:
        """Return by how many the outputs exceed the residuals of a sample, 0 if they do not."""
        return max(0, self.size - self.operator.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductMatrix(CurvatureMatrix):
    """A matrix known by its products alone, for conjugate gradients.

    Attributes:
        product: Maps [r, m] to the mean matrix times each row.
        own_product: Maps [*, N, m] to each sample's own matrix times its rows; `None` where the mean is to be used.
        tolerance: Relative residual that the rounding of the products allows.
    """

    product: LinearMap
    own_product: LinearMap | None = None
    tolerance: float = 1e-10

    def matvec(self, rows: Tensor) -> Tensor:
        """Return the mean matrix times each row of [r, m]."""
        return self.product(rows)
