"""The curvature matrix of a batch, between the options that form it and the solve that applies its inverse.

A matrix states its structure, and nothing else about how it is used: dense (the mean and, where they were formed, the
samples' own), a Gram matrix RᵀR kept as R, an operator of the loss, or products alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities
from nlcore.evaluation import finite_rows, signs, transformed
from nlcore.newton.derivatives import BUDGET, Derivatives, Kind, LinearMap
from nlcore.newton.options import concise, is_number
from nlcore.newton.problem import Problem, Samples
from nlcore.protocol import CurvatureOperator

__all__ = [
    "Curvature",
    "CurvatureMatrix",
    "DenseMatrix",
    "FeatureMatrix",
    "GramMatrix",
    "IdentityMatrix",
    "InverseMatrix",
    "OperatorMatrix",
    "ProductMatrix",
    "Psd",
    "Scope",
    "SecondOrder",
    "Solver",
    "form_features",
    "form_mean_of",
    "form_products",
]

Psd: TypeAlias = Literal["abs", "clip", "none"]
Scope: TypeAlias = Literal["sample", "batch"]
Solver: TypeAlias = Literal["auto", "cholesky", "eigen", "kernel", "low_rank", "cg"]

_EXACT_TRACE = 1024
"""Outputs up to which the trace of a matrix that is not formed is summed exactly; above, it is estimated."""

_AT_A_TIME = 2**14
"""Entries of samples' matrices that are multiplied at a time, beside those that are kept."""

_PROBES = 16
"""Random signs for that estimate (Hutchinson 1989)."""


class Curvature(ABC):
    """Options that name a curvature and form its matrix; a subclass is a frozen dataclass with a method `matrix`.

    Attributes:
        kind: The derivatives it needs.
        damping: λ as a number, or a rule.
        power: κ of the direction (C + λI)^(−κ)g, from 0, the gradient, to 1, the Newton step.
        solver: How C + λI is solved.
        aggregate: Whether one matrix serves all samples, or each sample has its own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step.
        max_step: The largest root mean square of a sample's step over its outputs.
        normalize: The root mean square over the batch that directions are scaled to; True is one, False leaves them.
        chunk_size: How many directions are pulled back at a time.
    """

    kind: ClassVar[Kind]
    damping: Any = 1.0
    power: float = 1.0
    solver: Solver = "auto"
    aggregate: Scope = "batch"
    max_ratio: float | None = None
    max_step: float | None = None
    normalize: bool | float = False
    chunk_size: int | None = None

    def __repr__(self) -> str:
        return concise(self)

    def check(self, loss: Capabilities) -> None:  # noqa: B027 - by default every loss is accepted
        """Refuse a loss that has no such curvature.

        Raises:
            UnsupportedCurvatureError: The loss cannot supply it; the message names one that it can.
        """

    @abstractmethod
    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the curvature matrix of a batch.

        Args:
            derivatives: The derivatives of the kind that this curvature names.
            problem: Which samples and outputs count.
        """


class SecondOrder(Curvature):
    """A curvature made of one matrix per sample, or of their mean: the base of `Hessian` and `GaussNewton`.

    Attributes:
        psd: Treatment of negative eigenvalues; with `"none"` they are a property of the loss, and not a failure.
        psd_scope: Whether the samples' own matrices are repaired, or their mean.
    """

    psd: Psd = "abs"
    psd_scope: Scope = "batch"

    def repair(self, matrix: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Return symmetric matrices with their negative eigenvalues repaired, and the share of those where known."""
        return matrix, None

    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the matrix in the structure that options and damping ask for."""
        if derivatives.operator is not None and self.solver in ("auto", "cholesky", "eigen"):
            return OperatorMatrix.of(derivatives.operator, problem)
        if self.solver in ("cg", "low_rank"):
            return form_products(derivatives, problem, self)
        separate = self.aggregate == "sample" or bool(getattr(self.damping, "needs_own", False))
        repairs = self.psd_scope == "sample" and self.psd != "none" and not problem.loss.traits.psd_hessian
        own = None
        if separate or repairs:
            own, finite = problem.samples.cleared(derivatives.blocks())
            samples = problem.samples.where(finite)
            own, negative = self.repair(own, problem)
            mean = samples.mean(own)
        else:
            mean, samples, finite = form_mean_of(derivatives, problem)
            mean, negative = self.repair(mean, problem)
        size = mean.shape[-1]
        return DenseMatrix(
            samples=samples,
            finite=finite,
            size=size,
            mean_curvature=mean.diagonal().sum().abs() / (size if samples.outputs is None else samples.outputs),
            largest=mean.abs().amax(),
            definite=self.psd != "none",
            rounding=torch.finfo(derivatives.gradient.dtype).eps,
            negative=negative,
            mean=mean,
            own=own if separate else None,
        )


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
        weight: [N, m], [N, 1] or [1]: the factors that the gradients were multiplied by, if the rows are weighted
            gradients; `None` if they are something else.
    """

    root: Tensor
    own_rows: slice
    weight: Tensor | None = None

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
        numbers = torch.tensor([operator.trace / size, operator.largest], dtype=torch.float64)
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


def form_mean_of(derivatives: Derivatives, problem: Problem) -> tuple[Tensor, Samples, Tensor]:
    """Return the mean curvature [m, m] at the least cost, the samples it was formed from, and which are finite, [N].

    From the rows of the Jacobian it is one product of matrices. Without them, and where all samples' matrices would be
    too large, it is summed over chunks of rows. Such a sum cannot exclude a sample when one of its later rows turns out
    not to be finite; a step that may fall back therefore forms the matrices as long as they fit.
    """
    samples = problem.samples
    if derivatives.jacobian is not None:
        return _mean_from_rows(derivatives.jacobian, derivatives.outer(), samples)
    count, size = derivatives.gradient.shape
    blocks = derivatives.supplied  # made symmetric in their mean
    if blocks is None and not problem.raising and count * size**2 <= BUDGET:
        blocks = derivatives.blocks()
    if blocks is not None:
        blocks, finite = samples.cleared(blocks)
        samples = samples.where(finite)
        return samples.mean(blocks), samples, finite
    finite = torch.ones_like(samples.weight, dtype=torch.bool)
    samples = samples.where(finite)  # changes no weight, but exchanges as a rank that forms matrices does
    identity = torch.eye(size, dtype=derivatives.gradient.dtype, device=derivatives.gradient.device)
    rows = _mean_product(derivatives, samples, finite)(identity)
    return (rows + rows.mT) / 2, samples, finite


def _mean_from_rows(jacobian: Tensor, outer: Tensor, samples: Samples) -> tuple[Tensor, Samples, Tensor]:
    """Return the mean of JᵀHJ from J [N, F, m] and H [N, F, F], multiplied in their own precision."""
    counted = samples.counted.unsqueeze(1)
    outer = torch.where((samples.weight > 0)[:, None, None], outer, 0.0)
    finite = finite_rows(torch.where(counted, jacobian, 0.0).flatten(1)) & finite_rows(outer.flatten(1))
    rows = torch.where(counted & finite[:, None, None], jacobian, 0.0)
    samples = samples.where(finite)
    weight = samples.weight[:, None, None].to(rows.dtype)
    bent = (weight * torch.where(finite[:, None, None], outer, 0.0)) @ rows
    summed = (rows.flatten(0, 1).mT @ bent.flatten(0, 1)).double()
    return samples.scaled(samples.total(summed)), samples, finite


def form_features(derivatives: Derivatives, problem: Problem) -> FeatureMatrix | None:
    """Return the samples' own matrices by R = √H·J.

    `None` with no fewer features than outputs, with an outer loss that is not convex, under a transform, whose values
    cannot be looked at, and across ranks, one of which may be without samples.
    """
    jacobian, samples = derivatives.jacobian, problem.samples
    if jacobian is None or jacobian.shape[1] >= jacobian.shape[2] or samples.ranks is not None or transformed(jacobian):
        return None
    outer = derivatives.outer().double()
    finite = finite_rows(jacobian.flatten(1)) & finite_rows(outer.flatten(1))
    samples = samples.where(finite)
    values, vectors = torch.linalg.eigh(torch.where((samples.weight > 0)[:, None, None], outer, 0.0))
    if bool((values < -1e-10 * values.abs().amax(-1, keepdim=True)).any()):
        return None
    values, size = values.clamp(min=0.0).sqrt().unsqueeze(-1), jacobian.shape[2]
    root = torch.empty_like(jacobian, dtype=torch.float64)
    squares = root.new_empty(len(root), size)
    counts = samples.counted.unsqueeze(1).expand(-1, 1, size)
    for some in torch.arange(len(root), device=root.device).split(max(1, _AT_A_TIME // max(1, jacobian[0].numel()))):
        rows = torch.where(counts[some], jacobian[some], 0.0).double()
        root[some] = values[some] * (vectors[some].mT @ rows)
        squares[some] = root[some].square().sum(1)
    diagonal = samples.total(samples.weight @ squares) * samples.scale.square()
    return FeatureMatrix(
        samples,
        finite,
        size,
        diagonal.sum() / (size if samples.outputs is None else samples.outputs),
        diagonal.amax(),
        rounding=torch.finfo(jacobian.dtype).eps,
        root=root,
    )


def form_products(derivatives: Derivatives, problem: Problem, curvature: Curvature) -> ProductMatrix:
    """Return the curvature as products, with its trace if the damping is relative to it."""
    samples, size = problem.samples, derivatives.gradient.shape[1]
    product = _mean_product(derivatives, samples)
    mean_curvature = torch.full((), torch.nan, dtype=torch.float64, device=derivatives.gradient.device)
    if not is_number(curvature.damping):
        mean_curvature = _trace(product, size, mean_curvature).abs() / (
            size if samples.outputs is None else samples.outputs
        )
    return ProductMatrix(
        samples,
        None,
        size,
        mean_curvature,
        mean_curvature,
        rounding=torch.finfo(derivatives.gradient.dtype).eps,
        product=product,
        own_product=_own_product(derivatives, samples) if curvature.aggregate == "sample" else None,
        tolerance=1e-5 if derivatives.gradient.dtype == torch.float32 else 1e-10,
    )


def _mean_product(derivatives: Derivatives, samples: Samples, finite: Tensor | None = None) -> LinearMap:
    """Return the map from [r, m] to the mean curvature times each row, in float64.

    Entries that are not finite are left out where `finite` is given to note their samples.
    """
    scale = samples.scale
    keep = samples.counted

    def product(rows: Tensor) -> Tensor:
        pieces = []
        for piece in (rows * scale).to(derivatives.gradient.dtype).split(derivatives.chunk):
            spread = torch.where(keep, piece.unsqueeze(1), 0.0)
            image = torch.where(keep, derivatives.apply(spread), 0.0).double()
            if finite is not None:
                finite.logical_and_(torch.isfinite(image).all(-1).all(0))
                image = torch.where(torch.isfinite(image), image, 0.0)
            pieces.append(torch.einsum("n,rni->ri", samples.weight, image))
        return samples.total(torch.cat(pieces)) * scale

    return product


def _own_product(derivatives: Derivatives, samples: Samples) -> LinearMap:
    """Return the map from [*, N, m] to each sample's own curvature times its rows, in float64."""
    keep = samples.counted

    def product(rows: Tensor) -> Tensor:
        inside = torch.where(keep, rows, 0.0).to(derivatives.gradient.dtype)
        pieces = inside.view(-1, *rows.shape[-2:]).split(derivatives.chunk)
        images = [derivatives.apply(piece) for piece in pieces]
        return torch.where(keep, torch.cat(images), 0.0).double().view(rows.shape)

    return product


def _trace(product: LinearMap, size: int, like: Tensor) -> Tensor:
    """Return the trace of a matrix known by its products: exact for small ones, else by random signs."""
    if size <= _EXACT_TRACE:
        return product(torch.eye(size, dtype=like.dtype, device=like.device)).diagonal().sum()
    probes = signs(like, (_PROBES, size))
    return (probes * product(probes)).sum() / _PROBES
