"""How much of the identity is added to a curvature matrix, so that its inverse is tame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ConfigError

__all__ = ["Damping", "Relative", "check_damping", "damping_strength"]

_FLOOR = 1e-12
"""Smallest λ of a relative damping, as a share of the largest entry of C: below it float64 cannot invert."""


@dataclass(frozen=True, slots=True)
class Relative:
    """Damping in units of the curvature itself: λ = ρ·|tr C|/m.

    The trace over the number of outputs is the mean curvature along an output, so ρ means the same for every
    algorithm, size and scale of the loss. Where the trace is zero the direction is the gradient.

    Args:
        rho: ρ > 0; 0.1 to 1 is safe for a Fisher matrix and for a mean of |H_i|.

    Raises:
        ConfigError: ρ is not a positive finite number.
    """

    rho: float

    def __post_init__(self) -> None:
        if not _is_number(self.rho) or not 0 < self.rho < math.inf:
            raise ConfigError(f"Relative(rho={self.rho!r}): ρ must be a positive finite number, for example 0.1.")


Damping: TypeAlias = float | Relative


def check_damping(damping: object, owner: str) -> None:
    """Refuse what is no damping.

    Raises:
        ConfigError: `damping` is neither a finite number ≥ 0 nor a `Relative`.
    """
    if isinstance(damping, Relative) or (_is_number(damping) and 0 <= damping < math.inf):  # type: ignore[operator]
        return
    raise ConfigError(
        f"{owner}(damping={damping!r}): damping is a number λ ≥ 0, as in the paper, or nlcore.Relative(ρ) "
        f"for λ = ρ·|tr C|/m."
    )


def damping_strength(damping: Damping, mean_curvature: Tensor, largest: Tensor) -> Tensor:
    """Return λ.

    Args:
        damping: What the user chose.
        mean_curvature: [], |tr C|/m.
        largest: [], the largest absolute entry of C.

    Returns:
        [], of the dtype and device of `mean_curvature`.
    """
    if isinstance(damping, Relative):
        strength = torch.maximum(damping.rho * mean_curvature, _FLOOR * largest)
        return torch.where(strength > 0, strength, torch.ones_like(strength))
    return torch.full_like(mean_curvature, damping)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
