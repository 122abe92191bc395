"""The matrix P of a sorting network, some of its rows or one entry of every column, compiled.

P is what the layers make of the unit vectors. They do not mix, so a block of them goes through all layers while it is
in the cache. The backward pass sends it through again and keeps the differences that its comparators met. In a long
network it keeps them for a section of layers at a time, the last section first, and the state before each: O(√layers·n)
numbers for a block, and never more than one list and one block at once.

Every layer is a symmetric matrix. Row i of P is therefore what the network run backwards makes of unit vector i, and k
rows cost k columns. The arguments are those of `network`; `selection` is what is computed, and at which places:

- `_MATRIX`: P, `result` [batch, n, n]; of the places only their number n is read;
- `_ROWS`: its rows at `places` [batch, k], `result` [batch, k, n];
- `_ENTRIES`: its entries at `places` [batch, n] of the columns, `result` [batch, 1, n];
- `_RANKS`: the network run backwards on the numbers of the places, `result` [batch, 1, n]; one place is given.

Places given for one list serve all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.distributions import weights
from nlcore_sorting._compiled.network import relax_slopes, relaxed, size_of

__all__ = ["SELECTIONS", "backward", "forward", "mix", "mix_keep"]

_MATRIX, _ROWS, _ENTRIES, _RANKS = 0, 1, 2, 3
SELECTIONS = {"permutation": _MATRIX, "rows": _ROWS, "entries": _ENTRIES, "rank": _RANKS}

_COLUMNS = 64
"""Unit vectors of a block; a block is a multiple of 16 of them, so that its loops run in whole vectors."""

_STEPS = 1 << 18
"""Numbers that the comparators may keep without being split into sections."""


@kernel("any")
def mix(state: Any, network: Any, course: int, span: Any, kept: Any) -> None:
    """Send the rows of `state` through some comparators.

    `course` is 0, or the last comparator where they are taken from the last to the first; `span` is from which of them,
    so counted, to which.
    """
    lower, upper = network[:2]
    tails, gaps = kept
    width = state.shape[1]
    for step in range(*span):
        c = abs(course - step)
        upper_row, lower_row = state[lower[c]], state[upper[c]]
        stay, move = weights(tails[c], gaps[c])
        keep, swap = state.dtype.type(stay), state.dtype.type(move)
        for k in range(width):
            a, b = upper_row[k], lower_row[k]
            upper_row[k] = keep * a + swap * b
            lower_row[k] = swap * a + keep * b


@kernel("any")
def mix_keep(state: Any, network: Any, course: int, span: Any, kept: Any, steps: Any) -> None:
    """Like `mix`; keeps the differences b − a in `steps`, in the order in which they are met."""
    lower, upper = network[:2]
    tails, gaps = kept
    width = state.shape[1]
    for step in range(*span):
        c = abs(course - step)
        upper_row, lower_row, met = state[lower[c]], state[upper[c]], steps[step - span[0]]
        stay, move = weights(tails[c], gaps[c])
        keep, swap = state.dtype.type(stay), state.dtype.type(move)
        for k in range(width):
            a, b = upper_row[k], lower_row[k]
            met[k] = b - a
            upper_row[k] = keep * a + swap * b
            lower_row[k] = swap * a + keep * b


@kernel("any")
def _mix_back(grad: Any, network: Any, course: int, span: Any, kept: Any, results: Any) -> None:
    """Send the derivative back through some comparators, and add those with respect to the weights to `slopes`."""
    lower, upper = network[:2]
    tails, gaps = kept
    first, last = span
    steps, slopes = results
    width = grad.shape[1]
    step = last
    while step > first:  # a range that counts down would keep the inner loop from running in vectors
        step -= 1
        c = abs(course - step)
        upper_row, lower_row, met = grad[lower[c]], grad[upper[c]], steps[step - first]
        stay, move = weights(tails[c], gaps[c])
        keep, swap = grad.dtype.type(stay), grad.dtype.type(move)
        total = grad.dtype.type(0)
        for k in range(width):
            a, b = upper_row[k], lower_row[k]
            total += (a - b) * met[k]
            upper_row[k] = keep * a + swap * b
            lower_row[k] = swap * a + keep * b
        slopes[c] += total


@kernel("any")
def _block(columns: int) -> int:
    return 1 if columns == 1 else min(_COLUMNS, (max(columns, 1) + 15) // 16 * 16)


@kernel("any")
def _units(state: Any, kind: int, places: Any, first: int, last: int) -> None:
    """Make `state` the unit vectors that a block begins with."""
    state[:] = 0
    if kind == _RANKS:
        for i in range(state.shape[0]):
            state[i, 0] = i
        return
    for k in range(first, last):
        state[places[k] if kind == _ROWS else k, k - first] = 1


@kernel("any")
def _write(state: Any, kind: int, places: Any, span: Any, result: Any) -> None:
    """Write what the layers made of the unit vectors of a block into the result of a list."""
    first, last = span
    if kind == _MATRIX:
        result[:, first:last] = state[:, : last - first]
    elif kind in (_ROWS, _RANKS):
        result[first:last] = state[:, : last - first].T
    else:
        for k in range(first, last):
            result[0, k] = state[places[k], k - first]


@kernel("any")
def _read(grads: Any, kind: int, places: Any, span: Any, grad: Any) -> None:
    """Write the derivative with respect to what `_write` read to `grad`, given that with respect to the result."""
    first, last = span
    grad[:] = 0
    if kind == _MATRIX:
        grad[:, : last - first] = grads[:, first:last]
    elif kind in (_ROWS, _RANKS):
        grad[:, : last - first] = grads[first:last].T
    else:
        for k in range(first, last):
            grad[places[k], k - first] = grads[0, k]


@kernel("any")
def forward(scores: Any, network: Any, rule: Any, selection: Any, kept: Any, result: Any) -> None:
    """Write the selected part of every matrix to `result`."""
    batch, n = scores.shape
    kind, places = selection
    tails, gaps = kept
    columns = places.shape[1]
    values = np.empty(n)
    width = _block(columns)
    state = np.empty((n, width), result.dtype)
    for b in range(batch):
        slot, size = relaxed(b, scores, network, rule, kept, values)
        course, chosen = size[1] - 1 if kind in (_ROWS, _RANKS) else 0, places[b % places.shape[0]]
        for first in range(0, columns, width):
            last = min(first + width, columns)
            _units(state, kind, chosen, first, last)
            mix(state, network, course, (0, size[1]), (tails[slot], gaps[slot]))
            _write(state, kind, chosen, (first, last), result[b])


@kernel("any")
def backward(grads: Any, network: Any, rule: Any, selection: Any, kept: Any, result: Any) -> None:
    """Write the derivative with respect to the scores to `result` [batch, n], given that of the selected part."""
    batch, n = result.shape
    kind, places = selection
    tails, gaps = kept
    columns, count = places.shape[1], len(network[0])
    width = _block(columns)
    section = max(1, count)
    if count * width > _STEPS:
        section = min(count, int(math.sqrt(count * n)) + 1)
    state = np.empty((n, width), grads.dtype)
    grad = np.empty((n, width), grads.dtype)
    steps = np.empty((section, width), grads.dtype)
    states = np.empty((max(count - 1, 0) // section, n, width), grads.dtype)
    slopes = np.empty(count)
    pull = np.empty(n)
    for b in range(batch):
        size = size_of(b, network)
        course, own = size[1] - 1 if kind in (_ROWS, _RANKS) else 0, (tails[b], gaps[b])
        chosen = places[b % places.shape[0]]
        sections = (size[1] - 1) // section
        slopes[:] = 0
        for first in range(0, columns, width):
            last = min(first + width, columns)
            _units(state, kind, chosen, first, last)
            for s in range(sections):
                states[s] = state
                mix(state, network, course, (s * section, (s + 1) * section), own)
            _read(grads[b], kind, chosen, (first, last), grad)
            for s in range(sections, -1, -1):
                if s < sections:
                    state[:] = states[s]
                span = (s * section, min((s + 1) * section, size[1]))
                mix_keep(state, network, course, span, own, steps)
                _mix_back(grad, network, course, span, own, (steps, slopes))
        pull[:] = 0
        relax_slopes(pull, network, size, rule, (tails[b], gaps[b], slopes))
        result[b] = pull
