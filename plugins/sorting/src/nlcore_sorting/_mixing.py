"""The product of the layers of a sorting network, with memory for the weights alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore_sorting._served import has_memory

__all__ = ["mixed"]

_SMALL = 1 << 18
"""Numbers that all layers together may hold; from there on computing them anew is as fast as keeping them."""

_BLOCK = 1 << 22
"""Numbers that are held at a time while they are computed anew, some lists and columns."""


def mixed(swaps: Tensor, partners: Tensor) -> Tensor:
    """Return the matrix that the layers of a network make of the identity.

    Every layer replaces row i by (1 − w_i)·row i + w_i·row p_i, p_i the partner of place i, which has the same weight.
    A few numbers are left to automatic differentiation. For more the backward pass computes the matrix anew, some lists
    or columns at a time; neither mix, so that only the weights have to be kept, O(layers·n) a list. Second derivatives
    are those of automatic differentiation, with its memory.

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
        # The derivative may be going to be differentiated, may be under a transform, or may be many at once.
        if torch.is_grad_enabled() or not has_memory(grads[0]):
            pull = torch.func.vjp(lambda weights: _product(weights, partners, 0, n), swaps)[1]
            return pull(grads[0])[0], None
        flat = swaps.reshape(*swaps.shape[:2], -1)
        return _slopes(flat, partners, grads[0].reshape(n, -1, n)).view(swaps.shape), None


def _slopes(swaps: Tensor, partners: Tensor, grads: Tensor) -> Tensor:
    """Return the derivative by every weight [layers, n, batch], given that by the matrix, `grads` [n, batch, n]."""
    layers, n, batch = swaps.shape
    lists = max(1, min(batch, _BLOCK // (layers * n * n)))
    width = max(1, min(n, _BLOCK // (layers * n)))
    total = torch.zeros_like(swaps)
    room = swaps.new_empty(layers + 3, n, lists, width)  # fresh memory for every block would cost more than the sums
    for low in range(0, batch, lists):
        high = min(low + lists, batch)
        weights = swaps[:, :, low:high].unsqueeze(-1)
        for first in range(0, n, width):
            last = min(first + width, n)
            block = room[:, :, : high - low, : last - first]
            block[0].copy_(_columns(swaps[:, :, low:high], first, last))
            block[1].copy_(grads[:, low:high, first:last])
            _add_slopes(total[:, :, low:high], weights.unbind(), partners.unbind(), block)
    return total


def _add_slopes(total: Tensor, weights: tuple[Tensor, ...], partners: tuple[Tensor, ...], block: Tensor) -> None:
    """Add the derivative by every weight of some columns to `total`.

    `block` begins with the columns and the derivative by what becomes of them, and has room for the rest.
    """
    state, grad, product, *steps = block.unbind()
    for weight, partner, step in zip(weights, partners, steps, strict=True):
        torch.sub(state.index_select(0, partner), state, out=step)
        state.addcmul_(step, weight)
    for layer in range(len(weights) - 1, -1, -1):
        # A row's own weight moves that row alone; the two rows of a pair have one weight each.
        total[layer] += torch.mul(grad, steps[layer], out=product).sum(dim=-1)
        grad.lerp_(grad.index_select(0, partners[layer]), weights[layer])
