"""The Gauss–Newton matrix as curvature: JᵀHJ, for losses that split into an algorithm and a convex criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nlcore.capabilities import Capabilities
from nlcore.errors import UnsupportedCurvatureError
from nlcore.newton.curvature import Scope, Solver
from nlcore.newton.damping import Damping, Relative, check_damping
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.matrix import CurvatureMatrix
from nlcore.newton.problem import Problem
from nlcore.newton.second_order import SecondOrder, form_features

__all__ = ["GaussNewton"]


@dataclass(frozen=True, slots=True, repr=False)
class GaussNewton(SecondOrder):
    """The mean of the samples' Gauss–Newton matrices JᵀHJ, for losses that split.

    J is the Jacobian of the features and H the Hessian of the convex outer loss: positive semi-definite by
    construction, and free of second derivatives of the algorithm. Where the algorithm is linear it is the Hessian.
    Make such a loss from any function with `nlcore.compose(inner, outer)`. With few features J is taken row by row,
    which needs nothing but first derivatives.

    Args:
        damping: λ as a number, `Relative(ρ)`, or `Bounded()`.
        aggregate: `"batch"` takes one matrix for all samples, right where the Jacobian is the same for all;
            `"sample"` each sample's own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step, to which longer
            ones are shortened; `None` for no limit.
        normalize: The root mean square that the directions of a batch are scaled to; True is 1. See `Hessian`.
        power: κ of the direction (C + λI)^(−κ)∇ℓ: 1 is the Newton step, ½ a whitening, 0 the gradient.
        solver: `"cholesky"` or `"eigen"`; or, without forming an m×m matrix, `"cg"`, conjugate gradients, or
            `"low_rank"`, the leading eigenvectors by random products; `"auto"` is Cholesky for power 1, else eigen, and
            in the space of features for samples' own matrices with fewer features than outputs.
        chunk_size: How many directions are pulled back at a time; `None` takes what fits a cache, or 128 MiB on a GPU.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gauss_newton"

    damping: Damping = Relative(0.1)  # noqa: RUF009 - frozen
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    normalize: bool | float = False
    power: float = 1.0
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "GaussNewton")
        self.check_options()

    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the matrix: for samples' own with few features in the space of these, else as for a Hessian."""
        if self.aggregate == "sample" and self.solver == "auto" and not self.needs_own:
            matrix = form_features(derivatives, problem)
            if matrix is not None:
                return matrix
        return SecondOrder.matrix(self, derivatives, problem)

    def check(self, loss: Capabilities) -> None:
        """Refuse a loss without a split."""
        if "split" not in loss.supplies:
            raise UnsupportedCurvatureError(
                f"{loss.name} provides no Gauss–Newton split, that is, no methods `inner` (the algorithm) and `outer` "
                "(the loss of its result). "
                f"Write it as nlcore.compose(inner, outer), or use nlcore.Hessian() or nlcore.EmpiricalFisher()."
            )
