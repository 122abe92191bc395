"""Derivatives by central differences, and their comparison with what a loss says they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nlcore.testing.checks.comparison import difference
from nlcore.testing.subject import Subject

__all__ = ["along", "directions", "mismatch"]

_MOST = 16
"""Coordinates that are differentiated along; those of larger events are spread evenly."""

_STEPS = {torch.float64: (1e-5, 1e-6, 1e-4), torch.float32: (3e-3, 1e-2, 1e-3)}
"""Step sizes in units of the prediction, tried until one fits: a kink that one of them straddles is no fault."""


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
        subject: Its precision tells the step sizes and what is allowed.
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
