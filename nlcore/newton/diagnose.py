"""What to expect of curvature for a loss, said before any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found; see `diagnose`."""

    verdict: str


def diagnose(
    loss: Any, prediction: Tensor, target: Any, *, weight: Tensor | None = None, mask: Tensor | None = None
) -> Diagnosis:
    """Say before any training what curvature will do for a loss."""
    raise NotImplementedError("The measurements follow.")
