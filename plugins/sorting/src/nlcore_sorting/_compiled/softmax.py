"""NeuralSort and SoftSort, compiled: the matrix in one pass over its rows, the derivative in another.

`scores` are [batch, n], `lengths` [batch] the numbers of real items, `scale` is 1/τ. Matrices are [batch, n, n].
`kept` holds `order` [batch, n] int32, the item that belongs at every place, and in the backward pass also the scores
and the matrices. Matrices are written by all their indices: counting the references to a view of every row would take
longer than a short row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.bits import arrange, exponentials

__all__ = ["neuralsort", "neuralsort_slopes", "softsort", "softsort_slopes"]

_TILE = 2048
"""Logits, in whole rows, from which on they are turned into weights, while the fastest cache still has them."""


@kernel("any")
def _pad(matrix: Any, m: int) -> None:
    """Write the logits of the identity beyond the first m rows and columns."""
    for i in range(matrix.shape[0]):
        for j in range(m if i < m else 0, matrix.shape[0]):
            matrix[i, j] = 0 if j == i else -np.inf


@kernel("any")
def _softmax(rows: Any) -> None:
    """Replace logits [rows, n], the largest of every row 0, by their softmax."""
    exponentials(rows.reshape(-1))
    one = rows.dtype.type(1)
    for i in range(rows.shape[0]):
        row, total = rows[i], rows.dtype.type(0)
        for j in range(rows.shape[1]):
            total += row[j]
        share = one / total
        for j in range(rows.shape[1]):
            row[j] *= share


@kernel("any")
def neuralsort(scores: Any, lengths: Any, scale: float, kept: Any, matrices: Any) -> None:
    """Write the softmax of ((2i + 1 − m)s_j − Σ_k |s_j − s_k|)/τ to `matrices`, and `order`."""
    (order,) = kept
    batch, n = scores.shape
    rows, done = matrices.reshape(batch * n, n), 0
    own, spread = np.empty((2, n), scores.dtype)
    work = np.empty(n, np.int32)
    zero = scores.dtype.type(0)
    for b in range(batch):
        m, values = lengths[b], scores[b]
        arrange(values[:m], 1, order[b], work)
        _pad(matrices[b], m)
        mean = 0.0
        for j in range(m):
            mean += values[j] / m
        above, below = 0.0, 0.0
        for j in range(m):
            above += values[j] - mean
        for i in range(m):
            j = order[b, i]
            centred = values[j] - mean
            above -= centred
            own[j] = centred * scale
            spread[j] = (centred * (2 * i + 1 - m) - below + above) * scale
            below += centred
        for i in range(n):
            line = b * n + i
            if i < m:
                pull, top = scores.dtype.type(2 * i + 1 - m), order[b, i]
                centre, most = own[top], spread[top]
                for j in range(m):  # minus the logit of the item that belongs here, the largest of the row
                    rows[line, j] = min(pull * (own[j] - centre) - (spread[j] - most), zero)
            if (line + 1 - done) * n >= _TILE or line + 1 == batch * n:
                _softmax(rows[done : line + 1])
                done = line + 1


@kernel("any")
def neuralsort_slopes(grads: Any, lengths: Any, scale: float, kept: Any, result: Any) -> None:
    """Write the derivative with respect to the scores to `result`, given that with respect to the matrices."""
    order, scores, matrices = kept
    batch, n = scores.shape
    lot, pulled = np.empty((2, n), scores.dtype)
    zero = scores.dtype.type(0)
    for b in range(batch):
        m, values, items, slope = lengths[b], scores[b], order[b], result[b]
        slope[:], lot[:], pulled[:] = 0, 0, 0
        for i in range(m):
            p, grad = matrices[b, i], grads[b, i]
            pull, mean = scores.dtype.type(2 * i + 1 - m), zero
            for j in range(m):
                mean += p[j] * grad[j]
            for j in range(m):
                q = p[j] * (grad[j] - mean)
                lot[j] += q
                pulled[j] += pull * q
        total = 0.0
        for j in range(m):
            total += lot[j]
        start, below = 0, 0.0
        while start < m:  # equal scores do not push each other
            end, group = start, 0.0
            while end < m and values[items[end]] == values[items[start]]:
                group += lot[items[end]]
                end += 1
            rest = below - (total - below - group)
            for i in range(start, end):
                j = items[i]
                slope[j] = (pulled[j] - lot[j] * (start + end - m) - rest) * scale
            start, below = end, below + group


@kernel("any")
def softsort(scores: Any, lengths: Any, scale: float, kept: Any, matrices: Any) -> None:
    """Write the softmax of −|s_(i) − s_j|/τ to `matrices`, and `order`."""
    (order,) = kept
    batch, n = scores.shape
    rows, done = matrices.reshape(batch * n, n), 0
    factor = scores.dtype.type(scale)
    work = np.empty(n, np.int32)
    for b in range(batch):
        m, values = lengths[b], scores[b]
        arrange(values[:m], 1, order[b], work)
        _pad(matrices[b], m)
        for i in range(n):
            line = b * n + i
            if i < m:
                own = values[order[b, i]]
                for j in range(m):
                    rows[line, j] = -abs(own - values[j]) * factor
            if (line + 1 - done) * n >= _TILE or line + 1 == batch * n:
                _softmax(rows[done : line + 1])
                done = line + 1


@kernel("any")
def softsort_slopes(grads: Any, lengths: Any, scale: float, kept: Any, result: Any) -> None:
    """Write the derivative with respect to the scores to `result`, given that with respect to the matrices."""
    order, scores, matrices = kept
    zero = scores.dtype.type(0)
    for b in range(scores.shape[0]):
        m = lengths[b]
        values, slope = scores[b], result[b]
        slope[:] = 0
        for i in range(m):
            p, grad = matrices[b, i], grads[b, i]
            mean = zero
            for j in range(m):
                mean += p[j] * grad[j]
            own, total = values[order[b, i]], zero
            for j in range(m):
                q = p[j] * (grad[j] - mean)
                pull = (q if own > values[j] else zero) - (q if own < values[j] else zero)
                slope[j] += pull
                total += pull
            slope[order[b, i]] -= total
        for j in range(m):
            slope[j] *= scale
