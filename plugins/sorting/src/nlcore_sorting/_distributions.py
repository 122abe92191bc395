"""Distribution functions of soft swaps: the weight of a swap, and its logarithm exact in both tails.

α(d) is the weight of keeping two neighbours in order whose difference, upper minus lower, is d; all distributions are
symmetric, 1 − α(d) = α(−d). A new one is an entry of `DISTRIBUTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DISTRIBUTIONS", "PHI_EPSILON", "SoftSwap"]

PHI_EPSILON = 1e-10


@dataclass(frozen=True, slots=True)
class SoftSwap:
    """A distribution function in the forms that a sorting network uses.

    Attributes:
        swap: 1 − α(x), exact where it is small.
        logs: (log α(x), log(1 − α(x))), exact where either is small or near 0.
        slope: The derivative of `swap`.
        activation: Maps (d, steepness, art_lambda) to x; βd by default.
        stretch: The derivative of `activation` with respect to d.
    """

    swap: Callable[[Tensor], Tensor]
    logs: Callable[[Tensor], tuple[Tensor, Tensor]]
    slope: Callable[[Tensor], Tensor]
    activation: Callable[[Tensor, float | Tensor, float], Tensor] = lambda d, steepness, art_lambda: d * steepness
    stretch: Callable[[Tensor, float | Tensor, float], Tensor | float] = lambda d, steepness, art_lambda: steepness


def _logistic_swap(x: Tensor) -> Tensor:
    return torch.sigmoid(-x)


def _logistic_logs(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.logsigmoid(x), F.logsigmoid(-x)


def _logistic_slope(x: Tensor) -> Tensor:
    return -torch.sigmoid(x) * torch.sigmoid(-x)


def _phi(d: Tensor, steepness: float | Tensor, art_lambda: float) -> Tensor:
    return d * steepness / (d.abs() + PHI_EPSILON) ** art_lambda


def _phi_stretch(d: Tensor, steepness: float | Tensor, art_lambda: float) -> Tensor:
    shifted = d.abs() + PHI_EPSILON
    return steepness * (PHI_EPSILON + (1 - art_lambda) * d.abs()) / shifted ** (art_lambda + 1)


def _cauchy_tail(m: Tensor) -> Tensor:
    """½ − atan(m)/π, as the angle of (m, 1), which is exact where it is small."""
    return torch.atan2(torch.ones_like(m), m) / math.pi


def _cauchy_slope(x: Tensor) -> Tensor:
    return (-1 / math.pi) / (1 + x.square())


def _cauchy_log_tail(m: Tensor) -> Tensor:
    """Far out the tail is 1/(πm), and the logarithm of that has a derivative that does not underflow."""
    far = torch.finfo(m.dtype).eps ** -0.5
    near = _cauchy_tail(m.clamp(max=far)).log()
    return torch.where(m > far, -m.clamp(min=1.0).log() - math.log(math.pi), near)


def _reciprocal_tail(m: Tensor) -> Tensor:
    """½ − m/(1 + 2m)."""
    return 0.5 / (1 + 2 * m)


def _reciprocal_slope(x: Tensor) -> Tensor:
    return -1 / (1 + 2 * _magnitude(x)[1]).square()


def _reciprocal_log_tail(m: Tensor) -> Tensor:
    return -torch.log1p(2 * m) - math.log(2)


def _optimal_tail(m: Tensor) -> Tensor:
    """½ − m up to m = ¼, from there on 1/(16m)."""
    return torch.where(m > 0.25, 0.0625 / m.clamp(min=0.25), 0.5 - m)


def _optimal_slope(x: Tensor) -> Tensor:
    """−1 up to |x| = ¼, from there on −1/(4x)²."""
    return -1 / (4 * x).abs().clamp(min=1.0).square()


def _optimal_log_tail(m: Tensor) -> Tensor:
    far = -m.clamp(min=0.25).log() - math.log(16)
    return torch.where(m > 0.25, far, (0.5 - m.clamp(max=0.25)).log())


def _gaussian_tail(m: Tensor) -> Tensor:
    """1 − Φ(m)."""
    return 0.5 * torch.erfc(m * math.sqrt(0.5))


def _gaussian_slope(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / -math.sqrt(2 * math.pi)


def _gaussian_log_tail(m: Tensor) -> Tensor:
    """−m²/2 and the logarithm of the Mills ratio over √(2π).

    Far out the asymptotic series has more correct digits than the derivatives of erfcx, in which terms cancel.
    """
    near = torch.special.erfcx(m.clamp(max=40.0) * math.sqrt(0.5)).log() - math.log(2)
    inverse = m.clamp(min=40.0).reciprocal().square()
    series = -inverse * (1 - inverse * (3 - inverse * (15 - inverse * 105)))
    far = torch.log1p(series) - m.clamp(min=40.0).log() - 0.5 * math.log(2 * math.pi)
    return torch.where(m > 40.0, far, near) - 0.5 * m.square()


def _heavy(
    tail: Callable[[Tensor], Tensor], log_tail: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]
) -> SoftSwap:
    """Return the symmetric distribution with the given tail, and its logarithm, at m ≥ 0."""

    def swap(x: Tensor) -> Tensor:
        below, m = _magnitude(x)
        small = tail(m)
        return torch.where(below, 1 - small, small)

    def logs(x: Tensor) -> tuple[Tensor, Tensor]:
        below, m = _magnitude(x)
        small, large = log_tail(m), torch.log1p(-tail(m))
        return torch.where(below, small, large), torch.where(below, large, small)

    return SoftSwap(swap, logs, slope)


def _magnitude(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x < 0 and |x|, the latter with derivative 1 at 0: with 0 there, equal scores would have no gradient."""
    below = x < 0
    return below, torch.where(below, -x, x)


DISTRIBUTIONS: dict[str, SoftSwap] = {
    # The angle of (x, 1) is exact on both sides; no case distinction is needed.
    "cauchy": SoftSwap(_cauchy_tail, _heavy(_cauchy_tail, _cauchy_log_tail, _cauchy_slope).logs, _cauchy_slope),
    "gaussian": _heavy(_gaussian_tail, _gaussian_log_tail, _gaussian_slope),
    "logistic": SoftSwap(_logistic_swap, _logistic_logs, _logistic_slope),
    "logistic_phi": SoftSwap(_logistic_swap, _logistic_logs, _logistic_slope, _phi, _phi_stretch),
    "optimal": _heavy(_optimal_tail, _optimal_log_tail, _optimal_slope),
    "reciprocal": _heavy(_reciprocal_tail, _reciprocal_log_tail, _reciprocal_slope),
}
