"""Sweeps over the anti-diagonals of one sample: weights, expected alignment, and their derivatives along a direction.

Row d of a memory holds the cells (i, d − i), cell i in column i + 1. The cells that take part are those with i from a
to b; the columns of a − 1 and b + 1 hold zeros, as the neighbouring rows read them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel
from nlcore_sequences._compiled.lanes import LANES, NOTHING, advance, combine

__all__ = ["Sample", "Shares", "alignment_row", "changes_of", "forward", "limits_of", "mean_row", "tangent_row"]

_Array = NDArray[Any]
_LARGEST = 2.0**49


class Sample(NamedTuple):
    """Two series: a cost matrix, or where that is empty their squared distances.

    Attributes:
        costs: [n, m], or [0, 0].
        x: [channels, n]; no channels with a matrix.
        y: [channels, m], reversed, so that y_(d−i) has the index m − 1 − d + i.
        limits: [n + m − 1, 2], first and last i of every anti-diagonal.
        m: Length of the second series.
    """

    costs: _Array
    x: _Array
    y: _Array
    limits: _Array
    m: int


class Shares(NamedTuple):
    """The probabilities with which a path that visits a cell comes from each predecessor.

    Attributes:
        p: Flat; diagonal, up and left of a row are `width` apart, rows `stride`.
        width: Columns of a row.
        stride: 3·width, or 0 where the rows are not kept.
    """

    p: _Array
    width: int
    stride: int


@kernel("any")
def limits_of(bounds: _Array, n: int, m: int) -> _Array:
    """Return the first and the last i of every anti-diagonal, from the first and the last j of every i."""
    limits = np.empty((n + m - 1, 2), np.int64)
    a, b = 0, -1
    for d in range(n + m - 1):
        while b + 1 < n and b + 1 + bounds[b + 1, 0] <= d:
            b += 1
        while a < n and a + bounds[a, 1] < d:
            a += 1
        limits[d, 0], limits[d, 1] = a, b
    return limits


@kernel("any")
def costs_of(sample: Sample, d: int, row: _Array) -> None:
    """Write the costs of an anti-diagonal, or their change where the sample's x and y are directions."""
    a, b = sample.limits[d, 0], sample.limits[d, 1]
    if sample.costs.shape[0]:
        for i in range(a, b + 1):
            row[i + 1] = sample.costs[i, d - i]
        return
    into, shift = row[a + 1 : b + 2], sample.m - 1 - d
    into[:] = 0.0
    for k in range(sample.x.shape[0]):
        one, other = sample.x[k, a : b + 1], sample.y[k, shift + a : shift + b + 1]
        for i in range(len(into)):
            into[i] += (one[i] - other[i]) ** 2


@kernel("any")
def changes_of(sample: Sample, way: Sample, d: int, row: _Array) -> None:
    """Write the derivatives of the costs of an anti-diagonal along a direction."""
    if sample.costs.shape[0]:
        costs_of(way, d, row)
        return
    a, b, shift = sample.limits[d, 0], sample.limits[d, 1] + 1, sample.m - 1 - d
    into = row[a + 1 : b + 1]
    into[:] = 0.0
    for k in range(sample.x.shape[0]):
        x, y = sample.x[k, a:b], sample.y[k, shift + a : shift + b]
        u, w = way.x[k, a:b], way.y[k, shift + a : shift + b]
        for i in range(len(into)):
            into[i] += 2 * (x[i] - y[i]) * (u[i] - w[i])


@kernel("any")
def mean_row(rows: _Array, changes: _Array, sample: Sample, shares: Shares, d: int) -> None:
    """Write for each cell of row d + 2 the mean change of the paths up to it, which includes its own."""
    p, width, stride = shares
    a, b = sample.limits[d, 0], sample.limits[d, 1]
    here, q = (d + 2) * width, d * stride
    rows[here + a + 1 : here + b + 2] = changes[a + 1 : b + 2]
    last, before = here - width, here - 2 * width
    for i in range(a + 1, b + 2, LANES):
        combine(rows, p, here + i, before + i - 1, last + i - 1, last + i, q + i, q + width + i, q + 2 * width + i)
    rows[here + a] = rows[here + b + 2] = 0.0


@kernel("any")
def forward(
    sample: Sample, gamma: float, work: _Array, shares: Shares, way: Sample, changes: _Array, means: _Array
) -> Any:
    """Return the value of a sample, and write the shares; `work` has seven rows.

    Unless `means` is empty, the same sweep writes there the rows of `mean_row` for the direction `way`.
    """
    p, width, stride = shares
    bits, row, count = 1 / (gamma * math.log(2)), work[6 * width : 7 * width], len(sample.limits)
    for r in range(0, 6, 2):
        work[r * width : (r + 1) * width], work[(r + 1) * width : (r + 2) * width] = 0.0, NOTHING
    work[2 * width], work[3 * width] = 1.0, 0.0  # the cell before the first; row −2 is row 1 modulo 3
    for d in range(count):
        a, b = sample.limits[d, 0], sample.limits[d, 1]
        here, last, before = 2 * (d % 3) * width, 2 * ((d - 1) % 3) * width, 2 * ((d - 2) % 3) * width
        if b >= a:
            costs_of(sample, d, row)
            for i in range(a + 1, b + 2):
                scaled = row[i] * bits
                row[i] = scaled if abs(scaled) < _LARGEST else _LARGEST
            for i in range(a + 1, b + 2, LANES):
                advance(work, p, width, here + i, last + i, before + i, 6 * width + i, d * stride + i, width)
        for i in (a, b + 2):
            work[here + i], work[here + width + i] = 0.0, NOTHING
            for q in range(d * stride + i, d * stride + i + 3 * width, width):
                p[q] = 0.0
        if len(means):
            changes_of(sample, way, d, changes)
            mean_row(means, changes, sample, shares, d)
    end = 2 * ((count - 1) % 3) * width + sample.limits[count - 1, 1] + 1
    exponent = work[end + width]
    if not abs(exponent) < _LARGEST:
        return np.inf
    return -gamma * (exponent * math.log(2) + math.log(work[end]))


@kernel("any")
def _from_successors(rows: _Array, here: int, next_: int, after: int, sample: Sample, shares: Shares, d: int) -> None:
    """Add the share of what the three successors of every cell hold to row `here`; zeros beside it."""
    p, width, stride = shares
    a, b = sample.limits[d, 0], sample.limits[d, 1]
    q1, q2 = (d + 1) * stride, (d + 2) * stride + 1
    if d == len(sample.limits) - 2:
        q2 = q1  # the row lies outside; its factor is 0
    for i in range(a + 1, b + 2, LANES):
        up, left = q1 + width + i + 1, q1 + 2 * width + i
        combine(rows, p, here + i, after + i + 1, next_ + i + 1, next_ + i, q2 + i, up, left)
    rows[here + a] = rows[here + b + 2] = 0.0


@kernel("any")
def alignment_row(rows: _Array, here: int, next_: int, after: int, sample: Sample, shares: Shares, d: int) -> None:
    """Write the probabilities that a path visits the cells of an anti-diagonal, from those of the two behind it."""
    a, b = sample.limits[d, 0], sample.limits[d, 1]
    if d == len(sample.limits) - 1:
        rows[here + b : here + b + 3] = 0.0
        rows[here + b + 1] = 1.0
        return
    rows[here + a : here + b + 3] = 0.0
    _from_successors(rows, here, next_, after, sample, shares, d)


@kernel("any")
def tangent_row(
    rows: _Array,
    here: int,
    next_: int,
    after: int,
    alignment: _Array,
    changes: _Array,
    sample: Sample,
    shares: Shares,
    d: int,
) -> None:
    """Write minus the alignment times the mean change of the paths from each cell on, which includes its own."""
    a, b = sample.limits[d, 0], sample.limits[d, 1]
    into, weight, change = rows[here + a + 1 : here + b + 2], alignment[a + 1 : b + 2], changes[a + 1 : b + 2]
    for i in range(len(into)):
        into[i] = -weight[i] * change[i]
    rows[here + a] = rows[here + b + 2] = 0.0
    if d < len(sample.limits) - 1:
        _from_successors(rows, here, next_, after, sample, shares, d)
