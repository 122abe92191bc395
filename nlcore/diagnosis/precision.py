"""Precision of a loss in float32: its gradient there against the one in float64, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["WRONG_ALLOWED", "Precision", "precision_figures", "widest_spread"]

WRONG_ALLOWED = 0.01
"""Share of samples with a wrong float32 gradient above which the verdict is to fix the loss."""

_WRONG, _EXPLODING = 1e-2, 100.0
_NEGLIGIBLE = 1e-3
"""A gradient below this share of the median is nothing to be right about."""

_SPREADS = (3.0, 10.0, 30.0)

Gradients = Callable[[Tensor, torch.dtype], tuple[Tensor, Tensor]]
"""Maps outputs [N, m] and a precision to losses [N] and gradients [N, m] computed in it."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How float32 compares with float64.

    Attributes:
        gradient_error: Largest relative error of a sample's gradient.
        value_error: Largest relative error of a sample's loss.
        wrong: Share of the samples whose gradient is off by more than 1 %, or is not finite.
        vanished: Share whose gradient is exactly zero in float32 alone.
        exploding: Share whose gradient is a hundred times too long, or not finite, in float32 alone.
    """

    gradient_error: float
    value_error: float
    wrong: float
    vanished: float
    exploding: float


def precision_figures(gradients: Gradients, flat: Tensor) -> Precision | None:
    """Compare the two at the same outputs; `None` where float64 itself gives nothing finite.

    Args:
        gradients: Evaluates the loss.
        flat: [N, m].
    """
    flat = flat.float()
    value, gradient = (found.double() for found in gradients(flat, torch.float32))
    true_value, true_gradient = gradients(flat.double(), torch.float64)
    size, true_size = gradient.norm(dim=1), true_gradient.norm(dim=1)
    known = torch.isfinite(true_value) & torch.isfinite(true_size)
    if not bool(known.any()):
        return None
    typical = float(true_size[known].median())
    scale = true_size.clamp(min=max(_NEGLIGIBLE * typical, 1e-30))
    error = torch.nan_to_num((gradient - true_gradient).norm(dim=1) / scale, nan=torch.inf)[known]
    value_scale = true_value.abs().clamp(min=max(_NEGLIGIBLE * float(true_value[known].abs().median()), 1e-30))
    value_error = torch.nan_to_num((value - true_value).abs() / value_scale, nan=torch.inf)[known]
    vanished = (size == 0) & (true_size > _NEGLIGIBLE * typical)
    exploding = ~(size <= _EXPLODING * scale)
    return Precision(
        gradient_error=float(error.amax()),
        value_error=float(value_error.amax()),
        wrong=float((error > _WRONG).double().mean()),
        vanished=float(vanished[known].double().mean()),
        exploding=float(exploding[known].double().mean()),
    )


def widest_spread(gradients: Gradients, flat: Tensor) -> float | None:
    """Return how many times wider the outputs may become before float32 goes wrong; `None` for thirty times at least.

    Args:
        gradients: Evaluates the loss.
        flat: [N, m]; it is right there.
    """
    centre = flat.mean(0, keepdim=True)
    for spread in _SPREADS:
        try:
            found = precision_figures(gradients, centre + spread * (flat - centre))
        except Exception:  # outputs so wide may be outside what the loss accepts, which it may say as it likes
            return None
        if found is None:
            return None
        if found.wrong > WRONG_ALLOWED:
            return spread
    return None
