"""Comparison of tensors, and of derivatives with central differences; a finding says where they differ most."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nlcore.testing.check import fail
from nlcore.testing.subject import Subject

__all__ = ["along", "compare", "difference", "directions", "mismatch"]

_MOST = 16
"""Coordinates that are differentiated along; those of larger events are spread evenly."""

_STEPS = {torch.float64: (1e-5, 1e-6, 1e-4), torch.float32: (3e-3, 1e-2, 1e-3)}
"""Step sizes in units of the prediction, tried until one fits: one of them may straddle a kink."""


def difference(found: Tensor, wanted: Tensor, allowed: Tensor | float) -> str:
    """Return where two tensors differ by more than is allowed, or nothing; NaN equals NaN.

    Args:
        found: [batch, …].
        wanted: The same shape.
        allowed: Largest absolute difference, for all or for each entry.
    """
    found, wanted = found.detach().double(), wanted.detach().double()
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    gap = torch.where(same, 0.0, (found - wanted).abs())
    excess = torch.where(gap.isnan(), torch.inf, gap) - allowed
    if not excess.numel() or float(excess.max()) <= 0:
        return ""
    place = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
    entry = f" at {list(place[1:])}" if len(place) > 1 else ""
    where = f"sample {place[0]}{entry}" if place else "it"
    return f"{where}: {float(found[place]):.6g} against {float(wanted[place]):.6g}"


def compare(
    subject: Subject, found: Tensor, wanted: Tensor, what: str, remedy: str, *, tolerance: float | None = None
) -> None:
    """End the check with a finding unless two tensors agree to rounding.

    Args:
        subject: Its precision decides about rounding.
        found: The tensor under test.
        wanted: Its correct value.
        what: The meaning of a difference.
        remedy: How to remove it.
        tolerance: Relative to the largest entry of `wanted`, in place of rounding.
    """
    if found.shape != wanted.shape:
        fail(f"{what}: shape {list(found.shape)} against {list(wanted.shape)}", remedy)
    finite = wanted.detach()[wanted.isfinite()].abs().double()
    scale = float(finite.max()) if finite.numel() else 0.0
    gap = difference(found, wanted, (subject.rounding if tolerance is None else tolerance) * max(scale, 1e-300))
    if gap:
        fail(f"{what} ({gap})", remedy)


def directions(prediction: Tensor) -> Tensor:
    """Return unit vectors along at most 16 coordinates of the event, [r, *event]."""
    event = prediction.shape[1:]
    m = math.prod(event)
    places = torch.linspace(0, m - 1, min(m, _MOST), device=prediction.device).round().long()
    basis = torch.zeros(len(places), m, dtype=prediction.dtype, device=prediction.device)
    basis[torch.arange(len(places)), places] = 1
    return basis.reshape(len(places), *event)


def along(function: Callable[[Tensor], Tensor], prediction: Tensor, vectors: Tensor, step: float) -> Tensor:
    """Return the central differences of a function of the prediction along each direction, [r, *value]."""
    with torch.no_grad():
        ahead = torch.stack([function(prediction + step * one).detach() for one in vectors])
        behind = torch.stack([function(prediction - step * one).detach() for one in vectors])
    return (ahead - behind) / (2 * step)


def mismatch(
    subject: Subject, function: Callable[[Tensor], Tensor], prediction: Tensor, analytic: Tensor, vectors: Tensor
) -> str:
    """Return where derivatives differ from the differences of `function` at every step size, or nothing.

    Args:
        subject: Its precision decides about step sizes and tolerance.
        function: Of the prediction, batch first.
        prediction: [batch, *event].
        analytic: [r, batch, …], the derivatives of the function along each direction.
        vectors: [r, *event].
    """
    scale = float(prediction.abs().max()) if prediction.numel() else 1.0
    scale = scale if math.isfinite(scale) and scale > 0 else 1.0
    size = float(function(prediction).detach().abs().max())
    found = ""
    # Batch first, so that the message names the sample; a sample is judged by its own largest derivative.
    wanted = analytic.transpose(0, 1)
    within = wanted.abs().flatten(1).amax(1).double()
    within = torch.maximum(within, 1e-3 * within.max()).reshape(-1, *[1] * (wanted.ndim - 1))
    for step in _STEPS[subject.widest]:
        h = step * scale
        allowed = subject.tolerance * within + 100 * torch.finfo(subject.widest).eps * size / h
        found = difference(wanted, along(function, prediction, vectors, h).transpose(0, 1), allowed)
        if not found:
            return ""
    return found
