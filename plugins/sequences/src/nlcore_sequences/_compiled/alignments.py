"""Kernels of soft-DTW: values, derivatives, and derivatives of these along directions, one sample after the other.

Costs are a matrix [batch, n, m], or, where that has the shape [batch, 0, 0], the squared distances of x
[batch, channels, n] and y [batch, channels, m]. Arrays that are not in use have no elements, but the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel
from nlcore_sequences._compiled.lanes import LANES
from nlcore_sequences._compiled.sweeps import (
    Sample,
    Shares,
    alignment_row,
    changes_of,
    forward,
    limits_of,
    mean_row,
    tangent_row,
)

__all__ = ["products", "slopes", "values"]

_Array = NDArray[Any]


@kernel("any")
def values(costs: _Array, x: _Array, y: _Array, bounds: _Array, lengths: _Array, gamma: float, value: _Array) -> None:
    """Write the values, [batch]; the memory is O(n)."""
    width = bounds.shape[1] + 2 + LANES
    work, shares = np.zeros(7 * width), Shares(np.zeros(3 * width, costs.dtype), width, 0)
    for s in range(value.shape[0]):
        sample = _sample(costs[s], x[s], y[s], bounds[s], lengths[s])
        value[s] = forward(sample, gamma, work, shares, sample, work[:0], work[:0])


@kernel("any")
def slopes(
    costs: _Array,
    x: _Array,
    y: _Array,
    bounds: _Array,
    lengths: _Array,
    gamma: float,
    value: _Array,
    first: _Array,
    second: _Array,
) -> None:
    """Write the values, and the derivatives with respect to the costs, or to x and y, to arrays of zeros."""
    work, shares = _memory(costs, y, bounds)
    width = shares.width
    rows = np.zeros(3 * width)
    for s in range(value.shape[0]):
        sample = _sample(costs[s], x[s], y[s], bounds[s], lengths[s])
        value[s] = forward(sample, gamma, work, shares, sample, work[:0], work[:0])
        other = np.zeros_like(sample.y)
        rows[:] = 0.0
        for d in range(len(sample.limits) - 1, -1, -1):
            here = d % 3 * width
            alignment_row(rows, here, (d + 1) % 3 * width, (d + 2) % 3 * width, sample, shares, d)
            _spread(rows[here : here + width], sample, d, first[s], other)
        _unflip(other, second[s])


@kernel("any")
def products(
    costs: _Array,
    x: _Array,
    y: _Array,
    bounds: _Array,
    lengths: _Array,
    gamma: float,
    along: tuple[_Array, _Array, _Array],
    first: _Array,
    second: _Array,
) -> None:
    """Write the derivatives of the slopes along directions, to arrays of zeros like them.

    Directions are those of the costs [batch, K, n, m], or of x [batch, K, channels, n] and y [batch, K, channels, m].
    """
    work, shares = _memory(costs, y, bounds)
    width = shares.width
    alignment, means, rows = np.zeros(len(shares.p) // 3), np.zeros(len(shares.p) // 3 + width), np.zeros(3 * width)
    for s in range(costs.shape[0]):
        sample = _sample(costs[s], x[s], y[s], bounds[s], lengths[s])
        alignment[-2 * width :] = 0.0
        alignment[len(sample.limits) * width : (len(sample.limits) + 2) * width] = 0.0
        for k in range(first.shape[1]):
            way = _sample(along[0][s, k], along[1][s, k], along[2][s, k], bounds[s], lengths[s])
            other = np.zeros_like(sample.y)
            _product(
                sample, way, gamma, work[: 0 if k else len(work)], shares, alignment, means, rows, first[s, k], other
            )
            _unflip(other, second[s, k])


@kernel("any")
def _product(
    sample: Sample,
    way: Sample,
    gamma: float,
    work: _Array,
    shares: Shares,
    alignment: _Array,
    means: _Array,
    rows: _Array,
    first: _Array,
    other: _Array,
) -> None:
    """Add the derivative along one direction to `first`, and to `other`, which is reversed.

    Unless `work` is empty, the same two sweeps write shares and alignment, which later directions use.
    """
    width, count = shares.width, len(sample.limits)
    changes = np.zeros(width)
    means[: 2 * width] = 0.0
    if len(work):
        forward(sample, gamma, work, shares, way, changes, means)
    else:
        for d in range(count):
            changes_of(sample, way, d, changes)
            mean_row(means, changes, sample, shares, d)
    total = means[(count + 1) * width + sample.limits[count - 1, 1] + 1]
    rows[:] = 0.0
    turned = np.zeros(width)
    for d in range(count - 1, -1, -1):
        if len(work):
            alignment_row(alignment, d * width, (d + 1) * width, (d + 2) * width, sample, shares, d)
        changes_of(sample, way, d, changes)
        here, a, b = d % 3 * width, sample.limits[d, 0] + 1, sample.limits[d, 1] + 2
        weights, up_to = alignment[d * width : (d + 1) * width], means[(d + 2) * width : (d + 3) * width]
        tangent_row(rows, here, (d + 1) % 3 * width, (d + 2) % 3 * width, weights, changes, sample, shares, d)
        for i in range(a, b):
            turned[i] = (rows[here + i] + weights[i] * (total + changes[i] - up_to[i])) / gamma
        _spread(turned, sample, d, first, other)
        if not sample.costs.shape[0]:
            _spread(weights, way, d, first, other)


@kernel("any")
def _spread(row: _Array, sample: Sample, d: int, first: _Array, other: _Array) -> None:
    """Write weights of an anti-diagonal to a matrix, or add their products with 2(x − y) to those of x and of −y."""
    a, b, shift = sample.limits[d, 0], sample.limits[d, 1] + 1, sample.m - 1 - d
    weights = row[a + 1 : b + 1]
    if sample.costs.shape[0]:
        for i in range(len(weights)):
            first[a + i, d - a - i] = weights[i]
        return
    for k in range(sample.x.shape[0]):
        x, y = sample.x[k, a:b], sample.y[k, shift + a : shift + b]
        to_x, to_y = first[k, a:b], other[k, shift + a : shift + b]
        for i in range(len(weights)):
            to_x[i] += 2 * weights[i] * (x[i] - y[i])
        for i in range(len(weights)):
            to_y[i] -= 2 * weights[i] * (x[i] - y[i])


@kernel("any")
def _sample(costs: _Array, x: _Array, y: _Array, bounds: _Array, lengths: _Array) -> Sample:
    n, m = lengths[0], lengths[1]
    flipped = np.empty((y.shape[0], m if y.shape[0] else 0))
    for k in range(y.shape[0]):
        for j in range(m):
            flipped[k, m - 1 - j] = y[k, j]
    return Sample(costs, x, flipped, limits_of(bounds, n, m), m)


@kernel("any")
def _memory(costs: _Array, y: _Array, bounds: _Array) -> tuple[_Array, Shares]:
    """Return the memory of the forward sweep, and that of all shares."""
    width = bounds.shape[1] + 2 + LANES
    count = bounds.shape[1] + max(costs.shape[2], y.shape[2]) + 2
    return np.zeros(7 * width), Shares(np.zeros(3 * width * count, costs.dtype), width, 3 * width)


@kernel("any")
def _unflip(other: _Array, second: _Array) -> None:
    m = other.shape[1]
    for k in range(other.shape[0]):
        for j in range(m):
            second[k, j] = other[k, m - 1 - j]
