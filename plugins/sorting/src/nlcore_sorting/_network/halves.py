"""The wiring of sorting networks once more, as views: in every layer two strided halves of the places meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from nlcore_sorting._network.wiring import depth
from nlcore_sorting.config import Network

__all__ = ["Halves", "halves"]


@dataclass(frozen=True, slots=True)
class Halves:
    """The layers of a network, with empty places behind the others, so that there are as many pairs in every layer.

    Odd–even there is an odd number of places, of which the first or the last is left alone. Bitonic the places are the
    2ᵏ corners of a cube, and a layer joins those along one axis. There every other sorted block is in descending order,
    as in the textbook, and the next merge needs no mirror image: what it makes of the scores is the same.

    Attributes:
        network: The wiring.
        n: Number of places that are not empty.
        places: Their number, with the empty ones.
        pairs: Shape of the comparators of a layer.
        axes: For every layer the axis; odd–even 0 where the last place is left alone, 1 where the first is.
        sign: [layers, *pairs, 1], −1 where the larger value goes to the first half; `None` if nowhere.
        offset: Like `sign`, what is added to x: ±∞ beside an empty place, which counts as larger than all others, so
            that the two swap for certain or not at all; `None` if there is no such comparator.
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
        """Return the halves of the layers from the last to the first, without signs and offsets."""
        return replace(self, axes=self.axes[::-1], sign=None, offset=None)

    def numbers(self) -> int:
        """Return the number of comparators of a layer."""
        return math.prod(self.pairs)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)
def halves(network: Network, n: int, dtype: torch.dtype, device: torch.device) -> Halves:
    """Return the layers of a network of n places; `dtype` is that of signs and offsets."""
    if network == "odd_even":
        axes = tuple(layer % 2 for layer in range(depth(network, n)))
        layers = Halves(network, n, n | 1, (n // 2,), axes)
        descending = torch.zeros(len(axes), n // 2, dtype=torch.bool, device="cpu")
    else:
        k = max(1, (n - 1).bit_length())
        merges = [(2 << merge, axis) for merge in range(k) for axis in range(k - 1 - merge, k)]
        layers = Halves(network, n, 1 << k, (2,) * (k - 1), tuple(axis for _, axis in merges))
        first = [half for half, _ in layers.of(torch.arange(1 << k, device="cpu"))]
        descending = torch.stack([half & size > 0 for half, (size, _) in zip(first, merges, strict=True)])
    offset = _offset(layers, descending, n)
    sign = 1 - 2 * descending.to(dtype)
    return replace(
        layers,
        sign=sign.unsqueeze(-1).to(device) if descending.any() else None,
        offset=offset.unsqueeze(-1).to(device, dtype) if offset.any() else None,
    )


def _offset(layers: Halves, descending: Tensor, n: int) -> Tensor:
    """Follow the empty places through the layers."""
    offset = torch.zeros(descending.shape, device="cpu")
    empty = torch.arange(layers.places, device="cpu") >= n
    for (a, b), down, shift in zip(layers.of(empty), descending, offset, strict=True):
        shift[a ^ b] = torch.inf
        shift[(a ^ b) & (a ^ down)] = -torch.inf
        both, either = a & b, a | b
        a.copy_(torch.where(down, either, both))
        b.copy_(torch.where(down, both, either))
    return offset
