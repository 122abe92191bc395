"""NeuralSort and SoftSort, compiled: the logits in one pass, the derivative by the scores in another.

Neither holds more than the matrix. The softmax between them is torch's, but for rows of few items. `scores` are the
numbers [batch, n] and their bits as integers, `lengths` [batch] the real items of every list; `scale` is 1/τ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled
from nlcore_sorting._numba_projection import arrange, workplace

__all__ = ["neuralsort_logits", "neuralsort_slopes", "softmax_rows", "softsort_logits", "softsort_slopes"]


@compiled
def _pad(logits: Any, m: int, nothing: float) -> None:
    """Write the logits of the identity beyond the first m rows and columns."""
    logits[:m, m:] = nothing
    logits[m:, :] = nothing
    for i in range(m, logits.shape[0]):
        logits[i, i] = 0


@compiled
def neuralsort_logits(scores: Any, lengths: Any, scale: float, nothing: float, result: Any) -> None:
    """Write ((2i + 1 − m)s_j − Σ_k |s_j − s_k|)/τ to `result` [batch, n, n]."""
    values, bits = scores
    batch, n = values.shape
    work, order = workplace(n), np.empty(n, np.int32)
    own, spread = np.empty((2, n), values.dtype)
    for b in range(batch):
        m = lengths[b]
        arrange(bits[b, :m], 1, order[:m], work)
        mean = 0.0
        for i in range(m):
            mean += values[b, i] / m
        above = 0.0
        for i in range(m):
            above += values[b, i] - mean
        below = 0.0
        for i in range(m):
            j = order[i]
            centred = values[b, j] - mean
            above -= centred
            own[j] = centred * scale
            spread[j] = (centred * (2 * i + 1 - m) - below + above) * scale
            below += centred
        for i in range(m):
            pull = values.dtype.type(2 * i + 1 - m)
            row = result[b, i]
            for j in range(m):
                row[j] = pull * own[j] - spread[j]
        _pad(result[b], m, nothing)


@compiled
def neuralsort_slopes(scores: Any, lengths: Any, scale: float, matrices: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`; `matrices` are P and the derivative by it."""
    values, bits = scores
    batch, n = values.shape
    work, order = workplace(n), np.empty(n, np.int32)
    lot, pulled = np.empty((2, n), values.dtype)
    for b in range(batch):
        m = lengths[b]
        lot[:] = 0
        pulled[:] = 0
        for i in range(m):
            p, grad = matrices[0][b, i], matrices[1][b, i]
            mean = values.dtype.type(0)
            for j in range(m):
                mean += p[j] * grad[j]
            pull = values.dtype.type(2 * i + 1 - m)
            for j in range(m):
                q = p[j] * (grad[j] - mean)
                lot[j] += q
                pulled[j] += pull * q
        arrange(bits[b, :m], 1, order[:m], work)
        total = 0.0
        for j in range(m):
            total += lot[j]
        start, below = 0, 0.0
        while start < m:  # equal scores do not push each other
            end, group = start, 0.0
            while end < m and values[b, order[end]] == values[b, order[start]]:
                group += lot[order[end]]
                end += 1
            rest = below - (total - below - group)
            for i in range(start, end):
                j = order[i]
                result[b, j] = (pulled[j] - lot[j] * (start + end - m) - rest) * scale
            start, below = end, below + group
        result[b, m:] = 0


@compiled
def softsort_logits(scores: Any, lengths: Any, scale: float, nothing: float, result: Any) -> None:
    """Write −|s_(i) − s_j|/τ to `result` [batch, n, n]."""
    values, bits = scores
    batch, n = values.shape
    work, order = workplace(n), np.empty(n, np.int32)
    factor = values.dtype.type(scale)
    for b in range(batch):
        m = lengths[b]
        arrange(bits[b, :m], 1, order[:m], work)
        for i in range(m):
            own = values[b, order[i]]
            row, line = result[b, i], values[b]
            for j in range(m):
                row[j] = -abs(own - line[j]) * factor
        _pad(result[b], m, nothing)


@compiled
def softsort_slopes(scores: Any, lengths: Any, scale: float, matrices: Any, result: Any) -> None:
    """Write the derivative by the scores to `result`; `matrices` are P and the derivative by it."""
    values, bits = scores
    batch, n = values.shape
    work, order = workplace(n), np.empty(n, np.int32)
    column = np.empty(n, values.dtype)
    zero = values.dtype.type(0)
    for b in range(batch):
        m = lengths[b]
        arrange(bits[b, :m], 1, order[:m], work)
        line = values[b]
        column[:] = 0
        result[b] = 0
        for i in range(m):
            p, grad = matrices[0][b, i], matrices[1][b, i]
            mean = zero
            for j in range(m):
                mean += p[j] * grad[j]
            own, total = line[order[i]], zero
            for j in range(m):
                q = p[j] * (grad[j] - mean)
                pull = (q if own > line[j] else zero) - (q if own < line[j] else zero)
                column[j] += pull
                total += pull
            result[b, order[i]] -= total
        for j in range(m):
            result[b, j] = (result[b, j] + column[j]) * scale


@compiled
def softmax_rows(matrices: Any) -> None:
    """Replace the rows of [batch, n, n] by their softmax."""
    for matrix in matrices:
        for row in matrix:
            top = row[0]
            for z in row:
                top = max(top, z)
            total = row.dtype.type(0)
            for j in range(row.shape[0]):
                row[j] = math.exp(row[j] - top)
                total += row[j]
            for j in range(row.shape[0]):
                row[j] /= total
