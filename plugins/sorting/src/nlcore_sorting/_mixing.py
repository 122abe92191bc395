"""The product of the layers of a sorting network, with memory for the weights alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["mixed"]

_SMALL = 1 << 24
"""Numbers that all layers together may hold before they are computed anew in the backward pass."""

_BLOCK = 1 << 22
"""Numbers that are held at a time while they are."""


def mixed(swaps: Tensor, partners: Tensor) -> Tensor:
    """Return the matrix that the layers of a network make of the identity.

    Every layer replaces row i by (1 − w_i)·row i + w_i·row p_i, p_i the partner of place i, which has the same weight.
    A short network is left to automatic differentiation. For a long one the backward pass computes the matrix anew, a
    few columns at a time; columns do not mix, so that only the weights have to be kept, O(layers·n) a list. Second
    derivatives are those of automatic differentiation, with its memory.

    Args:
        swaps: [layers, n, ...], the weights.
        partners: [layers, n], int64.

    Returns:
        [n, ..., n].
    """
    if torch.compiler.is_compiling() or swaps.numel() * swaps.shape[1] <= _SMALL:
        return _product(swaps, partners, 0, swaps.shape[1])
    result: Tensor = _Mixed.apply(swaps, partners)  # type: ignore[no-untyped-call]
    return result


def _product(swaps: Tensor, partners: Tensor, first: int, last: int) -> Tensor:
    """Return the columns from `first` up to `last`."""
    state = _columns(swaps, first, last)
    for weight, partner in zip(swaps.unsqueeze(-1).unbind(), partners.unbind(), strict=True):
        state = torch.lerp(state, state.index_select(0, partner), weight)
    return state


def _columns(swaps: Tensor, first: int, last: int) -> Tensor:
    """Return columns of the identity, [n, ..., last − first]."""
    n = swaps.shape[1]
    eye = torch.eye(n, dtype=swaps.dtype, device=swaps.device)[:, first:last]
    return eye.view(n, *[1] * (swaps.ndim - 2), last - first).expand(n, *swaps.shape[2:], last - first)


class _Mixed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(swaps: Tensor, partners: Tensor) -> Tensor:
        return _product(swaps, partners, 0, swaps.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        swaps, partners = ctx.saved_tensors
        n = swaps.shape[1]
        if torch.is_grad_enabled():  # the derivative is going to be differentiated, or under a transform
            pull = torch.func.vjp(lambda weights: _product(weights, partners, 0, n), swaps)[1]
            return pull(grads[0])[0], None
        width = max(1, min(n, _BLOCK // max(1, swaps.numel())))
        total = torch.zeros_like(swaps)
        for first in range(0, n, width):
            last = min(first + width, n)
            _add_slopes(total, swaps, partners, grads[0][..., first:last], first)
        return total, None


def _add_slopes(total: Tensor, swaps: Tensor, partners: Tensor, grad: Tensor, first: int) -> None:
    """Add the derivative by every weight of some columns, whose derivative is given, to `total`."""
    weights, steps = swaps.unsqueeze(-1).unbind(), []
    state = _columns(swaps, first, first + grad.shape[-1])
    for weight, partner in zip(weights, partners.unbind(), strict=True):
        step = state.index_select(0, partner).sub_(state)
        state = torch.addcmul(state, step, weight)
        steps.append(step)
    for layer in range(len(weights) - 1, -1, -1):
        # A row's own weight moves that row alone; the two rows of a pair have one weight each.
        total[layer] += (grad * steps[layer]).sum(dim=-1)
        steps[layer] = state  # let go
        grad = torch.lerp(grad, grad.index_select(0, partners[layer]), weights[layer])
