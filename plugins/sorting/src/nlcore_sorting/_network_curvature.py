"""The Hessian of a sorting network's loss: compiled, or by automatic differentiation where no kernel can serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from nlcore_sorting._network_kernel import NetworkKernel
from nlcore_sorting._network_loss import LEAST
from nlcore_sorting._numba_hessian import hessians as compiled_hessians
from nlcore_sorting._served import serves
from nlcore_sorting.config import Objective

__all__ = ["hessians"]

Given: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Scores [batch, n], the places of the items, and the lengths of the lists, if they differ."""


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
        return _differentiated(loss, given)
    batch, n = scores.shape
    lists, (network, rule) = scores.detach().resolve_neg().double(), kernel.options(batch, n)
    result, least = lists.new_empty(batch, n, n), lists.new_empty(batch)
    compiled_hessians(
        lists.numpy(), network, rule, objective == "entries", target.numpy(), result.numpy(), least.numpy()
    )
    lost = (least < LEAST).nonzero().squeeze(-1)
    if lost.numel():
        some = (scores[lost], target[lost], None if length is None else length[lost])
        result[lost] = _differentiated(loss, some).to(result.dtype)
    return result


def _differentiated(loss: Callable[[Tensor, Tensor, Tensor | None], Tensor], given: Given) -> Tensor:
    scores, target, length = given

    def slope(s: Tensor) -> Tensor:
        value, pull = torch.func.vjp(lambda s: loss(s, target, length), s)[:2]
        result: Tensor = pull(torch.ones_like(value))[0]
        return result

    pull = torch.func.vjp(slope, scores)[1]
    basis = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(basis.unsqueeze(1).expand(-1, *scores.shape))
    return rows.transpose(0, 1)
