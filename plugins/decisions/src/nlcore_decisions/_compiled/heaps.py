"""A binary heap in two arrays for Dijkstra's algorithm: items, and their keys, the least in front.

The arrays are allocated by the caller, with room for every item that is pushed. Items have any type, and keys are
compared as they are; an item whose key has become smaller is pushed again.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from nlcore.compiled import kernel

__all__ = ["pop", "push"]

_Array = NDArray[Any]


@kernel()
def push(heap: _Array, keys: _Array, size: int, item: int, key: float) -> int:
    """Add an item to a heap of `size` items, and return the new size."""
    hole = size
    while hole > 0 and keys[(hole - 1) // 2] > key:
        heap[hole], keys[hole] = heap[(hole - 1) // 2], keys[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole], keys[hole] = item, key
    return size + 1


@kernel()
def pop(heap: _Array, keys: _Array, size: int) -> int:
    """Remove the first item from a heap of `size` ≥ 1 items, and return the new size; read the item beforehand."""
    size -= 1
    item, key, hole = heap[size], keys[size], 0
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        heap[hole], keys[hole] = heap[child], keys[child]
        hole = child
    heap[hole], keys[hole] = item, key
    return size
