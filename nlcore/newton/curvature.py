"""The curvature matrices of a Newton loss and how a direction is taken with each.

Every class is a frozen set of options that knows which derivatives it needs and turns them into directions
(C + λI)⁻¹∇ℓ. Sums over the batch weigh each sample; outputs that are padded count neither in a sum nor in a mean.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from nlcore.errors import ConfigError, UnsupportedCurvatureError, nearest
from nlcore.newton.adapt import LossInfo
from nlcore.newton.damping import Damping, Relative, check_damping, damping_strength
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.solve import Solution, Solver, solve_dense, solve_kernel

__all__ = ["Batch", "Curvature", "CurvatureStep", "EmpiricalFisher", "GaussNewton", "Hessian"]

Psd = Literal["abs", "clip", "none"]
Scope = Literal["sample", "batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Which samples and outputs count.

    Attributes:
        weight: [N], the weight of each sample, zero where it must not count.
        keep: [N, m] bool, False at padded outputs; `None` when there are none.
    """

    weight: Tensor
    keep: Tensor | None = None

    def scale(self, size: int) -> Tensor:
        """Return s [m] such that diag(s)(Σ wᵢAᵢ)diag(s) is the mean of the Aᵢ over those that count.

        An output's own entry is its mean over the samples that have it; scaling from both sides keeps a
        positive semi-definite sum so, which a division entry by entry would not.
        """
        counts = self.weight.sum().expand(size) if self.keep is None else (self.weight.unsqueeze(-1) * self.keep).sum(0)
        return torch.where(counts > 0, counts, torch.inf).rsqrt()

    def mean(self, blocks: Tensor) -> Tensor:
        """Return the mean of [N, m, m] over the samples, [m, m]."""
        scale = self.scale(blocks.shape[-1])
        total = torch.einsum("n,nij->ij", self.weight, blocks)
        return total * scale * scale.unsqueeze(-1)

    def sizes(self, size: int) -> Tensor:
        """Return how many outputs count, [] for the batch."""
        return (self.scale(size) > 0).sum()


@dataclass(frozen=True, slots=True)
class CurvatureStep:
    """Directions, and the matrix and damping they came from, for statistics.

    Attributes:
        solution: The directions and how the solve ended.
        strength: [], λ, in the units of the loss's curvature.
        mean_curvature: [], |tr C|/m.
        negative: [], the share of the samples' eigenvalues that are negative, where it is known.
    """

    solution: Solution
    strength: Tensor
    mean_curvature: Tensor
    negative: Tensor | None = None


class Curvature(ABC):
    """What all curvatures have in common."""

    kind: ClassVar[Kind]

    @abstractmethod
    def check(self, info: LossInfo) -> None:
        """Refuse a loss that has no such curvature.

        Raises:
            UnsupportedCurvatureError: The loss cannot supply it; the message names one that it can.
        """

    @abstractmethod
    def step(self, info: LossInfo, derivatives: Derivatives, batch: Batch) -> CurvatureStep:
        """Return the damped Newton direction of every sample."""


@dataclass(frozen=True, slots=True)
class Hessian(Curvature):
    """The mean of the samples' Hessians, Definition 1 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j |∇²ℓ_j| + λI )⁻¹ ∇ℓ_i. A non-convex loss has negative curvature, with which a Newton step
    climbs; by default the negative eigenvalues of every sample are therefore flipped before the mean.

    Args:
        damping: λ as a number, or `Relative(ρ)`.
        psd: `"abs"` flips negative eigenvalues, `"clip"` sets them to zero, `"none"` leaves them: with a number
            as damping that is the paper's definition, and an indefinite result is recorded, not repaired.
        psd_scope: Whether they are repaired sample by sample, or once in the mean.
        aggregate: `"batch"` takes one matrix for all samples, `"sample"` each sample's own.
        max_ratio: With `aggregate="sample"`, the longest step in units of the batch's median step.
        solver: `"auto"`, `"cholesky"` or `"eigen"`.
        chunk_size: How many of the m directions are pulled back at a time; all when `None`.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "hessian"

    damping: Damping = field(default_factory=lambda: Relative(0.1))
    psd: Psd = "abs"
    psd_scope: Scope = "sample"
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "Hessian")
        _check_choice("Hessian", "psd", self.psd, get_args(Psd))
        _check_choice("Hessian", "psd_scope", self.psd_scope, get_args(Scope))
        _check_choice("Hessian", "aggregate", self.aggregate, get_args(Scope))
        _check_choice("Hessian", "solver", self.solver, ("auto", "cholesky", "eigen"))
        _check_positive("Hessian", "max_ratio", self.max_ratio)

    def check(self, info: LossInfo) -> None:
        """Refuse a loss whose second derivative does not exist or says nothing."""
        if info.traits.order < 2 and not info.supplies_hessian:
            other = "nlcore.GaussNewton() or nlcore.EmpiricalFisher()" if info.splits else "nlcore.EmpiricalFisher()"
            raise UnsupportedCurvatureError(
                f"{info.name} has derivatives of order {info.traits.order}: its Hessian is zero or missing and a "
                f"Newton step with it would mean nothing. Use {other} instead."
            )

    def step(self, info: LossInfo, derivatives: Derivatives, batch: Batch) -> CurvatureStep:
        """Return the damped Newton direction of every sample."""
        blocks = _masked(derivatives.blocks().double(), batch)
        negative = None
        if self.psd != "none" and not info.traits.convex and self.psd_scope == "sample":
            blocks, negative = _repair(blocks, self.psd)
        matrix = batch.mean(blocks) if self.aggregate == "batch" else blocks
        if self.psd != "none" and not info.traits.convex and self.psd_scope == "batch":
            matrix, negative = _repair(matrix, self.psd)
        gradient = derivatives.gradient.double()
        step = _dense_step(
            self.damping, matrix, gradient, batch, solver=self.solver, allow_indefinite=self.psd == "none"
        )
        return _finish(step, negative, self.max_ratio if self.aggregate == "sample" else None)


@dataclass(frozen=True, slots=True)
class GaussNewton(Curvature):
    """The mean of the samples' Gauss–Newton matrices Jᵀ H_outer J, for losses that split.

    Positive semi-definite by construction, and free of second derivatives of the algorithm. Where the algorithm is
    linear it is the Hessian. Make such a loss from any function with `nlcore.compose(inner, outer)`.

    Args:
        damping: λ as a number, or `Relative(ρ)`.
        aggregate: `"batch"` takes one matrix for all samples, right where the Jacobian is alike for all;
            `"sample"` each sample's own.
        max_ratio: With `aggregate="sample"`, the longest step in units of the batch's median step.
        solver: `"auto"`, `"cholesky"` or `"eigen"`.
        chunk_size: How many of the m directions are pulled back at a time; all when `None`.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gauss_newton"

    damping: Damping = field(default_factory=lambda: Relative(0.1))
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "GaussNewton")
        _check_choice("GaussNewton", "aggregate", self.aggregate, get_args(Scope))
        _check_choice("GaussNewton", "solver", self.solver, ("auto", "cholesky", "eigen"))
        _check_positive("GaussNewton", "max_ratio", self.max_ratio)

    def check(self, info: LossInfo) -> None:
        """Refuse a loss without a split."""
        if not info.splits:
            raise UnsupportedCurvatureError(
                f"{info.name} has no Gauss–Newton split (methods `inner` and `outer`). Write it as "
                f"nlcore.compose(inner, outer), or use nlcore.Hessian() or nlcore.EmpiricalFisher()."
            )

    def step(self, info: LossInfo, derivatives: Derivatives, batch: Batch) -> CurvatureStep:
        """Return the damped Gauss–Newton direction of every sample."""
        blocks = _masked(derivatives.blocks().double(), batch)
        matrix = batch.mean(blocks) if self.aggregate == "batch" else blocks
        gradient = derivatives.gradient.double()
        step = _dense_step(self.damping, matrix, gradient, batch, solver=self.solver, allow_indefinite=False)
        return _finish(step, None, self.max_ratio if self.aggregate == "sample" else None)


@dataclass(frozen=True, slots=True)
class EmpiricalFisher(Curvature):
    """The second moment of the samples' gradients, Definition 2 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j ∇ℓ_j∇ℓ_jᵀ + λI )⁻¹ ∇ℓ_i. It needs one gradient and works for every loss. Its step does not
    shrink with the residual: it grows as one over the gradient, until `max_step` stops it.

    Args:
        damping: λ as a number, as in the paper, or `Relative(ρ)`.
        max_step: With `Relative` damping, the largest root mean square over the outputs of a sample's step, in
            units of the prediction; `None` for no limit. A number as damping bounds the step by itself, to
            √N/(2√λ), so there it does not apply.
        solver: `"auto"`, `"cholesky"` or `"eigen"` on the m×m matrix, `"kernel"` on the N×N matrix of inner products;
            `"auto"` takes the smaller of the two.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gradient"

    damping: Damping = field(default_factory=lambda: Relative(1.0))
    max_step: float | None = 100.0
    solver: Solver = "auto"

    def __post_init__(self) -> None:
        check_damping(self.damping, "EmpiricalFisher")
        _check_choice("EmpiricalFisher", "solver", self.solver, get_args(Solver))
        _check_positive("EmpiricalFisher", "max_step", self.max_step)

    def check(self, info: LossInfo) -> None:
        """Every loss with a gradient will do.

        Raises:
            UnsupportedCurvatureError: The loss has no derivative at all.
        """
        if info.traits.order < 1 and not info.supplies_gradient:
            raise UnsupportedCurvatureError(
                f"{info.name} has derivatives of order {info.traits.order} and supplies no gradient: "
                f"there is nothing to train with. Give it a method `gradient(prediction, target)`."
            )

    def step(self, info: LossInfo, derivatives: Derivatives, batch: Batch) -> CurvatureStep:
        """Return the damped natural-gradient direction of every sample.

        The gradients are brought to a largest entry of one before their products are taken: those of 1e-25 have a
        Gram matrix of exact zeros in float32, and those of 1e30 one of infinities.
        """
        gradient = derivatives.gradient.double()
        counted = torch.where((batch.weight > 0).unsqueeze(-1), gradient, 0.0)
        unit = counted.abs().amax().clamp(min=1e-150)
        if not isinstance(self.damping, Relative):
            unit = torch.maximum(unit, unit.new_tensor(math.sqrt(self.damping)))
        root = counted / unit * batch.weight.sqrt().unsqueeze(-1) * batch.scale(gradient.shape[1])
        diagonal = root.square().sum(0)
        mean_curvature = diagonal.sum() / batch.sizes(gradient.shape[1]).clamp(min=1)
        damping = self.damping if isinstance(self.damping, Relative) else self.damping / unit.square()
        strength = (
            damping_strength(damping, mean_curvature, diagonal.amax()) if isinstance(damping, Relative) else damping
        )
        count, size = root.shape
        if self.solver == "kernel" or (self.solver == "auto" and count < size and batch.keep is None):
            solution = _kernel_solution(root, strength, batch)
        else:
            solution = solve_dense(
                _regular(root.mT @ root, batch), strength, gradient / unit, solver=self.solver, allow_indefinite=False
            )
        direction = solution.direction / unit
        if self.max_step is not None and isinstance(self.damping, Relative):
            direction = _capped(direction, self.max_step * math.sqrt(size))
        solution = Solution(direction, solution.codes, solution.condition)
        return CurvatureStep(solution, strength * unit.square(), mean_curvature * unit.square())


def _kernel_solution(root: Tensor, strength: Tensor, batch: Batch) -> Solution:
    """Undo the weights after a solve for the rows of the root; a sample without weight takes no step."""
    solution = solve_kernel(root, strength)
    weight = batch.weight.sqrt().unsqueeze(-1) * batch.scale(root.shape[1])
    direction = torch.where(weight > 0, solution.direction / weight, 0.0)
    return Solution(direction, solution.codes, solution.condition)


def _dense_step(
    damping: Damping, matrix: Tensor, gradient: Tensor, batch: Batch, *, solver: Solver, allow_indefinite: bool
) -> CurvatureStep:
    """Damp a formed matrix by the mean curvature of the batch, and solve."""
    over_batch = matrix if matrix.ndim == 2 else batch.mean(matrix)
    trace = over_batch.diagonal().sum().abs()
    mean_curvature = trace / batch.sizes(matrix.shape[-1]).clamp(min=1)
    strength = damping_strength(damping, mean_curvature, over_batch.abs().amax())
    solution = solve_dense(
        _regular(matrix, batch), strength, gradient, solver=solver, allow_indefinite=allow_indefinite
    )
    return CurvatureStep(solution, strength, mean_curvature)


def _finish(step: CurvatureStep, negative: Tensor | None, max_ratio: float | None) -> CurvatureStep:
    solution = step.solution
    if max_ratio is not None:
        norms = solution.direction.norm(dim=-1)
        capped = _capped(solution.direction, max_ratio * norms.median())
        solution = Solution(capped, solution.codes, solution.condition)
    return CurvatureStep(solution, step.strength, step.mean_curvature, negative)


def _capped(direction: Tensor, longest: Tensor | float) -> Tensor:
    """Shorten directions [N, m] to at most the given norm."""
    norms = direction.norm(dim=-1, keepdim=True)
    return direction * (longest / norms.clamp(min=torch.finfo(direction.dtype).tiny)).clamp(max=1.0)


def _masked(blocks: Tensor, batch: Batch) -> Tensor:
    """Clear the rows and columns of padded outputs and the blocks of samples that do not count."""
    counts = (batch.weight > 0)[:, None, None]
    if batch.keep is not None:
        counts = counts & batch.keep.unsqueeze(-1) & batch.keep.unsqueeze(-2)
    return torch.where(counts, blocks, 0.0)


def _regular(matrix: Tensor, batch: Batch) -> Tensor:
    """Put ones on the diagonal of outputs that no sample has, so that they do not make the matrix singular."""
    if batch.keep is None:
        return matrix
    keep = batch.keep & (batch.weight > 0).unsqueeze(-1)
    absent = ~(keep.any(0) if matrix.ndim == 2 else keep)
    return matrix + torch.diag_embed(absent.to(matrix.dtype))


def _repair(matrix: Tensor, psd: Psd) -> tuple[Tensor, Tensor]:
    """Return the matrices with their negative eigenvalues flipped or clipped, and the share of those."""
    finite = torch.isfinite(matrix).all(-1).all(-1)[..., None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, matrix, 0.0))
    largest = values.abs().amax(-1, keepdim=True)
    negative = (values < -1e-10 * largest).double().mean()
    values = values.abs() if psd == "abs" else values.clamp(min=0.0)
    return (vectors * values.unsqueeze(-2)) @ vectors.mT, negative


def _check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"{owner}({name}={value!r}): choose one of {', '.join(map(repr, choices))}{nearest(str(value), choices)}."
        )


def _check_positive(owner: str, name: str, value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise ConfigError(f"{owner}({name}={value!r}): give a positive number, or None for no limit.")
