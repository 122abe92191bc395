"""Wiring of sorting networks as views: in every layer two strided halves of the places meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from nlcore_sorting._network.wiring import depth, depths
from nlcore_sorting.config import Network

__all__ = ["Halves", "halves"]


@dataclass(frozen=True, slots=True)
class Halves:
    """The layers of a network, with empty places behind the others, so that every layer has as many pairs.

    Odd–even there is an odd number of places, of which a layer leaves out the first or the last. Bitonic the places are
    the 2ᵏ corners of a cube, and a layer joins those along one axis. There every other sorted block is in descending
    order, as in the textbook, and the next merge needs no mirror image; the result is that of `wiring.partners`.

    Attributes:
        network: The wiring.
        n: Number of places that are not empty.
        places: Number of places, empty ones included.
        pairs: Shape of the comparators of a layer.
        axes: For every layer the axis; odd–even 0 where the last place is left out, 1 where the first is.
        sign: [layers, *pairs, 1], −1 where the larger value goes to the first half; `None` if nowhere.
        offset: [layers, *pairs, lists or 1], added to x: ±∞ beside an empty place, which counts as larger than all
            others, so that the two are swapped with certainty or not at all; `None` if there is no such comparator.
    """

    network: Network
    n: int
    places: int
    pairs: tuple[int, ...]
    axes: tuple[int, ...]
    sign: Tensor | None = None
    offset: Tensor | None = None

    def of(self, state: Tensor) -> list[tuple[Tensor, ...]]:
        """Return for every layer the two halves of a contiguous `state` [places, ...], each [*pairs, ...]."""
        if self.network == "odd_even":
            middle = state[1::2]
            views: list[tuple[Tensor, ...]] = [(state[:-1:2], middle), (middle, state[2::2])]
        else:
            cube = state.view(2, *self.pairs, *state.shape[1:])
            views = [cube.unbind(axis) for axis in range(len(self.pairs) + 1)]
        return [views[axis] for axis in self.axes]

    def backwards(self) -> Halves:
        """Return the layers from the last to the first, without signs and offsets."""
        return replace(self, axes=self.axes[::-1], sign=None, offset=None)

    def numbers(self) -> int:
        """Return the number of comparators of a layer."""
        return math.prod(self.pairs)

    def shortened(self, length: Tensor, dtype: torch.dtype) -> Halves:
        """Return the layers with the offsets of lists of `length` [lists] items, all other places being empty."""
        offset = torch.zeros(len(self.axes), *self.pairs, len(length), dtype=dtype, device=length.device)
        empty = torch.arange(self.places, device=length.device).unsqueeze(-1) >= length
        down = [None] * len(offset) if self.sign is None else (self.sign < 0).unbind()
        for (a, b), descending, shift in zip(self.of(empty), down, offset.unbind(), strict=True):
            one, both, either = a ^ b, a & b, a | b
            shift.masked_fill_(one, torch.inf)
            if descending is None:
                a.copy_(both)
                b.copy_(either)
            else:
                shift.masked_fill_(one & (a ^ descending), -torch.inf)
                a.copy_(torch.where(descending, either, both))
                b.copy_(torch.where(descending, both, either))
        layer = torch.arange(len(offset), device=length.device).view(-1, *[1] * (offset.ndim - 1))
        # In the layers that a shorter list lacks, its items are in an ascending block and stay where they are.
        return replace(self, offset=offset.masked_fill_(layer >= depths(self.network, self.n, length), torch.inf))


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)
def halves(network: Network, n: int, dtype: torch.dtype, device: torch.device) -> Halves:
    """Return the layers of a network of n places; `dtype` is that of signs and offsets."""
    if network == "odd_even":
        axes = tuple(layer % 2 for layer in range(depth(network, n)))
        layers = Halves(network, n, n | 1, (n // 2,), axes)
    else:
        k = max(1, (n - 1).bit_length())
        merges = [(2 << merge, axis) for merge in range(k) for axis in range(k - 1 - merge, k)]
        layers = Halves(network, n, 1 << k, (2,) * (k - 1), tuple(axis for _, axis in merges))
        first = [half for half, _ in layers.of(torch.arange(1 << k, device=device))]
        descending = torch.stack([half & size > 0 for half, (size, _) in zip(first, merges, strict=True)])
        if descending.any():
            layers = replace(layers, sign=(1 - 2 * descending.to(dtype)).unsqueeze(-1))
    full = layers.shortened(torch.tensor([n], device=device), dtype)
    return full if full.offset is not None and full.offset.any() else layers
