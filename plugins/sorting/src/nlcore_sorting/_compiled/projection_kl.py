"""Projections on the permutahedron in relative entropy, compiled: sort, pool and average one list after the other.

Orders, blocks and `shares`, of every item in the sum of the exponentials of its block, are kept for the derivative; see
`pooling`. `lengths` [batch] are the numbers of real items; results beyond them are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.bits import arrange, exponentials
from nlcore_sorting._compiled.pooling import block_end, pool_logs

__all__ = ["rank", "sort"]


@kernel("any")
def _relative(values: Any, starts: Any, shares: Any) -> None:
    """Write the exponentials of decreasing numbers over the first one of their block to `shares`."""
    for i in range(starts.shape[0]):
        shares[i] = values[i] - values[starts[i]]
    exponentials(shares)


@kernel("any")
def _share(start: int, starts: Any, shares: Any) -> Any:
    """Make exponentials the shares of the block that begins at `start`; return its end, and their sum."""
    end, total = block_end(start, starts), 0.0
    for i in range(start, end):
        total += shares[i]
    for i in range(start, end):
        shares[i] /= total
    return end, total


@kernel("any")
def rank(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft ranks, from 0 to n − 1, to `result` [batch, n], and orders, blocks and shares to `kept`."""
    batch, n = scores.shape
    work, room = np.empty(n, np.int32), np.empty((3, n))
    first = np.empty(n, np.int64)
    z, w = np.empty((2, n))
    for b in range(batch):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        arrange(scores[b, :m], -1, order, work)
        for i in range(m):
            z[i] = scores[b, order[i]] / strength
            w[i] = math.log(m - i)
        pool_logs(z[:m], w[:m], starts, room, first)
        _relative(z, starts, shares)
        start = 0
        while start < m:
            end = _share(start, starts, shares)[0]
            places = (end - start) * (m - 0.5 * (start + end - 1))
            for i in range(start, end):
                result[b, order[i]] = places * shares[i] - 1
            start = end
        result[b, m:] = 0


@kernel("any")
def sort(scores: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the soft values, smallest first, to `result` [batch, n]; see `rank`."""
    batch, n = scores.shape
    work, room = np.empty(n, np.int32), np.empty((3, n))
    first = np.empty(n, np.int64)
    z, w, powers = np.empty((3, n))
    for b in range(batch):
        m = lengths[b]
        order, starts, shares = kept[0][b, :m], kept[1][b, :m], kept[2][b, :m]
        arrange(scores[b, :m], 1, order, work)
        for i in range(m):
            z[i] = (m - 1 - i) / strength
            w[i] = -scores[b, order[i]]
        pool_logs(z[:m], w[:m], starts, room, first)
        _relative(w, starts, shares)
        _relative(z, starts, powers[:m])
        start = 0
        while start < m:
            end, sum_w = _share(start, starts, shares)
            sum_z = 0.0
            for i in range(start, end):
                sum_z += powers[i]
            shift = math.log(sum_z / sum_w)
            for i in range(start, end):
                result[b, i] = shift - w[start] - (z[i] - z[start])
            start = end
        result[b, m:] = 0
