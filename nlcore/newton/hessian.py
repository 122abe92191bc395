"""The Hessian of the loss as curvature: ∇²ℓ, its negative eigenvalues repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities
from nlcore.errors import ConfigError, UnsupportedCurvatureError
from nlcore.newton.curvature import Psd, Scope, Solver
from nlcore.newton.damping import Damping, Relative, check_damping
from nlcore.newton.derivatives import Kind
from nlcore.newton.options import check_choice
from nlcore.newton.problem import Problem
from nlcore.newton.second_order import NEGATIVE, SecondOrder

__all__ = ["Hessian", "repaired"]


@dataclass(frozen=True, slots=True, repr=False)
class Hessian(SecondOrder):
    """The mean of the samples' Hessians, Definition 1 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j |∇²ℓ_j| + λI )⁻¹ ∇ℓ_i. A non-convex loss has negative curvature, with which a Newton step
    climbs; by default the negative eigenvalues of every sample are therefore flipped before the mean.

    Args:
        damping: λ as a number, `Relative(ρ)`, or `Bounded()`.
        psd: `"abs"` flips negative eigenvalues, `"clip"` sets them to zero, `"none"` leaves them: with a number
            as damping that is the paper's definition, and an indefinite result is recorded, not repaired.
        psd_scope: Whether they are repaired sample by sample, or once in the mean; samples' own matrices, which
            `aggregate="sample"` and `Bounded()` form, always are.
        aggregate: `"batch"` takes one matrix for all samples, `"sample"` each sample's own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step, to which longer
            ones are shortened; `None` for no limit.
        normalize: The root mean square that the directions of a batch are scaled to, in units of the prediction;
            True is 1. A Newton step shrinks with the residual, and an optimiser such as Adam, which remembers
            earlier and larger steps, then shrinks its own; a normalised one leaves the length to the learning rate.
        power: κ of the direction (C + λI)^(−κ)∇ℓ: 1 is the Newton step, ½ a whitening, 0 the gradient.
        solver: `"cholesky"` or `"eigen"`; or, without forming an m×m matrix, `"cg"`, conjugate gradients, or
            `"low_rank"`, the leading eigenvectors by random products; `"auto"` is Cholesky for power 1, else eigen.
        chunk_size: How many directions are pulled back at a time; `None` takes what fits a cache, or 128 MiB on a GPU.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "hessian"

    damping: Damping = Relative(0.1)  # noqa: RUF009 - frozen
    psd: Psd = "abs"
    psd_scope: Scope = "sample"
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    normalize: bool | float = False
    power: float = 1.0
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "Hessian")
        check_choice("Hessian", "psd", self.psd, get_args(Psd))
        check_choice("Hessian", "psd_scope", self.psd_scope, get_args(Scope))
        self.check_options()
        if self.needs_own and self.psd == "none":
            raise ConfigError(
                f"Hessian(damping={self.damping!r}, psd='none'): this rule compares the samples' own matrices, which "
                f"have to be positive semi-definite. Use psd='abs'."
            )

    def check(self, loss: Capabilities) -> None:
        """Refuse a loss whose second derivative does not exist or is zero almost everywhere."""
        if loss.traits.order < 2 and "hessian" not in loss.supplies:
            splits = "split" in loss.supplies
            other = "nlcore.GaussNewton() or nlcore.EmpiricalFisher()" if splits else "nlcore.EmpiricalFisher()"
            raise UnsupportedCurvatureError(
                f"{loss.name} has derivatives of order {loss.traits.order}: its Hessian is zero or missing and a "
                f"Newton step with it would mean nothing. Use {other} instead."
            )
        if self.solver in ("cg", "low_rank") and self.psd != "none" and not loss.traits.psd_hessian:
            raise UnsupportedCurvatureError(
                f"{loss.name}: psd={self.psd!r} needs the eigenvalues of a formed matrix, and solver={self.solver!r} "
                f"forms none. Use Hessian(psd='none', solver='cg'), which stops at negative curvature and records it."
            )

    def repair(self, matrix: Tensor, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Return |H|, or H with negative eigenvalues set to 0, by `psd`; H itself under the promise `psd_hessian`."""
        if self.psd == "none" or problem.loss.traits.psd_hessian:
            return matrix, None
        return repaired(matrix, self.psd)


def repaired(matrix: Tensor, psd: Psd) -> tuple[Tensor, Tensor]:
    """Return symmetric matrices with their negative eigenvalues flipped or clipped, and the share of those.

    A matrix that is not finite stays as it is.
    """
    finite = torch.isfinite(matrix).all(-1).all(-1)[..., None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, matrix, 0.0))
    largest = values.abs().amax(-1, keepdim=True)
    negative = (values < -NEGATIVE * largest).double().mean()
    values = values.abs() if psd == "abs" else values.clamp(min=0.0)
    return torch.where(finite, (vectors * values.unsqueeze(-2)) @ vectors.mT, matrix), negative
