"""The wiring of sorting networks: who meets whom in which layer."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting.config import Network

__all__ = ["depth", "partners", "shortened"]


def depth(network: Network, n: int) -> int:
    """Return the number of layers for n places; one place has a layer without comparators."""
    return n if network == "odd_even" else len(_masks(n))


def partners(network: Network, n: int, device: torch.device) -> Tensor:
    """Return the partner of every place in every layer; a place without a comparator is its own partner.

    Of two partners the one with the lower place receives the smaller value.

    Args:
        network: `"odd_even"`: n layers of neighbours. `"bitonic"`: ⌈log₂n⌉(⌈log₂n⌉ + 1)/2 layers. Every merge of two
            sorted blocks begins with their mirror image, so all comparators point the same way; for a power of two
            this is Batcher's network with the descending blocks renamed. For another n it is the network of the next
            power of two without the comparators that reach beyond n, which would meet +∞ there and never swap.
        n: Number of places.
        device: Where the result lives.

    Returns:
        [layers, n], int64.
    """
    places = torch.arange(n, device=device)
    if network == "odd_even":
        start = (torch.arange(depth(network, n), device=device) % 2).unsqueeze(-1)
        partner = ((places - start) ^ 1) + start
    else:
        partner = places ^ torch.tensor(_masks(n), dtype=torch.int64, device=device).unsqueeze(-1)
    return torch.where((partner >= 0) & (partner < n), partner, places)


def shortened(network: Network, table: Tensor, length: Tensor) -> Tensor:
    """Return the partners in the networks of shorter lists, as if the places beyond them were not there.

    Args:
        network: The wiring.
        table: [layers, n], the partners for n places.
        length: [..., 1], the number of places of every list, at most n.

    Returns:
        [layers, n, ...], int64. In layers that a shorter list does not have everything is its own partner.
    """
    layers, n = table.shape
    counts = length.squeeze(-1)
    last = torch.tensor([depth(network, m) for m in range(n + 1)], device=table.device)[counts]
    ones = [1] * counts.ndim
    there = torch.arange(layers, device=table.device).view(-1, 1, *ones) < last
    partner = table.view(layers, n, *ones)
    places = torch.arange(n, device=table.device).view(n, *ones)
    return torch.where(there & (partner < counts) & (places < counts), partner, places)


def _masks(n: int) -> list[int]:
    """Return for every bitonic layer the number whose exclusive or with a place gives its partner."""
    masks = []
    size = 1
    while size < n:
        masks.append(2 * size - 1)
        distance = size // 2
        while distance:
            masks.append(distance)
            distance //= 2
        size *= 2
    return masks or [1]
