"""The cross-entropy of the entries of P [batch, n, n], compiled, from probabilities in float64.

`places` [batch, n] are the true ranks, `lengths` [batch] the numbers of real items.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._compiled.jit import compiled
from nlcore_sorting._cross_entropy import LEAST

__all__ = ["entries", "entries_slopes", "largest"]

_FACTORS = 512
"""Numbers between ½ and 1 whose product is far from underflow."""


@compiled
def largest(row: Any) -> Any:
    """Return the index of the largest number of a row, and the sum of the others."""
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
    """Write the derivative with respect to `p` to `result`, given that with respect to the losses, `grads` [batch]."""
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
