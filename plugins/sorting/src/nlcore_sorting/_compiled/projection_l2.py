"""Projections on the permutahedron in the Euclidean norm, compiled: sort, pool and average one list after the other.

Orders and blocks are kept for the derivative; see `pooling`. `lengths` [batch] are the numbers of real items; results
beyond them are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.bits import arrange
from nlcore_sorting._compiled.pooling import block_end, pool_means

__all__ = ["rank", "sort"]


@kernel("any")
def rank(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft ranks, from 0 to n − 1, to `result` [batch, n], and orders and blocks to `kept`."""
    batch, n = scores.shape
    work, first = np.empty(n, np.int32), np.empty(n, np.int64)
    z, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b, :m], kept[1][b, :m]
        arrange(scores[b, :m], -1, order, work)
        for i in range(m):
            z[i] = scores[b, order[i]] / strength
            y[i] = z[i] - (m - 1 - i)
        pool_means(y[:m], starts, means, first)
        start = 0
        while start < m:
            end, total = block_end(start, starts), 0.0
            for i in range(start, end):
                total += z[i] - z[start]
            mean = total / (end - start)
            place = m - 1 - 0.5 * (start + end - 1)
            for i in range(start, end):
                result[b, order[i]] = place + ((z[i] - z[start]) - mean)
            start = end
        result[b, m:] = 0


@kernel("any")
def sort(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft values, smallest first, to `result` [batch, n]; see `rank`."""
    batch, n = scores.shape
    work, first = np.empty(n, np.int32), np.empty(n, np.int64)
    a, y, means = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts = kept[0][b, :m], kept[1][b, :m]
        arrange(scores[b, :m], 1, order, work)
        for i in range(m):
            a[i] = scores[b, order[i]]
            y[i] = (m - 1 - i) / strength + a[i]
        pool_means(y[:m], starts, means, first)
        start = 0
        while start < m:
            end, total = block_end(start, starts), 0.0
            for i in range(start, end):
                total += a[i] - a[start]
            mean = a[start] + total / (end - start)
            for i in range(start, end):
                result[b, i] = mean - (0.5 * (start + end - 1) - i) / strength
            start = end
        result[b, m:] = 0
