"""The curvature matrix of a batch from the second derivatives of its samples, in the structure that options ask for."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.evaluation import finite_rows, signs, transformed
from nlcore.newton.chunks import BUDGET, ENTRIES_AT_A_TIME
from nlcore.newton.curvature import Curvature, Psd, Scope
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, FeatureMatrix, OperatorMatrix, ProductMatrix
from nlcore.newton.options import check_choice, check_length, check_positive, check_power, is_number
from nlcore.newton.problem import Problem, Samples
from nlcore.pullbacks import LinearMap

__all__ = ["NEGATIVE", "SecondOrder", "form_features", "form_mean", "form_products"]

NEGATIVE = 1e-10
"""Share of the largest absolute eigenvalue below which a negative one counts as rounding."""

_EXACT_TRACE = 1024
"""Outputs up to which the trace of a matrix that is not formed is summed exactly; above, it is estimated."""

_PROBES = 16
"""Random signs for that estimate (Hutchinson 1989)."""


class SecondOrder(Curvature):
    """A curvature made of one matrix per sample, or of their mean: the base of `Hessian` and `GaussNewton`.

    Attributes:
        psd: Treatment of negative eigenvalues; with `"none"` they are a property of the loss, and not a failure.
        psd_scope: Whether the samples' own matrices are repaired, or their mean.
    """

    psd: Psd = "abs"
    psd_scope: Scope = "batch"

    def check_options(self) -> None:
        """Refuse options that a second-order curvature cannot take.

        Raises:
            ConfigError: An option has a value it cannot take; the message names the allowed values.
        """
        owner, chunk = type(self).__name__, self.chunk_size
        check_choice(owner, "aggregate", self.aggregate, get_args(Scope))
        check_choice(owner, "solver", self.solver, ("auto", "cholesky", "eigen", "low_rank", "cg"))
        check_power(self)
        check_positive(owner, "max_ratio", self.max_ratio)
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise ConfigError(f"{owner}(chunk_size={chunk!r}): give a whole number ≥ 1, or None.")
        check_length(owner, self.normalize)
        if self.solver in ("cg", "low_rank") and self.needs_own:
            raise ConfigError(
                f"{owner}(damping={self.damping!r}, solver={self.solver!r}): this rule needs every sample's "
                f"formed matrix. Use damping=nlcore.Relative(0.1) with this solver."
            )

    @property
    def needs_own(self) -> bool:
        """Whether the damping needs the samples' own matrices."""
        return bool(getattr(self.damping, "needs_own", False))

    def repair(self, matrix: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Return symmetric matrices with their negative eigenvalues repaired, and the share of those where known."""
        return matrix, None

    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the matrix in the structure that options and damping ask for."""
        if derivatives.operator is not None and self.solver in ("auto", "cholesky", "eigen"):
            return OperatorMatrix.of(derivatives.operator, problem)
        if self.solver in ("cg", "low_rank"):
            return form_products(derivatives, problem, self)
        separate = self.aggregate == "sample" or self.needs_own
        repairs = self.psd_scope == "sample" and self.psd != "none" and not problem.loss.traits.psd_hessian
        own = None
        if separate or repairs:
            own, finite = problem.samples.cleared(derivatives.blocks())
            samples = problem.samples.where(finite)
            own, negative = self.repair(own, problem)
            mean = samples.mean(own)
        else:
            mean, samples, finite = form_mean(derivatives, problem)
            mean, negative = self.repair(mean, problem)
        size = mean.shape[-1]
        return DenseMatrix(
            samples=samples,
            finite=finite,
            size=size,
            mean_curvature=samples.per_output(mean.diagonal().sum().abs(), size),
            largest=mean.abs().amax(),
            definite=self.psd != "none",
            rounding=torch.finfo(derivatives.gradient.dtype).eps,
            negative=negative,
            mean=mean,
            own=own if separate else None,
        )


def form_mean(derivatives: Derivatives, problem: Problem) -> tuple[Tensor, Samples, Tensor]:
    """Return the mean curvature [m, m] at the least cost, the samples it was formed from, and which are finite, [N].

    From the rows of the Jacobian it is one product of matrices. Without them, and where all samples' matrices would be
    too large, it is summed over chunks of rows. Such a sum cannot exclude a sample when one of its later rows turns out
    not to be finite; a step that may fall back therefore forms the matrices as long as they fit.
    """
    samples = problem.samples
    if derivatives.jacobian is not None:
        return _mean_from_rows(derivatives.jacobian, derivatives.outer_hessians(), samples)
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
    outer = derivatives.outer_hessians().double()
    finite = finite_rows(jacobian.flatten(1)) & finite_rows(outer.flatten(1))
    samples = samples.where(finite)
    values, vectors = torch.linalg.eigh(torch.where((samples.weight > 0)[:, None, None], outer, 0.0))
    if bool((values < -NEGATIVE * values.abs().amax(-1, keepdim=True)).any()):
        return None
    values, size = values.clamp(min=0.0).sqrt().unsqueeze(-1), jacobian.shape[2]
    root = torch.empty_like(jacobian, dtype=torch.float64)
    squares = root.new_empty(len(root), size)
    counts = samples.counted.unsqueeze(1).expand(-1, 1, size)
    few = max(1, ENTRIES_AT_A_TIME // max(1, jacobian[0].numel()))
    for some in torch.arange(len(root), device=root.device).split(few):
        rows = torch.where(counts[some], jacobian[some], 0.0).double()
        root[some] = values[some] * (vectors[some].mT @ rows)
        squares[some] = root[some].square().sum(1)
    diagonal = samples.total(samples.weight @ squares) * samples.scale.square()
    return FeatureMatrix(
        samples,
        finite,
        size,
        samples.per_output(diagonal.sum(), size),
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
        mean_curvature = samples.per_output(_trace(product, size, mean_curvature).abs(), size)
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
