"""Sorting networks, compiled: the values, one list after the other.

Arguments: `network` holds the comparators, `lower` and `upper` [layers, n // 2], their `counts` [layers], the `lengths`
[batch] of the lists, and `depths` [n + 1], the layers for every length. `rule` is the number of the distribution, β and
λ. `kept` are `tails` and `gaps` [batch, layers, n // 2], float64, the lesser weight of every comparator, exact, and its
difference b − a, which tells the two weights apart; both are 0 for comparators that a shorter list lacks. They hold one
list if they are not to be kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._compiled.jit import compiled

__all__ = [
    "EPSILON",
    "KINDS",
    "activation",
    "ranked",
    "ranked_slopes",
    "relax_slopes",
    "relaxed",
    "sorted_slopes",
    "sorted_values",
    "swap_slope",
    "weights",
]

KINDS = {"cauchy": 0, "gaussian": 1, "logistic": 2, "logistic_phi": 3, "optimal": 4, "reciprocal": 5}
"""The distributions by number."""

EPSILON = 1e-10


@compiled
def activation(kind: int, d: float, steepness: float, art: float) -> float:
    return d * steepness / (abs(d) + EPSILON) ** art if kind == 3 else d * steepness


@compiled
def _tail(kind: int, m: float) -> float:
    """Return 1 − F(m) at m ≥ 0, exact where it is small."""
    if kind == 0:
        return math.atan2(1.0, m) / math.pi
    if kind in (2, 3):
        small = math.exp(-m)
        return small / (1 + small)
    if kind == 1:
        return 0.5 * math.erfc(m * math.sqrt(0.5))
    if kind == 4:
        return 0.0625 / m if m > 0.25 else 0.5 - m
    return 0.5 / (1 + 2 * m)


@compiled
def weights(tail: float, gap: float) -> Any:
    """Return the weights of keeping and of swapping two values."""
    return (1 - tail, tail) if gap >= 0 else (tail, 1 - tail)


@compiled
def swap_slope(kind: int, d: float, steepness: float, art: float) -> float:
    """Return the derivative of the weight by d."""
    x = activation(kind, d, steepness, art)
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
        shifted = abs(d) + EPSILON
        slope *= (EPSILON + (1 - art) * abs(d)) / shifted ** (art + 1)
    return slope


@compiled
def _relax(values: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Sort `values` in place, and write the weights and the differences of one list to `kept`."""
    lower, upper, counts = network[:3]
    kind, steepness, art = rule
    tails, gaps = kept
    length, layers = size
    for layer in range(layers):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                tails[layer, c] = gaps[layer, c] = 0.0
                continue
            a, b = values[i], values[j]
            tail = _tail(kind, abs(activation(kind, b - a, steepness, art)))
            keep, swap = weights(tail, b - a)
            values[i] = keep * a + swap * b
            values[j] = swap * a + keep * b
            tails[layer, c] = tail
            gaps[layer, c] = b - a


@compiled
def relaxed(b: int, scores: Any, network: Any, rule: Any, kept: Any, values: Any) -> Any:
    """Sort the scores of list b into `values`; return where its weights are kept, its length and its layers."""
    tails, gaps = kept
    lengths, depths = network[3:]
    slot = b % tails.shape[0]
    values[:] = scores[b]
    size = (lengths[b], depths[lengths[b]])
    _relax(values, network, size, rule, (tails[slot], gaps[slot]))
    return slot, size


@compiled
def relax_slopes(grad: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Turn the derivative by the sorted values of one list into that by its scores, in place.

    `kept` also holds the derivatives by the weights of swapping that come from elsewhere.
    """
    lower, upper, counts = network[:3]
    kind, steepness, art = rule
    tails, gaps, slopes = kept
    length, layers = size
    for layer in range(layers - 1, -1, -1):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            d = gaps[layer, c]
            pull = grad[i] - grad[j]
            slope = weights(tails[layer, c], d)[1] * pull
            slope += (slopes[layer, c] + pull * d) * swap_slope(kind, d, steepness, art)
            grad[i] -= slope
            grad[j] += slope


@compiled
def sorted_values(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the sorted values of every list to `result` [batch, n]."""
    batch, n = scores.shape
    values = np.empty(n)
    for b in range(batch):
        relaxed(b, scores, network, rule, kept, values)
        result[b] = values


@compiled
def sorted_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result` [batch, n], given that by the sorted values."""
    batch, n = result.shape
    tails, gaps = kept
    lengths, depths = network[3:]
    pull = np.empty(n)
    slopes = np.zeros((network[0].shape[0], n // 2))
    for b in range(batch):
        size = (lengths[b], depths[lengths[b]])
        pull[:] = grads[b]
        relax_slopes(pull, network, size, rule, (tails[b], gaps[b], slopes))
        result[b] = pull


@compiled
def ranked(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the relaxed places to `result` [batch, n]: the network run backwards on the places."""
    batch, n = scores.shape
    tails, gaps = kept
    lower, upper, counts = network[:3]
    values = np.empty(n)
    for b in range(batch):
        slot, size = relaxed(b, scores, network, rule, kept, values)
        for i in range(n):
            values[i] = i
        for layer in range(size[1] - 1, -1, -1):
            for c in range(counts[layer]):
                i, j = lower[layer, c], upper[layer, c]
                keep, swap = weights(tails[slot, layer, c], gaps[slot, layer, c])
                low, high = values[i], values[j]
                values[i] = keep * low + swap * high
                values[j] = swap * low + keep * high
        result[b] = values


@compiled
def ranked_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative by the scores to `result` [batch, n], given that by the places."""
    batch, n = result.shape
    tails, gaps = kept
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
                keep, swap = weights(tails[b, layer, c], gaps[b, layer, c])
                low, high = places[i], places[j]
                slopes[layer, c] = high - low
                places[i] = keep * low + swap * high
                places[j] = swap * low + keep * high
        pull[:] = grads[b]
        for layer in range(size[1]):  # the places went through the layers from the last to the first
            for c in range(counts[layer]):
                i, j = lower[layer, c], upper[layer, c]
                keep, swap = weights(tails[b, layer, c], gaps[b, layer, c])
                low, high = pull[i], pull[j]
                slopes[layer, c] *= low - high
                pull[i] = keep * low + swap * high
                pull[j] = swap * low + keep * high
        pull[:] = 0
        relax_slopes(pull, network, size, rule, (tails[b], gaps[b], slopes))
        result[b] = pull
