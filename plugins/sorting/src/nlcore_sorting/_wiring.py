"""The wiring of sorting networks: who meets whom in which layer."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["partners"]


@lru_cache(maxsize=64)
def partners(network: str, n: int) -> tuple[tuple[int, ...], ...]:
    """Return for every layer the partner of every place; a place without a comparator is its own partner.

    Of two partners the one with the lower place receives the smaller value.

    Args:
        network: `"odd_even"`: n layers of neighbours. `"bitonic"`: ⌈log₂n⌉(⌈log₂n⌉ + 1)/2 layers. Every merge of two
            sorted blocks begins with their mirror image, so all comparators point the same way; for a power of two
            this is Batcher's network with the descending blocks renamed. For another n it is the network of the next
            power of two without the comparators that reach beyond n, which would meet +∞ there and never swap.
        n: Number of places.
    """
    return tuple(_odd_even(n) if network == "odd_even" else _bitonic(n))


def _odd_even(n: int) -> list[tuple[int, ...]]:
    return [_paired(n, [(a, a + 1) for a in range(layer % 2, n - 1, 2)]) for layer in range(n)]


def _bitonic(n: int) -> list[tuple[int, ...]]:
    layers = []
    size = 1
    while size < n:
        layers.append(_matched(n, 2 * size - 1))
        distance = size // 2
        while distance:
            layers.append(_matched(n, distance))
            distance //= 2
        size *= 2
    return layers


def _matched(n: int, mask: int) -> tuple[int, ...]:
    return _paired(n, [(a, a ^ mask) for a in range(n) if a < a ^ mask < n])


def _paired(n: int, pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    partner = list(range(n))
    for a, b in pairs:
        partner[a], partner[b] = b, a
    return tuple(partner)
