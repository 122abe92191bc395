"""Pooling of adjacent violators, compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled

__all__ = ["pool", "pool_logs", "pool_means"]


@compiled
def pool(values: Any, starts: Any, means: Any, first: Any) -> None:
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
def pool_means(rows: Any, starts: Any) -> None:
    """Write the first position of every block of means into `starts`."""
    n = rows.shape[1]
    means, first = np.empty(n), np.empty(n, np.int64)
    for r in range(rows.shape[0]):
        pool(rows[r], starts[r], means, first)


@compiled
def pool_logs(rows: Any, others: Any, starts: Any) -> None:
    """Write the first position of every block of differences of log-sum-exps into `starts`."""
    n = rows.shape[1]
    a = np.empty(n)
    b = np.empty(n)
    first = np.empty(n, np.int64)
    for r in range(rows.shape[0]):
        top = 0
        for i in range(n):
            p, q, begin = rows[r, i], others[r, i], i
            while top > 0 and a[top - 1] - b[top - 1] <= p - q:
                top -= 1
                p = max(p, a[top]) + math.log1p(math.exp(-abs(p - a[top])))
                q = max(q, b[top]) + math.log1p(math.exp(-abs(q - b[top])))
                begin = first[top]
            a[top] = p
            b[top] = q
            first[top] = begin
            top += 1
        _spread(starts[r], first, top)
