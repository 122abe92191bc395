"""The empirical Fisher matrix as curvature: the second moment of the samples' gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities
from nlcore.errors import UnsupportedCurvatureError
from nlcore.newton.curvature import Curvature, Solver
from nlcore.newton.damping import Damping, Relative, check_damping
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, GramMatrix
from nlcore.newton.options import check_choice, check_length, check_positive, check_power, is_number
from nlcore.newton.problem import Problem, Samples

__all__ = ["GRADIENT", "HALF_FISHER", "EmpiricalFisher"]


@dataclass(frozen=True, slots=True, repr=False)
class EmpiricalFisher(Curvature):
    """The second moment of the samples' gradients, Definition 2 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j ∇ℓ_j∇ℓ_jᵀ + λI )⁻¹ ∇ℓ_i. It needs one gradient and works for every loss. Its step does not
    shrink with the residual: it grows as one over the gradient, until `max_step` stops it.

    Args:
        damping: λ as a number, as in the paper, or `Relative(ρ)`.
        max_step: With `Relative` damping, the largest root mean square over the outputs of a sample's step, in
            units of the prediction; `None` for no limit. A number as damping bounds the step by itself, to
            √N/(2√λ), so there it does not apply.
        weighting: `"raw"`, or `"normalized"`: every gradient is divided by its own norm, so that the trace is 1, λ lies
            between 0 and 1, outliers lose their weight, and the step shrinks with the gradient.
        power: κ of the direction (C + λI)^(−κ)∇ℓ: 1 is the Newton step, ½ a whitening, 0 the gradient.
        normalize: The root mean square that the directions of a batch are scaled to; True is 1. See `Hessian`.
        solver: `"cholesky"` or `"eigen"` on the m×m matrix, `"kernel"` on the N×N matrix of inner products, which is
            never larger than the batch; `"auto"` takes the smaller of the two, and with a mask the m×m matrix.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gradient"

    damping: Damping = Relative(1.0)  # noqa: RUF009 - frozen
    max_step: float | None = 100.0
    weighting: Literal["raw", "normalized"] = "raw"
    power: float = 1.0
    normalize: bool | float = False
    solver: Solver = "auto"

    def __post_init__(self) -> None:
        check_damping(self.damping, "EmpiricalFisher", own_matrices=False)
        check_choice("EmpiricalFisher", "solver", self.solver, ("auto", "cholesky", "eigen", "kernel"))
        check_positive("EmpiricalFisher", "max_step", self.max_step)
        check_choice("EmpiricalFisher", "weighting", self.weighting, ("raw", "normalized"))
        check_power(self)
        check_length("EmpiricalFisher", self.normalize)

    def check(self, loss: Capabilities) -> None:
        """Refuse a loss without any gradient.

        Raises:
            UnsupportedCurvatureError: The loss has no derivative at all.
        """
        if loss.traits.order < 1 and "gradient" not in loss.supplies:
            raise UnsupportedCurvatureError(
                f"{loss.name} has derivatives of order {loss.traits.order} and supplies no gradient: "
                f"there is nothing to train with. Give it a method `gradient(prediction, target)`."
            )

    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return RᵀR of the weighted gradients R, in float64.

        Its unit is the square of the largest entry of R where entries, weights or λ may be too small or too large for
        their squares: gradients of 1e-200 have a Gram matrix of exact zeros, and those of 1e200 one of infinities.
        """
        samples, gradient = problem.samples, derivatives.gradient
        size = gradient.shape[1]
        factors = self._row_factors(gradient, samples)
        root = gradient * factors
        unit = None
        if is_number(self.damping) or not (samples.equal and gradient.dtype == torch.float32):
            unit = self._unit(root, samples)
            root = root / unit
        fewer = self.solver == "auto" and samples.keep is None and samples.count() < size
        kernel = self.solver == "kernel" or fewer
        mean = samples.total(root.mT @ root) if not kernel else None
        diagonal = samples.total(root.square().sum(0)) if mean is None else mean.diagonal()
        # Products of gradients: their errors are squared as well. A relative λ, at least ρ/m of the largest entry, is
        # above them unless ρ is tiny.
        rounding = (4 * torch.finfo(gradient.dtype).eps) ** 2
        ample = isinstance(self.damping, Relative) and self.damping.rho > 2 * size * rounding
        common: dict[str, Any] = {
            "samples": samples,
            "finite": None,
            "size": size,
            "mean_curvature": samples.per_output(diagonal.sum(), size),
            "largest": diagonal.amax(),
            "rounding": 0.0 if ample else rounding,
            "unit": None if unit is None else unit.square(),
        }
        if mean is not None:
            return DenseMatrix(mean=mean, **common)
        rows, own_rows = samples.gather(root)
        return GramMatrix(root=rows, own_rows=own_rows, factors=factors if samples.keep is None else None, **common)

    def _row_factors(self, gradient: Tensor, samples: Samples) -> Tensor:
        """Return the factors of the gradients [N, m] in R, [N, m], [N, 1] or [1]."""
        factors = samples.scale if samples.equal else samples.weight.sqrt().unsqueeze(-1) * samples.scale
        if self.weighting == "raw":
            return factors
        gradient = gradient.double()
        largest = gradient.abs().amax(-1, keepdim=True)
        norm = largest * (gradient / torch.where(largest > 0, largest, 1.0)).norm(dim=-1, keepdim=True)
        return torch.where(norm > 0, factors / norm, 0.0)

    def _unit(self, root: Tensor, samples: Samples) -> Tensor:
        """Return the largest entry of R, or √λ if that is larger, []."""
        unit = samples.largest(root.abs())
        unit = unit.clamp(min=1e-150) if samples.equal else torch.where(unit > 0, unit.clamp(min=1e-150), 1.0)
        return unit.clamp(min=math.sqrt(self.damping)) if is_number(self.damping) else unit  # type: ignore[arg-type]


GRADIENT = EmpiricalFisher(power=0.0)
"""No curvature: the direction is the gradient."""

HALF_FISHER = EmpiricalFisher(damping=Relative(0.1), power=0.5)
"""The half power of the Fisher matrix."""
