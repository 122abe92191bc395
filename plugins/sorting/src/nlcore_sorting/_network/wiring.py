"""Wiring of sorting networks: which places meet in which layer."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from nlcore_sorting.config import Distribution, Network

__all__ = ["Operator", "Rule", "active", "depth", "depths", "partners"]

Operator: TypeAlias = Literal["permutation", "rows", "entries", "sort", "rank"]
"""The matrix, its rows at some places, its entry at a place of every column, the sorted list, the ranks as a row."""


class Rule(NamedTuple):
    """A sorting network and the weights of its comparators; the options of `SortingNetwork`.

    Attributes:
        network: The wiring.
        distribution: Distribution function of the weights.
        steepness: β.
        art_lambda: λ.
    """

    network: Network
    distribution: Distribution
    steepness: float
    art_lambda: float


def depth(network: Network, n: int) -> int:
    """Return the number of layers for n places; one place has a layer without comparators."""
    return n if network == "odd_even" else len(_masks(n))


def depths(network: Network, n: int, length: Tensor) -> Tensor:
    """Return the number of layers for lists of `length` ≤ n items, of the same shape."""
    return torch.tensor([depth(network, m) for m in range(n + 1)], device=length.device)[length]


def partners(network: Network, n: int, device: torch.device) -> Tensor:
    """Return the partner of every place in every layer; a place without a comparator is its own partner.

    Of two partners the one at the lower place receives the smaller value.

    Args:
        network: `"odd_even"`: n layers of neighbours. `"bitonic"`: ⌈log₂n⌉(⌈log₂n⌉ + 1)/2 layers. Every merge of two
            sorted blocks begins with their mirror image, so all comparators point the same way; for a power of two
            this is Batcher's network with the descending blocks renamed. For another n it is the network of the next
            power of two without the comparators that reach beyond n, which would meet +∞ there and never swap.
        n: Number of places.
        device: Of the result.

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


def active(network: Network, table: Tensor, length: Tensor) -> Tensor:
    """Return which comparators the networks of shorter lists have.

    Args:
        network: The wiring.
        table: [layers, n], the partners.
        length: [..., 1], the number of items of every list, at most n.

    Returns:
        [layers, n, ...], bool.
    """
    layers, n = table.shape
    counts, ones = length.squeeze(-1), [1] * (length.ndim - 1)
    layer = torch.arange(layers, device=table.device).view(-1, 1, *ones)
    # Of two partners both have to be there; the larger one decides.
    last = torch.maximum(table, torch.arange(n, device=table.device)).view(layers, n, *ones)
    return (last < counts) & (layer < depths(network, n, counts))


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
