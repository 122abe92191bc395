"""The Hessian of a sorting network's loss: compiled, or by automatic differentiation where no kernel can serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from nlcore_sorting._compiled.network_hessian import hessians as compiled_hessians
from nlcore_sorting._compiled.network_kernel import NetworkKernel
from nlcore_sorting._dispatch import serves
from nlcore_sorting._network.cross_entropy import LEAST
from nlcore_sorting._network.wiring import depth
from nlcore_sorting.config import Objective

__all__ = ["hessians"]

Given: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Scores [batch, n], the places of the items, and the lengths of the lists, if they differ."""

_NUMBERS = 1 << 23
"""Numbers that the layers of the logarithms of P, one for every direction of differentiation, may hold at a time."""


def hessians(
    kernel: NetworkKernel, objective: Objective, loss: Callable[[Tensor, Tensor, Tensor | None], Tensor], given: Given
) -> Tensor:
    """Return the Hessian of every list's loss, [batch, n, n].

    Args:
        kernel: Of the network.
        objective: Which loss.
        loss: The same from the logarithm of P, for lists that have lost digits, and where Hessians are differentiated.
        given: Scores, places and lengths.
    """
    scores, target, length = given
    if (scores.requires_grad and torch.is_grad_enabled()) or not serves(scores):
        return _differentiated(loss, given, depth(kernel.network, scores.shape[-1]))
    batch, n = scores.shape
    lists, (network, rule) = scores.detach().resolve_neg().double(), kernel.options(batch, n)
    result, least = lists.new_empty(batch, n, n), lists.new_empty(batch)
    compiled_hessians(
        lists.numpy(), network, rule, objective == "entries", target.numpy(), result.numpy(), least.numpy()
    )
    lost = (least < LEAST).nonzero().squeeze(-1)
    if lost.numel():
        some = (scores[lost], target[lost], None if length is None else length[lost])
        result[lost] = _differentiated(loss, some, depth(kernel.network, n)).to(result.dtype)
    return result


def _differentiated(loss: Callable[[Tensor, Tensor, Tensor | None], Tensor], given: Given, layers: int) -> Tensor:
    """Return the Hessians from derivatives of derivatives, some lists at a time."""
    scores, target, length = given
    size = max(1, _NUMBERS // (layers * scores.shape[-1] ** 3))
    pieces = torch.split(scores, size), torch.split(target, size)
    lengths = [None] * len(pieces[0]) if length is None else torch.split(length, size)
    found = [_of_some(loss, piece) for piece in zip(*pieces, lengths, strict=True)]
    return found[0] if len(found) == 1 else torch.cat(found)


def _of_some(loss: Callable[[Tensor, Tensor, Tensor | None], Tensor], given: Given) -> Tensor:
    scores, target, length = given

    def slope(s: Tensor) -> Tensor:
        value, pull = torch.func.vjp(lambda s: loss(s, target, length), s)[:2]
        result: Tensor = pull(torch.ones_like(value))[0]
        return result

    pull = torch.func.vjp(slope, scores)[1]
    basis = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(basis.unsqueeze(1).expand(-1, *scores.shape))
    return rows.transpose(0, 1)
