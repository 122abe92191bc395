"""The cross-entropies of `_cross_entropy`, compiled, from probabilities in float64 instead of their logarithms.

`p` are P [batch, n, n] for the entries and, for the rows, P at the true places [batch, 1, n]; `places` [batch, n] are
these places, `lengths` [batch] the real items of every list.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._compiled.jit import compiled
from nlcore_sorting._network.cross_entropy import LEAST

__all__ = ["entries", "entries_slopes", "largest", "rows", "rows_slopes"]

_FACTORS = 512
"""Numbers between ½ and 1 whose product is far from underflow."""


@compiled
def rows(p: Any, places: Any, lengths: Any, losses: Any, least: Any) -> None:
    """Write the cross-entropies of the rows to `losses` [batch], and the smallest probabilities to `least` [batch]."""
    for b in range(losses.shape[0]):
        m = lengths[b]
        total, smallest = 0.0, 1.0
        for j in range(m):
            smallest = min(smallest, p[b, 0, j])
            total -= math.log(max(p[b, 0, j], LEAST))
        losses[b] = total / max(m, 1)
        least[b] = smallest


@compiled
def rows_slopes(p: Any, places: Any, lengths: Any, grads: Any, result: Any) -> None:
    """Write the derivative by `p` to `result`, given that by the losses, `grads` [batch]."""
    for b in range(grads.shape[0]):
        m = lengths[b]
        result[b] = 0
        for j in range(m):
            result[b, 0, j] = -grads[b] / (m * max(p[b, 0, j], LEAST))


@compiled
def largest(row: Any) -> Any:
    """Return where the largest number of a row is, and the sum of the others."""
    top = 0
    for j in range(row.shape[0]):
        if row[j] > row[top]:
            top = j
    others = 0.0
    for j in range(row.shape[0]):
        if j != top:
            others += row[j]
    return top, max(others, LEAST)


@compiled
def entries(p: Any, places: Any, lengths: Any, losses: Any, least: Any) -> None:
    """Write the cross-entropies of the entries to `losses` [batch], and the smallest probabilities to `least` [batch].

    All entries but the largest of a row are at most ½, so that many of their complements have one logarithm.
    """
    item = np.empty(p.shape[2], np.int64)
    for b in range(losses.shape[0]):
        m = lengths[b]
        item[places[b]] = np.arange(p.shape[2])
        total, smallest = 0.0, 1.0
        for i in range(m):
            row, true = p[b, i, :m], item[i]
            top, others = largest(row)
            for first in range(0, m, _FACTORS):
                product = 1.0
                for j in range(first, min(first + _FACTORS, m)):
                    product *= 1.0 if j in (top, true) else 1.0 - row[j]
                total -= math.log(product)
            smallest = min(smallest, row[true])
            total -= math.log(max(row[true], LEAST))
            if top != true:
                total -= math.log(others)
        losses[b] = total / max(m * m, 1)
        least[b] = smallest


@compiled
def entries_slopes(p: Any, places: Any, lengths: Any, grads: Any, result: Any) -> None:
    """Write the derivative by `p` to `result`, given that by the losses, `grads` [batch]."""
    item = np.empty(p.shape[2], np.int64)
    for b in range(grads.shape[0]):
        m = lengths[b]
        item[places[b]] = np.arange(p.shape[2])
        result[b] = 0
        grad = grads[b] / max(m * m, 1)
        for i in range(m):
            row, true, slopes = p[b, i, :m], item[i], result[b, i, :m]
            top, others = largest(row)
            share = 0.0 if top == true else grad / others
            for j in range(m):
                slopes[j] = grad / (1.0 - row[j]) - share
            slopes[top] = 0.0
            slopes[true] = -grad / max(row[true], LEAST) - share
