"""Comparison of the values of a loss at one batch and at another."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.evaluation import Evaluation, per_sample

__all__ = ["differs", "example", "scale", "widest"]

_ROUNDING = 1e-5
"""Relative change of a sample's loss that rounding explains, between two evaluations of one batch."""


def differs(one: Tensor, other: Tensor) -> bool:
    """Return whether the loss of a sample differs between two evaluations, [N] each, by more than rounding."""
    gap = (one - other).abs()
    size = torch.maximum(one.abs(), other.abs()).clamp(min=float(one.abs().mean().nan_to_num(posinf=0.0)))
    return bool((gap > _ROUNDING * size).any())


def example(one: Tensor, other: Tensor) -> str:
    """Return the two values, [N] each, of the sample that differs most."""
    place = int((one - other).abs().nan_to_num().argmax())
    return f"{float(one[place]):.6g}, then {float(other[place]):.6g}"


def scale(evaluation: Evaluation, flat: Tensor) -> Tensor:
    """Return the mean size of the outputs that are finite and not padded, [], at least 1e-3."""
    size = flat.abs().nan_to_num(posinf=0.0)
    if evaluation.mask is None:
        return size.mean().clamp(min=1e-3)
    keep = ~per_sample(evaluation.mask)
    return (torch.where(keep, size, 0.0).sum() / keep.sum().clamp(min=1)).clamp(min=1e-3)


def widest(evaluation: Evaluation, flat: Tensor) -> tuple[Evaluation, Tensor]:
    """Return loss and prediction in float64, or as they are where the loss is written for one precision."""
    try:
        wide = evaluation.in_dtype(torch.float64)
        with torch.no_grad():
            wide.value(flat.double())
    except Exception:  # such a loss may raise anything
        return evaluation, flat
    return wide, flat.double()
