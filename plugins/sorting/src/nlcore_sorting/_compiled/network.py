"""Relaxed values of a sorting network, compiled, one list after the other.

Arguments: `network` holds the comparators, `lower` and `upper` [layers, n // 2], their `counts` [layers], the `lengths`
[batch] of the lists, and `depths` [n + 1], the number of layers for every length. `rule` is the number of the
distribution, β and λ. `kept` are `tails` and `gaps` [batch, layers, n // 2], float64: the lesser weight of every
comparator, exact, and its difference b − a, whose sign marks the lesser weight. Both are 0 for comparators that a
shorter list lacks. They hold one list where there is no backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore_sorting._compiled.distributions import activation, swap_slope, tail, weights
from nlcore_sorting._compiled.jit import compiled

__all__ = ["relax_slopes", "relaxed", "sorted_slopes", "sorted_values"]


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
            lesser = tail(kind, abs(activation(kind, b - a, steepness, art)))
            keep, swap = weights(lesser, b - a)
            values[i] = keep * a + swap * b
            values[j] = swap * a + keep * b
            tails[layer, c] = lesser
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
    """Turn the derivative with respect to the sorted values of one list into that with respect to its scores, in place.

    `kept` also holds the derivatives with respect to the weights of swapping that come from elsewhere.
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
    """Write the relaxed sorted values of every list to `result` [batch, n]."""
    values = np.empty(scores.shape[1])
    for b in range(scores.shape[0]):
        relaxed(b, scores, network, rule, kept, values)
        result[b] = values


@compiled
def sorted_slopes(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative with respect to the scores to `result` [batch, n], given that of the sorted values."""
    lengths, depths = network[3:]
    pull, slopes = np.empty(result.shape[1]), np.zeros((network[0].shape[0], result.shape[1] // 2))
    for b in range(result.shape[0]):
        pull[:] = grads[b]
        size = (lengths[b], depths[lengths[b]])
        relax_slopes(pull, network, size, rule, (kept[0][b], kept[1][b], slopes))
        result[b] = pull
