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

__all__ = ["DISTRIBUTIONS", "SoftSwap"]

_PHI_EPSILON = 1e-10


@dataclass(frozen=True, slots=True)
class SoftSwap:
    """A distribution function in the forms that a sorting network needs.

    Attributes:
        swap: 1 − α(x), exact where it is small.
        logs: (log α(x), log(1 − α(x))), exact where either is small or near 0.
        activation: Maps (d, steepness, art_lambda) to x; the product βd unless told.
    """

    swap: Callable[[Tensor], Tensor]
    logs: Callable[[Tensor], tuple[Tensor, Tensor]]
    activation: Callable[[Tensor, float, float], Tensor] = lambda d, steepness, art_lambda: d * steepness


def _logistic_swap(x: Tensor) -> Tensor:
    return torch.sigmoid(-x)


def _logistic_logs(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.logsigmoid(x), F.logsigmoid(-x)


def _phi(d: Tensor, steepness: float, art_lambda: float) -> Tensor:
    return d * steepness / (d.abs() + _PHI_EPSILON) ** art_lambda


def _cauchy_tail(m: Tensor) -> tuple[Tensor, Tensor]:
    """½ − atan(m)/π, as atan(1/m)/π; far out its logarithm is that of 1/(πm), whose derivative does not underflow."""
    far = torch.finfo(m.dtype).eps ** -0.5
    tail = torch.atan2(torch.ones_like(m), m) / math.pi
    near = tail.clamp(min=math.atan2(1.0, far) / math.pi).log()
    return tail, torch.where(m > far, -m.clamp(min=1.0).log() - math.log(math.pi), near)


def _reciprocal_tail(m: Tensor) -> tuple[Tensor, Tensor]:
    """½ − m/(1 + 2m) = ½/(1 + 2m)."""
    return 0.5 / (1 + 2 * m), -math.log(2) - torch.log1p(2 * m)


def _optimal_tail(m: Tensor) -> tuple[Tensor, Tensor]:
    """½ − m up to m = ¼, from there on 1/(16m)."""
    far = 16 * m.clamp(min=0.25)
    near = 0.5 - m.clamp(max=0.25)
    outside = m > 0.25
    return torch.where(outside, 1 / far, near), torch.where(outside, -far.log(), near.log())


def _heavy(tail: Callable[[Tensor], tuple[Tensor, Tensor]]) -> SoftSwap:
    """Return the symmetric distribution whose tail at m ≥ 0, and its logarithm, are `tail(m)`."""

    def magnitude(x: Tensor) -> tuple[Tensor, Tensor]:
        below = x < 0  # not x.abs(): at 0 its derivative would be 0, and equal scores would feel nothing
        return below, torch.where(below, -x, x)

    def swap(x: Tensor) -> Tensor:
        below, m = magnitude(x)
        small = tail(m)[0]
        return torch.where(below, 1 - small, small)

    def logs(x: Tensor) -> tuple[Tensor, Tensor]:
        below, m = magnitude(x)
        small, log_small = tail(m)
        log_large = torch.log1p(-small)
        return torch.where(below, log_small, log_large), torch.where(below, log_large, log_small)

    return SoftSwap(swap, logs)


DISTRIBUTIONS: dict[str, SoftSwap] = {
    "cauchy": _heavy(_cauchy_tail),
    "logistic": SoftSwap(_logistic_swap, _logistic_logs),
    "logistic_phi": SoftSwap(_logistic_swap, _logistic_logs, _phi),
    "optimal": _heavy(_optimal_tail),
    "reciprocal": _heavy(_reciprocal_tail),
}
