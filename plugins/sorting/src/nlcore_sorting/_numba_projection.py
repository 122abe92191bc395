"""Projections on the permutahedron in the Euclidean norm, compiled: sort, pool and average one list after the other.

With `order` the items of a list from one end to the other and `starts` the first position of every position's block,
the derivative is a mean over blocks. `lengths` [batch] are the real items; what stands beyond them is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled
from nlcore_sorting._numba_pooling import pool_means

__all__ = ["arrange", "rank", "rank_slopes", "sort", "sort_slopes", "workplace"]

_INSERTED = 40
"""Items up to which insertion is faster than a sort by digits."""


@compiled
def _ordered_bits(bits: int, size: int) -> int:
    """Return the bits of a floating-point number of `size` bytes as an integer that is ordered like it; −0 is 0."""
    if bits >= 0:
        return bits
    return -(bits & 0x7FFFFFFF) if size == 4 else -(bits & 0x7FFFFFFFFFFFFFFF)


@compiled
def workplace(n: int) -> Any:
    """Return the memory that `arrange` needs for up to n numbers."""
    return np.empty(n, np.int64), np.empty(n, np.int32), np.empty(256, np.int64)


@compiled
def arrange(bits: Any, sign: int, order: Any, work: Any) -> None:
    """Write the indices of the numbers with these `bits` to `order`, equal ones by index.

    Smallest first where `sign` is 1, largest first where it is −1.
    """
    n, size = bits.shape[0], bits.itemsize
    keys, other, counts = work
    for i in range(n):
        keys[i] = sign * _ordered_bits(bits[i], size)
    if n <= _INSERTED:
        for i in range(n):
            key, k = keys[i], i
            while k > 0 and keys[order[k - 1]] > key:
                order[k] = order[k - 1]
                k -= 1
            order[k] = i
        return
    for i in range(n):
        order[i] = i
    for place in range(size):
        shift, flip = 8 * place, 128 if place == size - 1 else 0  # the last digit has the sign
        counts[:] = 0
        for i in range(n):
            counts[((keys[i] >> shift) & 255) ^ flip] += 1
        if counts[((keys[0] >> shift) & 255) ^ flip] == n:
            continue
        before = 0
        for digit in range(256):
            counts[digit], before = before, before + counts[digit]
        for k in range(n):
            digit = ((keys[order[k]] >> shift) & 255) ^ flip
            other[counts[digit]] = order[k]
            counts[digit] += 1
        order[:] = other[:n]


@compiled
def rank(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft places of every item, from 0 to n − 1, to `result` [batch, n], and what led there to `kept`.

    `scores` are the numbers and their bits as integers.
    """
    values, bits = scores
    batch, n = values.shape
    work, first = workplace(n), np.empty(n, np.int64)
    z, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        arrange(bits[b, :m], -1, order[:m], work)
        for i in range(m):
            z[i] = values[b, order[i]] / strength
            y[i] = z[i] - (m - 1 - i)
        pool_means(y[:m], starts[:m], means, first)
        start = 0
        while start < m:
            end = start
            total = 0.0
            while end < m and starts[end] == start:
                total += z[end] - z[start]
                end += 1
            mean = total / (end - start)
            place = m - 1 - 0.5 * (start + end - 1)
            for i in range(start, end):
                result[b, order[i]] = place + ((z[i] - z[start]) - mean)
            start = end
        result[b, m:] = 0


@compiled
def rank_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`: what each `grads` exceeds the mean of its block by, over ε."""
    for b in range(result.shape[0]):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        start = 0
        while start < m:
            end = start
            total = 0.0
            while end < m and starts[end] == start:
                total += grads[b, order[end]]
                end += 1
            mean = total / (end - start)
            if end == start + 1:
                mean = grads[b, order[start]]
            for i in range(start, end):
                result[b, order[i]] = (grads[b, order[i]] - mean) / strength
            start = end
        result[b, m:] = 0


@compiled
def sort(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft values, smallest first, to `result` [batch, n], and what led there to `kept`; see `rank`."""
    values, bits = scores
    batch, n = values.shape
    work, first = workplace(n), np.empty(n, np.int64)
    a, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        arrange(bits[b, :m], 1, order[:m], work)
        for i in range(m):
            a[i] = values[b, order[i]]
            y[i] = (m - 1 - i) / strength + a[i]
        pool_means(y[:m], starts[:m], means, first)
        start = 0
        while start < m:
            end = start
            total = 0.0
            while end < m and starts[end] == start:
                total += a[end] - a[start]
                end += 1
            mean = a[start] + total / (end - start)
            for i in range(start, end):
                result[b, i] = mean - (0.5 * (start + end - 1) - i) / strength
            start = end
        result[b, m:] = 0


@compiled
def sort_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`: the mean of `grads` over the block of each."""
    for b in range(result.shape[0]):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        start = 0
        while start < m:
            end = start
            total = 0.0
            while end < m and starts[end] == start:
                total += grads[b, end]
                end += 1
            for i in range(start, end):
                result[b, order[i]] = total / (end - start)
            start = end
        result[b, m:] = 0
