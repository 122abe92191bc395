"""The product of the layers of a sorting network, block by block, with its first derivative.

A layer with weights w makes a + w·(b − a) and b − w·(b − a) of the halves a and b of the places. Its matrix is
symmetric, so the derivative with respect to its input is that with respect to its output, sent through the layer
likewise. With g, half b of the latter minus its half a, the derivative with respect to w is minus the sum of g·(b − a)
over the columns. Lists and columns do not mix: the backward pass sends a block of them through all layers anew, while
it is in the cache, and only the weights have to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from nlcore_sorting._network.halves import Halves

__all__ = ["Weights", "exchange", "matrix", "matrix_slopes", "mix", "mix_slopes", "mix_steps"]

_STATE = 1 << 16
"""Numbers that an operation of the forward pass works on; more would not stay in the cache, fewer cost more calls."""

_STEPS = 1 << 22
"""Differences that a block of the backward pass holds."""

_SECTION = 16
"""Layers whose derivatives are summed at once: in one call, but before they have left the cache."""

_NARROW = 16
"""Columns that a block has at least."""


class Weights(NamedTuple):
    """The weights of all comparators.

    Attributes:
        swap: [layers, *pairs, lists], of swapping.
        keep: Of keeping, where 1 − swap has too few digits; `None` where it has enough.
    """

    swap: Tensor
    keep: Tensor | None = None

    def layers(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return the two layer by layer."""
        keep = repeat(None, len(self.swap)) if self.keep is None else self.keep.unbind()
        return list(zip(self.swap.unbind(), keep, strict=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> Weights:
        """Apply a function to both."""
        return Weights(change(self.swap), None if self.keep is None else change(self.keep))

    def mirrored(self) -> Weights:
        """Return the weights of the layers from the last to the first."""
        return self.map(lambda weight: weight.flip(0))


def exchange(a: Tensor, b: Tensor, swap: Tensor, room: Tensor, keep: Tensor | None = None) -> None:
    """Mix two halves in place, exactly where a weight is 0 or 1; `room` is like one of them."""
    if keep is None:
        torch.lerp(a, b, swap, out=room)
        torch.lerp(b, a, swap, out=b)
    else:
        torch.mul(a, keep, out=room).addcmul_(b, swap)
        b.mul_(keep).addcmul_(a, swap)
    a.copy_(room)


def mix(layers: Halves, state: Tensor, weights: Weights) -> None:
    """Send `state` [places, ...] through all layers, in place; the weights are broadcast."""
    room = state.new_empty(*layers.pairs, *state.shape[1:])
    for (a, b), (swap, keep) in zip(layers.of(state), weights.layers(), strict=True):
        exchange(a, b, swap, room, keep)


def _move(a: Tensor, b: Tensor, weights: tuple[Tensor, Tensor | None], gap: Tensor, room: Tensor | None) -> None:
    """Mix two halves in place, and write b − a to `gap`; `room` is needed with weights of keeping only."""
    torch.sub(b, a, out=gap)
    swap, keep = weights
    if room is None:
        a.addcmul_(gap, swap)
        b.addcmul_(gap, swap, value=-1)
    else:
        exchange(a, b, swap, room, keep)


def mix_steps(layers: Halves, state: Tensor, weights: Weights, steps: Tensor) -> None:
    """Like `mix`; write the differences b − a of all layers to `steps`."""
    room = None if weights.keep is None else torch.empty_like(steps[0])
    for (a, b), weight, step in zip(layers.of(state), weights.layers(), steps.unbind(), strict=True):
        _move(a, b, weight, step, room)


def mix_slopes(layers: Halves, state: Tensor, pull: Tensor, weights: Weights, *, dim: int, room: Tensor) -> Tensor:
    """Return the derivative of `mix` with respect to the weights of swapping, [layers, *pairs, lists].

    Args:
        layers: The network.
        state: [places, ...], the input, lists times columns of it; overwritten.
        pull: Like `state`, the derivative with respect to the output; overwritten.
        weights: Broadcast to the columns.
        dim: Where the columns are.
        room: For the differences b − a of all layers, or more.
    """
    count, shape = len(weights.swap), (*layers.pairs, *state.shape[1:])
    steps = room[: count * math.prod(shape)].view(count, *shape)
    mix_steps(layers, state, weights, steps)
    half = None if weights.keep is None else state.new_empty(shape)
    slopes = steps.new_empty(weights.swap.squeeze(dim).shape)
    pulls = state.new_empty(min(count, _SECTION), *shape)
    backwards = list(zip(layers.of(pull), weights.layers(), strict=True))
    for last in range(count, 0, -_SECTION):
        first = max(0, last - _SECTION)
        section = pulls[: last - first]
        for ((a, b), weight), gap in zip(backwards[first:last][::-1], section.unbind()[::-1], strict=True):
            _move(a, b, weight, gap, half)
        torch.sum(section.mul_(steps[first:last]), dim, out=slopes[first:last])
    return slopes.neg_()


def matrix(layers: Halves, weights: Weights, places: Tensor) -> Tensor:
    """Return what the layers make of unit vectors.

    Args:
        layers: The network.
        weights: For every list.
        places: [lists, k], int64, of the unit vectors.

    Returns:
        [lists, n, k].
    """
    whole = None
    for some, columns, dim in _blocks(weights.swap, places, _STATE // max(1, layers.numbers())):
        block, state = _block(layers, weights, places, (some, columns, dim))
        mix(layers, state, block)
        made = state[: layers.n].movedim(dim, -1).transpose(0, 1)
        if made.shape[::2] == places.shape:
            return made
        if whole is None:
            whole = state.new_empty(len(places), layers.n, places.shape[1])
        whole[some, :, columns] = made
    return places.new_empty(len(places), layers.n, 0, dtype=weights.swap.dtype) if whole is None else whole


def matrix_slopes(layers: Halves, weights: Weights, places: Tensor, grads: Tensor) -> Tensor:
    """Return the derivative with respect to the weights of swapping, given that of `matrix`, [lists, n, k]."""
    size = len(weights.swap) * layers.numbers()
    total = torch.zeros_like(weights.swap)
    room = total.new_empty(0)  # fresh memory for every block would cost more than the sums
    for some, columns, dim in _blocks(weights.swap, places, _STEPS // max(1, size)):
        block, state = _block(layers, weights, places, (some, columns, dim))
        pull = torch.zeros_like(state)
        pull[: layers.n] = grads[some, :, columns].transpose(0, 1).movedim(-1, dim)
        if not room.numel():
            room = state.new_empty(size * state[0].numel())
        total[..., some] += mix_slopes(layers, state, pull, block, dim=dim, room=room)
    return total


def _blocks(weights: Tensor, places: Tensor, numbers: int) -> Iterator[tuple[slice, slice, int]]:
    """Return blocks of some `numbers` of lists times columns, and where their columns are, −2 before the lists or −1.

    The longer dimension comes last, for long inner loops. Other devices than the CPU take all at once, up
    to a thousand times as much.
    """
    lists, n = places.shape
    if weights.device.type != "cpu":
        numbers <<= 10
    width = max(1, min(n, max(numbers, _NARROW)))
    count = min(lists, max(1, numbers // width))
    for low in range(0, lists, count):
        high = min(low + count, lists)
        for first in range(0, n, width):
            last = min(first + width, n)
            yield slice(low, high), slice(first, last), -2 if high - low >= last - first else -1


def _block(layers: Halves, weights: Weights, places: Tensor, block: tuple[slice, slice, int]) -> tuple[Weights, Tensor]:
    """Return the weights of a block, and its unit vectors, [places, columns, lists], or [places, lists, columns]."""
    some, columns, dim = block
    units = places[some, columns]
    index = units.t() if dim == -2 else units
    state = weights.swap.new_zeros(layers.places, *index.shape).scatter_(0, index.unsqueeze(0), 1.0)
    return weights.map(lambda weight: weight[..., some].unsqueeze(dim)), state
