"""Sorting networks, compiled: one list after the other, the matrix a block of columns at a time.

Columns of the matrix do not mix, so a block of them goes through all layers while it is in the cache. The backward pass
sends it through again and keeps the differences that its comparators met. In a long network it keeps them for a
section of layers at a time, the last section first, and the state before each: memory O(√layers·n) for each block, that
of one list and one block in all.

Arguments: `network` holds the comparators, `lower` and `upper` [layers, n // 2], their `counts` [layers], the `lengths`
[batch] of the lists, and `depths` [n + 1], the layers for every length. `rule` is the number of the distribution, β and
λ. `kept` are `swaps` and `gaps` [batch, layers, n // 2], float64, the weight of the swap and the difference b − a of
every comparator, 0 for those that a shorter list lacks; they hold one list if they are not to be kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._numba import compiled

__all__ = ["KINDS", "matrix", "matrix_slopes", "ranked", "ranked_slopes", "sorted_slopes", "sorted_values"]

KINDS = {"cauchy": 0, "gaussian": 1, "logistic": 2, "logistic_phi": 3, "optimal": 4, "reciprocal": 5}
"""The distributions by number."""

_COLUMNS = 64
"""Columns of a block; a block is a multiple of 16 columns, so that its loops run in whole vectors."""

_STEPS = 1 << 18
"""Numbers that a section of layers may keep without the states between sections."""

_EPSILON = 1e-10


@compiled
def _activation(kind: int, d: float, steepness: float, art: float) -> float:
    return d * steepness / (abs(d) + _EPSILON) ** art if kind == 3 else d * steepness


@compiled
def _swap(kind: int, x: float) -> float:
    """Return 1 − F(x), exact where it is small."""
    if kind == 0:
        return math.atan2(1.0, x) / math.pi
    if kind in (2, 3):
        small = math.exp(-abs(x))
        return small / (1 + small) if x > 0 else 1 / (1 + small)
    m = abs(x)
    if kind == 1:
        tail = 0.5 * math.erfc(m * math.sqrt(0.5))
    elif kind == 4:
        tail = 0.0625 / m if m > 0.25 else 0.5 - m
    else:
        tail = 0.5 / (1 + 2 * m)
    return 1 - tail if x < 0 else tail


@compiled
def _swap_slope(kind: int, d: float, steepness: float, art: float) -> float:
    """Return the derivative of the weight by d."""
    x = _activation(kind, d, steepness, art)
    m = abs(x)
    if kind == 0:
        return -steepness / (math.pi * (1 + m * m))
    if kind == 1:
        return -steepness * math.exp(-0.5 * m * m) / math.sqrt(2 * math.pi)
    if kind == 4:
        return -steepness if m <= 0.25 else -steepness * 0.0625 / (m * m)
    if kind == 5:
        return -steepness / ((1 + 2 * m) * (1 + 2 * m))
    small = math.exp(-m)
    slope = -steepness * small / ((1 + small) * (1 + small))
    if kind == 3:
        shifted = abs(d) + _EPSILON
        slope *= (1 - art * abs(d) / shifted) / shifted**art
    return slope


@compiled
def _relax(values: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Sort `values` in place, and write the weights and the differences of one list to `kept`."""
    lower, upper, counts = network[:3]
    kind, steepness, art = rule
    swaps, gaps = kept
    length, layers = size
    for layer in range(layers):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                swaps[layer, c] = gaps[layer, c] = 0.0
                continue
            a, b = values[i], values[j]
            weight = _swap(kind, _activation(kind, b - a, steepness, art))
            values[i] = (1 - weight) * a + weight * b
            values[j] = weight * a + (1 - weight) * b
            swaps[layer, c] = weight
            gaps[layer, c] = b - a


@compiled
def _relax_slopes(grad: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Turn the derivative by the sorted values of one list into that by its scores, in place.

    `kept` also holds the derivatives by the weights that come from elsewhere.
    """
    lower, upper, counts = network[:3]
    kind, steepness, art = rule
    swaps, gaps, slopes = kept
    length, layers = size
    for layer in range(layers - 1, -1, -1):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            d = gaps[layer, c]
            pull = grad[i] - grad[j]
            slope = swaps[layer, c] * pull
            slope += (slopes[layer, c] + pull * d) * _swap_slope(kind, d, steepness, art)
            grad[i] -= slope
            grad[j] += slope


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
    swaps, gaps = kept
    lengths, depths = network[3:]
    values = np.empty(n)
    width = _block(n)
    state = np.empty((n, width), result.dtype)
    for b in range(batch):
        slot = b % swaps.shape[0]
        values[:] = scores[b]
        size = (lengths[b], depths[lengths[b]])
        _relax(values, network, size, rule, (swaps[slot], gaps[slot]))
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
        _relax_slopes(pull, network, size, rule, (swaps[b], gaps[b], slopes))
        result[b] = pull


@compiled
def sorted_values(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the sorted values of every list to `result` [batch, n]."""
    batch, n = scores.shape
    swaps, gaps = kept
    lengths, depths = network[3:]
    values = np.empty(n)
    for b in range(batch):
        slot = b % swaps.shape[0]
        values[:] = scores[b]
        size = (lengths[b], depths[lengths[b]])
        _relax(values, network, size, rule, (swaps[slot], gaps[slot]))
        result[b] = values


@compiled
def sorted_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result` [batch, n], given that by the sorted values."""
    batch, n = result.shape
    swaps, gaps = kept
    lengths, depths = network[3:]
    pull = np.empty(n)
    slopes = np.zeros((network[0].shape[0], n // 2))
    for b in range(batch):
        size = (lengths[b], depths[lengths[b]])
        pull[:] = grads[b]
        _relax_slopes(pull, network, size, rule, (swaps[b], gaps[b], slopes))
        result[b] = pull


@compiled
def ranked(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the relaxed places to `result` [batch, n]: the network run backwards on the places."""
    batch, n = scores.shape
    swaps, gaps = kept
    lower, upper, counts, lengths, depths = network
    values = np.empty(n)
    for b in range(batch):
        slot = b % swaps.shape[0]
        values[:] = scores[b]
        size = (lengths[b], depths[lengths[b]])
        _relax(values, network, size, rule, (swaps[slot], gaps[slot]))
        for i in range(n):
            values[i] = i
        for layer in range(size[1] - 1, -1, -1):
            for c in range(counts[layer]):
                i, j = lower[layer, c], upper[layer, c]
                weight = swaps[slot, layer, c]
                low, high = values[i], values[j]
                values[i] = (1 - weight) * low + weight * high
                values[j] = weight * low + (1 - weight) * high
        result[b] = values


@compiled
def ranked_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result` [batch, n], given that by the places."""
    batch, n = result.shape
    swaps, gaps = kept
    lower, upper, counts, lengths, depths = network
    places = np.empty(n)
    pull = np.empty(n)
    slopes = np.zeros((lower.shape[0], n // 2))
    for b in range(batch):
        size = (lengths[b], depths[lengths[b]])
        for i in range(n):
            places[i] = i
        for layer in range(size[1] - 1, -1, -1):
            for c in range(counts[layer]):
                i, j = lower[layer, c], upper[layer, c]
                weight = swaps[b, layer, c]
                low, high = places[i], places[j]
                slopes[layer, c] = high - low
                places[i] = (1 - weight) * low + weight * high
                places[j] = weight * low + (1 - weight) * high
        pull[:] = grads[b]
        for layer in range(size[1]):  # the places went through the layers from the last to the first
            for c in range(counts[layer]):
                i, j = lower[layer, c], upper[layer, c]
                weight = swaps[b, layer, c]
                low, high = pull[i], pull[j]
                slopes[layer, c] *= low - high
                pull[i] = (1 - weight) * low + weight * high
                pull[j] = weight * low + (1 - weight) * high
        pull[:] = 0
        _relax_slopes(pull, network, size, rule, (swaps[b], gaps[b], slopes))
        result[b] = pull
