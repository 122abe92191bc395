"""The product of the layers of a sorting network, block by block, with its first derivative.

A layer with weights w makes a + w·(b − a) and b − w·(b − a) of the halves a and b of the places. Its matrix is
symmetric, so the derivative by what comes in is that by what goes out, sent through the layer likewise. With g, the
half a of the latter minus its half b, the derivative by w is the sum of g·(b − a) over the columns. Lists and columns
do not mix: the backward pass sends a block of them through all layers anew, while it is in the cache, and only the
weights have to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nlcore_sorting._strides import Halves

__all__ = ["exchange", "matrix", "matrix_slopes", "mix", "mix_slopes"]

_STATE = 1 << 16
"""Numbers that an operation of the forward pass works on; more would not stay in the cache, fewer cost more calls."""

_STEPS = 1 << 22
"""Differences that a block of the backward pass holds."""

_SECTION = 16
"""Layers whose derivatives are summed at once: in one call, but before they have left the cache."""

_NARROW = 16
"""Columns that a block has at least."""


def exchange(a: Tensor, b: Tensor, weight: Tensor, room: Tensor) -> None:
    """Mix two halves in place, exactly where a weight is 0 or 1; `room` is like one of them."""
    torch.lerp(a, b, weight, out=room)
    torch.lerp(b, a, weight, out=b)
    a.copy_(room)


def mix(layers: Halves, state: Tensor, weights: Tensor) -> None:
    """Send `state` [places, ...] through all layers, in place; `weights` [layers, *pairs, ...] broadcast."""
    room = state.new_empty(*layers.pairs, *state.shape[1:])
    for (a, b), weight in zip(layers.of(state), weights.unbind(), strict=True):
        exchange(a, b, weight, room)


def mix_slopes(layers: Halves, state: Tensor, pull: Tensor, weights: Tensor, *, dim: int, room: Tensor) -> Tensor:
    """Return the derivative of `mix` by the weights, [layers, *pairs, lists].

    Args:
        layers: The network.
        state: [places, ...], what comes in, lists times columns of it; used up.
        pull: Like `state`, the derivative by what goes out; used up.
        weights: [layers, *pairs, ...], broadcast to the columns.
        dim: Where the columns are.
        room: For the differences b − a of all layers, or more.
    """
    count, shape = len(weights), (*layers.pairs, *state.shape[1:])
    steps = room[: count * math.prod(shape)].view(count, *shape)
    for (a, b), weight, step in zip(layers.of(state), weights.unbind(), steps.unbind(), strict=True):
        torch.sub(b, a, out=step)
        a.addcmul_(step, weight)
        b.addcmul_(step, weight, value=-1)
    slopes = weights.new_empty(weights.squeeze(dim).shape)
    pulls = state.new_empty(min(count, _SECTION), *shape)
    backwards = list(zip(layers.of(pull), weights.unbind(), strict=True))
    for last in range(count, 0, -_SECTION):
        first = max(0, last - _SECTION)
        section = pulls[: last - first]
        for ((a, b), weight), g in zip(backwards[first:last][::-1], section.unbind()[::-1], strict=True):
            torch.sub(a, b, out=g)
            a.addcmul_(g, weight, value=-1)
            b.addcmul_(g, weight)
        torch.sum(section.mul_(steps[first:last]), dim, out=slopes[first:last])
    return slopes


def matrix(layers: Halves, weights: Tensor, n: int) -> Tensor:
    """Return what the layers make of the identity, [lists, n, n], from `weights` [layers, *pairs, lists]."""
    lists = weights.shape[-1]
    whole = weights.new_empty(0)
    for some, columns, dim in _blocks(weights, n, _STATE // max(1, layers.numbers())):
        state = _identity(layers, weights[..., some], columns, dim)
        mix(layers, state, weights[..., some].unsqueeze(dim))
        block = state[:n].movedim(dim, -1).transpose(0, 1)
        if block.shape == (lists, n, n):
            return block
        if not whole.numel():
            whole = weights.new_empty(lists, n, n)
        whole[some, :, columns] = block
    return whole


def matrix_slopes(layers: Halves, weights: Tensor, grads: Tensor) -> Tensor:
    """Return the derivative by the weights, given that by the matrix, `grads` [lists, n, n]."""
    n = grads.shape[-1]
    size = len(weights) * layers.numbers()
    total = torch.zeros_like(weights)
    room = weights.new_empty(0)  # fresh memory for every block would cost more than the sums
    for some, columns, dim in _blocks(weights, n, _STEPS // max(1, size)):
        state = _identity(layers, weights[..., some], columns, dim)
        pull = torch.zeros_like(state)
        pull[:n] = grads[some, :, columns].transpose(0, 1).movedim(-1, dim)
        if not room.numel():
            room = weights.new_empty(size * state[0].numel())
        total[..., some] += mix_slopes(layers, state, pull, weights[..., some].unsqueeze(dim), dim=dim, room=room)
    return total


def _blocks(weights: Tensor, n: int, numbers: int) -> Iterator[tuple[slice, slice, int]]:
    """Return blocks of some `numbers` of lists times columns, and where their columns are, −2 before the lists or −1.

    What there is more of comes last, for the sake of long inner loops. Other devices than the CPU take all at once, up
    to a thousand times as much.
    """
    lists = weights.shape[-1]
    if weights.device.type != "cpu":
        numbers <<= 10
    width = min(n, max(numbers, _NARROW))
    count = min(lists, max(1, numbers // width))
    for low in range(0, lists, count):
        high = min(low + count, lists)
        for first in range(0, n, width):
            last = min(first + width, n)
            yield slice(low, high), slice(first, last), -2 if high - low >= last - first else -1


def _identity(layers: Halves, weights: Tensor, columns: slice, dim: int) -> Tensor:
    """Return columns of the identity, [places, columns, lists], or [places, lists, columns] with `dim` −1."""
    shape = [columns.stop - columns.start, weights.shape[-1]]
    state = weights.new_zeros(layers.places, *(shape if dim == -2 else shape[::-1]))
    state[columns].diagonal(0, 0, dim).fill_(1)
    return state
