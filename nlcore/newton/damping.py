"""Damping: the λ in (C + λI)⁻¹, absolute, relative to the trace, or chosen to bound the amplification."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ConfigError, UnsupportedCurvatureError
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, OperatorMatrix
from nlcore.newton.options import concise, is_number
from nlcore.newton.rho import CANDIDATES, VALIDATED, bounded_rho, validated_rho, validated_rho_by_solves

__all__ = [
    "Bounded",
    "Damped",
    "Damping",
    "DampingRule",
    "DampingState",
    "Relative",
    "check_damping",
    "choose_damping",
    "damping_strength",
]

_FLOOR = 1e-12
"""Smallest λ of a relative damping, as a share of the largest entry of C: below it float64 cannot invert."""


class DampingRule(ABC):
    """How λ follows from a curvature matrix; a subclass is a frozen dataclass with a method `choose`.

    Attributes:
        needs_own: Whether it needs the samples' own matrices.
    """

    __slots__ = ()

    needs_own: ClassVar[bool] = False

    @abstractmethod
    def choose(self, matrix: CurvatureMatrix, state: DampingState | None, derivatives: Derivatives | None) -> Damped:
        """Return λ in units of the matrix.

        Args:
            matrix: C; see `CurvatureMatrix.mean_curvature` and `CurvatureMatrix.largest`.
            state: The state that this rule returned at an earlier step of the same training; `None` at the first. It
                is a `DampingState`, which checkpoints save; a rule without memory returns none.
            derivatives: Value and gradient of the batch; `None` in a probe.
        """


@dataclass(frozen=True, slots=True)
class Relative(DampingRule):
    """Damping in units of the curvature itself: λ = ρ·|tr C|/m.

    The trace over the number of outputs is the mean curvature along an output, so ρ means the same for every
    algorithm, size and scale of the loss. Where the trace is zero the direction is the gradient.

    Args:
        rho: ρ > 0; 0.1 to 1 is a good starting range for a Fisher matrix and for a mean of |H_i|.

    Raises:
        ConfigError: ρ is not a positive finite number.
    """

    rho: float

    def __post_init__(self) -> None:
        if not is_number(self.rho) or not 0 < self.rho < math.inf:
            raise ConfigError(f"Relative(rho={self.rho!r}): ρ must be a positive finite number, for example 0.1.")

    def choose(self, matrix: CurvatureMatrix, state: DampingState | None, derivatives: Derivatives | None) -> Damped:
        """Return ρ·|tr C|/m, at least what float64 needs to invert C + λI."""
        return Damped(damping_strength(self.rho, matrix.mean_curvature, matrix.largest))


@dataclass(frozen=True, slots=True, repr=False)
class Bounded(DampingRule):
    """The smallest relative damping for which the steps of most samples are not too long for their own curvature.

    C is the matrix of the batch, and H_i that of sample i. A step with (C + λI)⁻¹ instead of H_i⁻¹ is longer than the
    Newton step of the sample by a factor of up to ‖(C + λI)⁻¹H_i‖, which is large where H_i is large along a direction
    in which C is small. A gradient step of length 1/‖C‖ is too long by ‖H_i‖/‖C‖ as well, and is harmless in practice.
    The amplification is therefore measured relative to it,

        a_i(ρ) = ‖(C + λI)⁻¹H_i‖ / max(1, ‖H_i‖/‖C‖),  λ = ρ·tr C/m.

    ρ is the smallest of 7 values between 1e-3 and 1 for which the given quantile of a_i over the batch is at most the
    limit. If none of them is large enough, each sample is solved with its own matrix and `per_sample_rho`.

    Not for a Fisher matrix, whose units are not those of the Hessian.

    Args:
        limit: The largest amplification allowed, 1 < limit.
        quantile: The share of the samples for which it must hold.
        per_sample_rho: ρ of the samples' own matrices, relative to the mean curvature of the batch.
        refresh: Number of steps of a `NewtonLoss` after which ρ is chosen again; a single `newton_step` always chooses
            it. An old ρ can be too small for a network that changes fast: with 25, training of a simulator collapsed.
        validated: Whether ρ is at least the one that generalised cross-validation finds for the noise of the target
            (Golub, Heath & Wahba 1979). It takes the loss for half a sum of squares of as many residuals as a
            Gauss–Newton split has features, and has no effect without a split.

    Raises:
        ConfigError: An argument is outside its range.
    """

    limit: float = 1.5
    quantile: float = 0.9
    per_sample_rho: float = 1e-2
    refresh: int = 5
    validated: bool = False

    needs_own: ClassVar[bool] = True

    def __repr__(self) -> str:
        return concise(self)

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("limit", self.limit, 1.0, math.inf),
            ("quantile", self.quantile, 0.0, 1.0),
            ("per_sample_rho", self.per_sample_rho, 0.0, math.inf),
            ("refresh", self.refresh, 0, math.inf),
        ):
            if not is_number(value) or not low < value < high:
                raise ConfigError(f"Bounded({name}={value!r}): give a number between {low} and {high}.")
        if not isinstance(self.validated, bool):
            raise ConfigError(f"Bounded(validated={self.validated!r}): give True or False.")
        if not isinstance(self.refresh, int):
            raise ConfigError(f"Bounded(refresh={self.refresh!r}): give a whole number of steps.")

    def choose(self, matrix: CurvatureMatrix, state: DampingState | None, derivatives: Derivatives | None) -> Damped:
        """Return the λ of the chosen ρ, which is chosen anew every `refresh` steps."""
        if isinstance(matrix, OperatorMatrix):
            return _operator_damping(self, matrix, state, derivatives)
        if not isinstance(matrix, DenseMatrix) or matrix.own is None:
            raise UnsupportedCurvatureError(
                "Bounded damping needs the samples' own matrices, which this curvature does not form. Use "
                "nlcore.Relative(0.1)."
            )
        if state is None or state.age == 0:
            rho = bounded_rho(
                matrix.mean,
                matrix.own,
                matrix.mean_curvature,
                matrix.samples,
                limit=self.limit,
                quantile=self.quantile,
            )
            own = torch.isinf(rho)
            rho = torch.where(own, self.per_sample_rho, rho)
            if self.validated and derivatives is not None and derivatives.features is not None:
                waits = own.device.type == "cpu" and not torch.compiler.is_compiling()
                chosen = matrix.own if waits and bool(own) else matrix.mean
                used = chosen if waits else torch.where(own, matrix.own, matrix.mean)
                rho = torch.maximum(rho, validated_rho(used, matrix.mean_curvature, matrix.samples, derivatives))
            state = DampingState(rho, own, 0)
        strength = damping_strength(state.rho, matrix.mean_curvature, matrix.largest)
        return Damped(strength, state.own, replace(state, age=(state.age + 1) % self.refresh))


Damping: TypeAlias = float | DampingRule


@dataclass(frozen=True, slots=True)
class DampingState:
    """The state of a rule of damping between the steps of a `NewtonLoss`; checkpoints save it.

    Attributes:
        rho: [], the ρ in use.
        own: [] bool, whether each sample's own matrix is used.
        age: Steps since ρ was chosen.
    """

    rho: Tensor
    own: Tensor
    age: int


@dataclass(frozen=True, slots=True)
class Damped:
    """A choice of damping.

    Attributes:
        strength: [], λ in units of the matrix.
        own: [] bool, whether each sample's own matrix is used; `None` where the options say so.
        state: The state for the next choice.
    """

    strength: Tensor
    own: Tensor | None = None
    state: DampingState | None = None


def choose_damping(
    damping: Damping,
    matrix: CurvatureMatrix,
    state: DampingState | None = None,
    derivatives: Derivatives | None = None,
) -> Damped:
    """Return λ for a curvature matrix.

    Args:
        damping: The number or rule.
        matrix: C.
        state: The state after an earlier step of the same training.
        derivatives: Value and gradient, by which `Bounded(validated=True)` sees noise.
    """
    if isinstance(damping, DampingRule):
        return damping.choose(matrix, state, derivatives)
    strength = torch.full_like(matrix.mean_curvature, damping)
    return Damped(strength if matrix.unit is None else strength / matrix.unit)


def rho_of_noise(matrix: DenseMatrix | OperatorMatrix, derivatives: Derivatives) -> Tensor:
    """Return the ρ of least generalised cross-validation for one matrix for all samples, []."""
    if isinstance(matrix, DenseMatrix):
        return validated_rho(matrix.mean, matrix.mean_curvature, matrix.samples, derivatives)
    scales = matrix.mean_curvature, matrix.largest
    strengths = damping_strength(matrix.mean_curvature.new_tensor(VALIDATED), *scales)
    return validated_rho_by_solves(matrix, derivatives, strengths, damping_strength(0.0, *scales))


def _operator_damping(
    damping: Bounded, matrix: OperatorMatrix, state: DampingState | None, derivatives: Derivatives | None
) -> Damped:
    """Return the smallest candidate ρ, or that of cross-validation; one matrix for all samples amplifies nothing."""
    if state is None or state.age == 0:
        rho = torch.full_like(matrix.mean_curvature, min(CANDIDATES))
        if damping.validated and derivatives is not None and derivatives.features is not None:
            rho = torch.maximum(rho, rho_of_noise(matrix, derivatives))
        state = DampingState(rho, torch.zeros_like(rho, dtype=torch.bool), 0)
    strength = damping_strength(state.rho, matrix.mean_curvature, matrix.largest)
    return Damped(strength, None, replace(state, age=(state.age + 1) % damping.refresh))


def check_damping(damping: object, owner: str, *, own_matrices: bool = True) -> None:
    """Refuse what is not a damping.

    Raises:
        ConfigError: `damping` is neither a finite number ≥ 0 nor one of the rules.
    """
    if is_number(damping) and 0 <= damping < math.inf:  # type: ignore[operator]
        return
    if isinstance(damping, DampingRule):
        if own_matrices or not damping.needs_own:
            return
        raise ConfigError(
            f"{owner}(damping={damping!r}): this rule needs the samples' own matrices, which a Fisher matrix does not "
            f"form. Use nlcore.Relative(1.0)."
        )
    rules = "nlcore.Relative(ρ) for λ = ρ·|tr C|/m" + (", or nlcore.Bounded()" if own_matrices else "")
    raise ConfigError(f"{owner}(damping={damping!r}): damping is a number λ ≥ 0, as in the paper, or {rules}.")


def damping_strength(rho: float | Tensor, mean_curvature: Tensor, largest: Tensor) -> Tensor:
    """Return λ = ρ·|tr C|/m, one where C is zero, and never so small that float64 could not invert C + λI.

    Args:
        rho: ρ, a number, [] or [r].
        mean_curvature: [], |tr C|/m.
        largest: [], the largest absolute entry of C.

    Returns:
        The λ of each ρ, of the dtype and device of `mean_curvature`.
    """
    strength = torch.maximum(rho * mean_curvature, _FLOOR * largest)
    return torch.where(strength > 0, strength, 1.0)
