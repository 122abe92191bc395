"""Pooling of adjacent violators, compiled, and the derivatives of projections, which are means over blocks.

For those, `kept` holds of every list the order of its items from one end to the other, `starts`, the first position of
every position's block, and, where they differ, the weights of the items in the mean of their block.
"""

from __future__ import annotations

import math
from typing import Any

from nlcore.compiled import kernel

__all__ = ["block_end", "pool_logs", "pool_means", "rank_slopes", "sort_slopes"]


@kernel("any")
def pool_means(values: Any, starts: Any, means: Any, first: Any) -> None:
    """Write the first position of every block of means of a list to `starts`; `means` and `first` are room for them."""
    top = 0
    for i in range(values.shape[0]):
        mean, begin = values[i], i
        while top > 0 and means[top - 1] <= mean:
            top -= 1
            mean = means[top] + (mean - means[top]) * ((i + 1 - begin) / (i + 1 - first[top]))
            begin = first[top]
        means[top] = mean
        first[top] = begin
        top += 1
    _spread(starts, first, top)


@kernel("any")
def _spread(starts: Any, first: Any, top: int) -> None:
    """Write the first position of its block to every position, of `top` blocks that begin at `first`."""
    end = starts.shape[0]
    while top > 0:
        top -= 1
        starts[first[top] : end] = first[top]
        end = first[top]


@kernel("any")
def pool_logs(y: Any, w: Any, starts: Any, room: Any, first: Any) -> None:
    """Write the first position of every block of differences of log-sum-exps, LSE(y) − LSE(w), of a list to `starts`.

    Both decrease, so that the first exponential of a block is its largest. `room` [3, n] and `first` are workplaces.
    """
    levels, sums, others = room
    top = 0
    for i in range(y.shape[0]):
        level, total, other, begin = y[i] - w[i], 1.0, 1.0, i
        while top > 0 and levels[top - 1] <= level:
            top -= 1
            previous = first[top]
            total = sums[top] + math.exp(y[begin] - y[previous]) * total
            other = others[top] + math.exp(w[begin] - w[previous]) * other
            begin = previous
            level = y[begin] - w[begin] + math.log(total / other)
        levels[top], sums[top], others[top], first[top] = level, total, other, begin
        top += 1
    _spread(starts, first, top)


@kernel("any")
def block_end(start: int, starts: Any) -> int:
    """Return the end of the block that begins at `start`."""
    end = start + 1
    while end < starts.shape[0] and starts[end] == start:
        end += 1
    return end


@kernel("any")
def rank_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative of soft ranks with respect to the scores to `result`."""
    for b in range(result.shape[0]):
        m, start = lengths[b], 0
        order, starts = kept[0][b], kept[1][b, :m]
        while start < m:
            end, mean = block_end(start, starts), 0.0
            even, places = 1.0 / (end - start), (end - start) * (m - 0.5 * (start + end - 1))
            for i in range(start, end):
                mean += (kept[2][b, i] if len(kept) == 3 else even) * grads[b, order[i]]
            for i in range(start, end):
                slope = (grads[b, order[i]] - mean) / strength
                result[b, order[i]] = places * kept[2][b, i] * slope if len(kept) == 3 else slope
            start = end
        result[b, m:] = 0


@kernel("any")
def sort_slopes(grads: Any, lengths: Any, strength: float, kept: Any, result: Any) -> None:
    """Write the derivative of soft values with respect to the scores to `result`."""
    for b in range(result.shape[0]):
        m, start = lengths[b], 0
        order, starts = kept[0][b], kept[1][b, :m]
        while start < m:
            end, total = block_end(start, starts), 0.0
            for i in range(start, end):
                total += grads[b, i]
            for i in range(start, end):
                result[b, order[i]] = total * kept[2][b, i] if len(kept) == 3 else total / (end - start)
            start = end
        result[b, m:] = 0
