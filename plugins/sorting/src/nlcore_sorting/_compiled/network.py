"""Relaxed values of a sorting network, compiled, one list after the other.

Arguments: `network` holds the comparators of all layers one after the other, `lower` and `upper` [c], the `lengths`
[batch] of the lists, and `counts` [n + 1], how many comparators the layers of lists of every length have. `rule` is the
number of the distribution, β and λ. `kept` are `tails` and `gaps` [batch, c], float64: the lesser weight of every
comparator, exact, and its difference b − a, whose sign marks the lesser weight. Both are 0 for comparators that a
shorter list lacks. They hold one list where there is no backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.distributions import activation, swap_slope, tail, weights

__all__ = ["backward", "forward", "relax_slopes", "relaxed", "size_of"]


@kernel("any")
def _relax(values: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Sort `values` in place, and write the weights and the differences of one list to `kept`."""
    lower, upper = network[:2]
    kind, steepness, art = rule
    tails, gaps = kept
    length, count = size
    for c in range(count):
        i, j = lower[c], upper[c]
        if j >= length:
            tails[c] = gaps[c] = 0.0
            continue
        a, b = values[i], values[j]
        lesser = tail(kind, abs(activation(kind, b - a, steepness, art)))
        keep, swap = weights(lesser, b - a)
        values[i] = keep * a + swap * b
        values[j] = swap * a + keep * b
        tails[c] = lesser
        gaps[c] = b - a


@kernel("any")
def size_of(b: int, network: Any) -> Any:
    """Return the length of list b, and the number of comparators of its layers."""
    lengths, counts = network[2:]
    return lengths[b], counts[lengths[b]]


@kernel("any")
def relaxed(b: int, scores: Any, network: Any, rule: Any, kept: Any, values: Any) -> Any:
    """Sort the scores of list b into `values`; return where its weights are kept, and its size."""
    tails, gaps = kept
    slot, size = b % tails.shape[0], size_of(b, network)
    values[:] = scores[b]
    _relax(values, network, size, rule, (tails[slot], gaps[slot]))
    return slot, size


@kernel("any")
def relax_slopes(grad: Any, network: Any, size: Any, rule: Any, kept: Any) -> None:
    """Turn the derivative with respect to the sorted values of one list into that with respect to its scores, in place.

    `kept` also holds the derivatives with respect to the weights of swapping that come from elsewhere.
    """
    lower, upper = network[:2]
    kind, steepness, art = rule
    tails, gaps, slopes = kept
    length, count = size
    for c in range(count - 1, -1, -1):
        i, j = lower[c], upper[c]
        if j >= length:
            continue
        d = gaps[c]
        pull = grad[i] - grad[j]
        slope = weights(tails[c], d)[1] * pull
        slope += (slopes[c] + pull * d) * swap_slope(kind, d, steepness, art)
        grad[i] -= slope
        grad[j] += slope


@kernel("any")
def forward(scores: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the relaxed sorted values of every list to `result` [batch, n]."""
    values = np.empty(scores.shape[1])
    for b in range(scores.shape[0]):
        relaxed(b, scores, network, rule, kept, values)
        result[b] = values


@kernel("any")
def backward(grads: Any, network: Any, rule: Any, kept: Any, result: Any) -> None:
    """Write the derivative with respect to the scores to `result` [batch, n], given that of the sorted values."""
    pull, slopes = np.empty(result.shape[1]), np.zeros(len(network[0]))
    for b in range(result.shape[0]):
        pull[:] = grads[b]
        relax_slopes(pull, network, size_of(b, network), rule, (kept[0][b], kept[1][b], slopes))
        result[b] = pull
