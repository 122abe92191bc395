"""Compares tensors and says where they differ most."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.testing.check import fail
from nlcore.testing.subject import Subject

__all__ = ["compare", "difference"]


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
        subject: Its precision tells what rounding is.
        found: What is judged.
        wanted: What it should be.
        what: What it means that they differ.
        remedy: What to do.
        tolerance: Relative to the largest entry of `wanted`, in place of rounding.
    """
    if found.shape != wanted.shape:
        fail(f"{what}: shape {list(found.shape)} against {list(wanted.shape)}", remedy)
    finite = wanted.detach()[wanted.isfinite()].abs().double()
    scale = float(finite.max()) if finite.numel() else 0.0
    gap = difference(found, wanted, (subject.rounding if tolerance is None else tolerance) * max(scale, 1e-300))
    if gap:
        fail(f"{what} ({gap})", remedy)
