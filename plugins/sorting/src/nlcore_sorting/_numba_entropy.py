"""Projections on the permutahedron in relative entropy, compiled: sort, pool and average one list after the other.

What is kept of a list is that of `_numba_projection` and the `shares`: of an item in the sum of the exponentials of its
block. `lengths` [batch] are the real items; what stands beyond them is 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled
from nlcore_sorting._numba_pooling import pool_logs
from nlcore_sorting._numba_projection import arrange, workplace

__all__ = ["rank", "rank_slopes", "sort", "sort_slopes"]


@compiled
def _share(values: Any, start: int, starts: Any, shares: Any) -> Any:
    """Write the shares of the block that begins at `start`; return its end, and its sum over its first exponential."""
    end, total = start, 0.0
    while end < starts.shape[0] and starts[end] == start:
        shares[end] = math.exp(values[end] - values[start])
        total += shares[end]
        end += 1
    for i in range(start, end):
        shares[i] /= total
    return end, total


@compiled
def rank(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft places of every item, from 0 to n − 1, to `result` [batch, n], and what led there to `kept`."""
    values, bits = scores
    batch, n = values.shape
    work, room = workplace(n), np.empty((3, n))
    first = np.empty(n, np.int64)
    z, w = np.empty((2, n))
    for b in range(batch):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        arrange(bits[b, :m], -1, order, work)
        for i in range(m):
            z[i] = values[b, order[i]] / strength
            w[i] = math.log(m - i)
        pool_logs(z[:m], w[:m], starts, room, first)
        start = 0
        while start < m:
            end = _share(z, start, starts, shares)[0]
            places = (end - start) * (m - 0.5 * (start + end - 1))
            for i in range(start, end):
                result[b, order[i]] = places * shares[i] - 1
            start = end
        result[b, m:] = 0


@compiled
def rank_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`."""
    for b in range(result.shape[0]):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        start = 0
        while start < m:
            end, mean = start, 0.0
            while end < m and starts[end] == start:
                mean += shares[end] * grads[b, order[end]]
                end += 1
            places = (end - start) * (m - 0.5 * (start + end - 1))
            for i in range(start, end):
                result[b, order[i]] = places * shares[i] * (grads[b, order[i]] - mean) / strength
            start = end
        result[b, m:] = 0


@compiled
def sort(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft values, smallest first, to `result` [batch, n], and what led there to `kept`."""
    values, bits = scores
    batch, n = values.shape
    work, room = workplace(n), np.empty((3, n))
    first = np.empty(n, np.int64)
    z, w = np.empty((2, n))
    for b in range(batch):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        arrange(bits[b, :m], 1, order, work)
        for i in range(m):
            z[i] = (m - 1 - i) / strength
            w[i] = -values[b, order[i]]
        pool_logs(z[:m], w[:m], starts, room, first)
        start = 0
        while start < m:
            end, sum_w = _share(w, start, starts, shares)
            sum_z = 0.0
            for i in range(start, end):
                sum_z += math.exp(z[i] - z[start])
            shift = math.log(sum_z / sum_w)
            for i in range(start, end):
                result[b, i] = shift - w[start] - (z[i] - z[start])
            start = end
        result[b, m:] = 0


@compiled
def sort_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`."""
    for b in range(result.shape[0]):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        start = 0
        while start < m:
            end, total = start, 0.0
            while end < m and starts[end] == start:
                total += grads[b, end]
                end += 1
            for i in range(start, end):
                result[b, order[i]] = total * shares[i]
            start = end
        result[b, m:] = 0
