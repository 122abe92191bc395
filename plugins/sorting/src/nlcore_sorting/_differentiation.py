"""Hessians by automatic differentiation, for losses and lists without a formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from nlcore_sorting._lists import identity_at_padding

__all__ = ["Loss", "differentiated"]

Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A loss of scores [batch, n], ranks of the items [batch, n], and lengths of the lists [batch, 1] if they differ."""

_NUMBERS = 1 << 23
"""Numbers that the matrices of all layers, one for every direction of differentiation, may hold at a time."""


def differentiated(loss: Loss, scores: Tensor, target: Tensor, length: Tensor | None, *, layers: int = 1) -> Tensor:
    """Return the Hessian of every list's loss, [batch, n, n], 0 at padding, some lists at a time.

    Args:
        loss: Differentiable twice.
        scores: [batch, n].
        target: [batch, n], int64.
        length: [batch, 1], or `None`.
        layers: Number of n×n matrices that the loss makes of a list.
    """
    size = max(1, _NUMBERS // (layers * scores.shape[-1] ** 3))
    pieces = torch.split(scores, size), torch.split(target, size)
    lengths = [None] * len(pieces[0]) if length is None else torch.split(length, size)
    found = [_of_some(loss, *piece) for piece in zip(*pieces, lengths, strict=True)]
    result = found[0] if len(found) == 1 else torch.cat(found)
    return identity_at_padding(result, length, on=0.0, off=0.0)


def _of_some(loss: Loss, scores: Tensor, target: Tensor, length: Tensor | None) -> Tensor:
    def slope(s: Tensor) -> Tensor:
        value, pull = torch.func.vjp(lambda s: loss(s, target, length), s)[:2]
        result: Tensor = pull(torch.ones_like(value))[0]
        return result

    pull = torch.func.vjp(slope, scores)[1]
    basis = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(basis.unsqueeze(1).expand(-1, *scores.shape))
    return rows.transpose(0, 1)
