"""Projections on the permutahedron in the Euclidean norm, compiled: sort, pool and average one list after the other.

With `order` the items of a list from one end to the other and `starts` the first position of every position's block,
the derivative is a mean over blocks. `lengths` [batch] are the numbers of real items; results beyond them are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore_sorting._compiled.bits import arrange
from nlcore_sorting._compiled.jit import compiled
from nlcore_sorting._compiled.pooling import pool_means

__all__ = ["rank", "rank_slopes", "sort", "sort_slopes"]


@compiled
def rank(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft ranks, from 0 to n − 1, to `result` [batch, n], and orders and blocks to `kept`."""
    batch, n = scores.shape
    work, first = np.empty(n, np.int32), np.empty(n, np.int64)
    z, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        arrange(scores[b, :m], -1, order[:m], work)
        for i in range(m):
            z[i] = scores[b, order[i]] / strength
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
    """Write the derivative with respect to the scores to `result`: `grads` minus the mean of the block, over ε."""
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
    """Write the soft values, smallest first, to `result` [batch, n]; see `rank`."""
    batch, n = scores.shape
    work, first = np.empty(n, np.int32), np.empty(n, np.int64)
    a, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b], kept[1][b]
        arrange(scores[b, :m], 1, order[:m], work)
        for i in range(m):
            a[i] = scores[b, order[i]]
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
    """Write the derivative with respect to the scores to `result`: the mean of `grads` over every block."""
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
