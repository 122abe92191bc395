"""The matrix of a sorting network, compiled: one list after the other, a block of columns at a time.

Columns of the matrix do not mix, so a block of them goes through all layers while it is in the cache. The backward pass
sends it through again and keeps the differences that its comparators met. In a long network it keeps them for a
section of layers at a time, the last section first, and the state before each: memory O(√layers·n) for each block, that
of one list and one block in all. The arguments are those of `_numba_network`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled
from nlcore_sorting._numba_network import relax_slopes, relaxed

__all__ = ["matrix", "matrix_slopes"]

_COLUMNS = 64
"""Columns of a block; a block is a multiple of 16 columns, so that its loops run in whole vectors."""

_STEPS = 1 << 18
"""Numbers that a section of layers may keep without the states between sections."""


@compiled
def _mix(state: Any, network: Any, span: Any, swaps: Any) -> None:
    """Send the rows of `state` through some layers."""
    lower, upper, counts = network[:3]
    first, last = span
    width = state.shape[1]
    one = state.dtype.type(1)
    for layer in range(first, last):
        for c in range(counts[layer]):
            upper_row, lower_row = state[lower[layer, c]], state[upper[layer, c]]
            swap = state.dtype.type(swaps[layer, c])
            keep = one - swap
            for k in range(width):
                a, b = upper_row[k], lower_row[k]
                upper_row[k] = keep * a + swap * b
                lower_row[k] = swap * a + keep * b


@compiled
def _mix_keep(state: Any, network: Any, span: Any, swaps: Any, steps: Any) -> None:
    """Send the rows of `state` through some layers, and keep the differences b − a in `steps`."""
    lower, upper, counts = network[:3]
    first, last = span
    width = state.shape[1]
    one = state.dtype.type(1)
    for layer in range(first, last):
        for c in range(counts[layer]):
            upper_row, lower_row, step = state[lower[layer, c]], state[upper[layer, c]], steps[layer - first, c]
            swap = state.dtype.type(swaps[layer, c])
            keep = one - swap
            for k in range(width):
                a, b = upper_row[k], lower_row[k]
                step[k] = b - a
                upper_row[k] = keep * a + swap * b
                lower_row[k] = swap * a + keep * b


@compiled
def _mix_back(grad: Any, network: Any, span: Any, swaps: Any, results: Any) -> None:
    """Take the derivative by the rows back through some layers, and add those by the weights to `slopes`."""
    lower, upper, counts = network[:3]
    first, last = span
    steps, slopes = results
    width = grad.shape[1]
    one = grad.dtype.type(1)
    for layer in range(last - 1, first - 1, -1):
        for c in range(counts[layer]):
            upper_row, lower_row, step = grad[lower[layer, c]], grad[upper[layer, c]], steps[layer - first, c]
            swap = grad.dtype.type(swaps[layer, c])
            keep = one - swap
            total = grad.dtype.type(0)
            for k in range(width):
                a, b = upper_row[k], lower_row[k]
                total += (a - b) * step[k]
                upper_row[k] = keep * a + swap * b
                lower_row[k] = swap * a + keep * b
            slopes[layer, c] += total


@compiled
def _block(n: int) -> int:
    return min(_COLUMNS, (n + 15) // 16 * 16)


@compiled
def matrix(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write P of every list to `result` [batch, n, n]."""
    batch, n = scores.shape
    swaps = kept[0]
    values = np.empty(n)
    width = _block(n)
    state = np.empty((n, width), result.dtype)
    for b in range(batch):
        slot, size = relaxed(b, scores, network, rule, kept, values)
        for first in range(0, n, width):
            last = min(first + width, n)
            _identity(state, first, last)
            _mix(state, network, (0, size[1]), swaps[slot])
            result[b, :, first:last] = state[:, : last - first]


@compiled
def _identity(state: Any, first: int, last: int) -> None:
    state[:] = 0
    for i in range(first, last):
        state[i, i - first] = 1


@compiled
def matrix_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result` [batch, n], given that by P, `grads` [batch, n, n]."""
    batch, n = result.shape
    swaps, gaps = kept
    lengths, depths = network[3:]
    width = _block(n)
    layers = network[0].shape[0]
    section = max(1, layers)
    if layers * (n // 2) * width > _STEPS:
        section = min(layers, int(math.sqrt(2.0 * layers)) + 1)
    state = np.empty((n, width), grads.dtype)
    grad = np.empty((n, width), grads.dtype)
    steps = np.empty((section, n // 2, width), grads.dtype)
    states = np.empty(((layers - 1) // section, n, width), grads.dtype)
    slopes = np.empty((layers, n // 2))
    pull = np.empty(n)
    for b in range(batch):
        size = (lengths[b], depths[lengths[b]])
        sections = (size[1] - 1) // section
        slopes[:] = 0
        for first in range(0, n, width):
            last = min(first + width, n)
            _identity(state, first, last)
            for s in range(sections):
                states[s] = state
                _mix(state, network, (s * section, (s + 1) * section), swaps[b])
            grad[:, : last - first] = grads[b, :, first:last]
            grad[:, last - first :] = 0
            for s in range(sections, -1, -1):
                if s < sections:
                    state[:] = states[s]
                span = (s * section, min((s + 1) * section, size[1]))
                _mix_keep(state, network, span, swaps[b], steps)
                _mix_back(grad, network, span, swaps[b], (steps, slopes))
        pull[:] = 0
        relax_slopes(pull, network, size, rule, (swaps[b], gaps[b], slopes))
        result[b] = pull
