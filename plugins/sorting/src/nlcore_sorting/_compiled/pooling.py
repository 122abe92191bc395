"""Pooling of adjacent violators, compiled."""

from __future__ import annotations

import math
from typing import Any

from nlcore_sorting._compiled.jit import compiled

__all__ = ["pool_logs", "pool_means"]


@compiled
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


@compiled
def _spread(starts: Any, first: Any, top: int) -> None:
    """Write the first position of its block to every position, of `top` blocks that begin at `first`."""
    end = starts.shape[0]
    while top > 0:
        top -= 1
        starts[first[top] : end] = first[top]
        end = first[top]


@compiled
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
