"""Cells that an alignment may visit: lengths of the series, and bands."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nlcore_sequences.config import Band

__all__ = ["Limits", "bounds_of"]


class Limits(NamedTuple):
    """A band.

    Attributes:
        band: Its kind; `None` for all cells.
        radius: Of `"sakoe_chiba"`.
        slope: Of `"itakura"`.
    """

    band: Band | None = None
    radius: int = 0
    slope: float = 2.0


def bounds_of(lengths: Tensor, n: int, limits: Limits) -> Tensor:
    """Return the first and the last j that may be paired with every i, both without decrease in i.

    The Sakoe–Chiba band has the cells whose shift j − i differs by at most the radius from a shift between 0 and the
    difference of the lengths. The Itakura parallelogram has the cells that paths between the corners can visit whose
    slope, relative to the straight line between them, is at most `slope` and at least 1/`slope`.

    Args:
        lengths: [batch, 2] int64, of both series.
        n: Number of i, of which those from lengths[:, 0] on are paired with no j.
        limits: The band.

    Returns:
        [batch, n, 2] int64.
    """
    i = torch.arange(n, device=lengths.device)
    rows, columns = lengths[:, :1], lengths[:, 1:]
    low, high = columns.new_zeros(()), columns - 1
    if limits.band == "sakoe_chiba":
        shift = columns - rows
        low, high = i - limits.radius + shift.clamp(max=0), i + limits.radius + shift.clamp(min=0)
    elif limits.band == "itakura":
        low, high = _parallelogram(i, rows - 1, columns - 1, limits.slope)
    inside = i < rows
    low, high = low.clamp(min=0), torch.minimum(high, columns - 1)
    return torch.stack([torch.where(inside, low, torch.iinfo(low.dtype).max // 4), torch.where(inside, high, -1)], -1)


def _parallelogram(i: Tensor, last_i: Tensor, last_j: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper side of a parallelogram between the corners, rounded to the inside."""
    share = i.double() / last_i.clamp(min=1)
    fast, slow = slope * share, share / slope
    low = torch.maximum(slow, 1 - slope * (1 - share)) * last_j
    high = torch.minimum(fast, 1 - (1 - share) / slope) * last_j
    single = last_i == 0
    low, high = torch.where(single, 0.0, low), torch.where(single, last_j.double(), high)
    return (low - 1e-9).ceil().long(), (high + 1e-9).floor().long()
