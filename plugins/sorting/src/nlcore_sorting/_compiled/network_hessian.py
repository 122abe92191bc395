"""The Hessian of a sorting network's loss, compiled, one list after the other.

The formula and its letters are those of `nlcore_sorting._network.hessian`; the arguments are those of `network_matrix`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore_sorting._compiled.cross_entropy import largest
from nlcore_sorting._compiled.distributions import swap_bend, swap_slope, weights
from nlcore_sorting._compiled.jit import compiled
from nlcore_sorting._compiled.network import relaxed
from nlcore_sorting._compiled.network_matrix import mix
from nlcore_sorting._cross_entropy import LEAST

__all__ = ["hessians"]


@compiled
def _jacobian(network: Any, size: Any, rule: Any, kept: Any, jacobian: Any) -> None:
    """Write D [layers, n // 2, n] of a list, whose comparators have been kept."""
    lower, upper, counts = network[:3]
    tails, gaps = kept
    kind, steepness, art = rule
    length, layers = size
    slopes = np.eye(length)
    for layer in range(layers):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            d = gaps[layer, c]
            rate = weights(tails[layer, c], d)[1] + d * swap_slope(kind, d, steepness, art)
            first, second, own = slopes[i], slopes[j], jacobian[layer, c]
            for v in range(length):
                own[v] = second[v] - first[v]
                first[v] += rate * own[v]
                second[v] -= rate * own[v]


@compiled
def _by_entries(p: Any, places: Any, entries: bool, grad: Any, root: Any, rest: Any) -> float:
    """Write the first derivatives with respect to P [m, m] and the roots of the second; return the least true entry.

    The complement of the largest entry of a row, if that is not true, is the sum of the others, 1/`rest`/m; `rest` is 0
    where the loss has no such term.
    """
    m = p.shape[0]
    least = 1.0
    grad[:], root[:], rest[:] = 0, 0, 0
    if not entries:
        for k in range(m):
            true = max(p[places[k], k], LEAST)
            least = min(least, p[places[k], k])
            grad[places[k], k] = -1 / (m * true)
            root[places[k], k] = 1 / (math.sqrt(m) * true)
        return least
    item = np.empty(m, np.int64)
    item[places[:m]] = np.arange(m)
    for i in range(m):
        true = item[i]
        top, others = largest(p[i])
        least = min(least, p[i, true])
        rest[i] = 0.0 if top == true else 1 / (m * others)
        for k in range(m):
            if k == true:
                root[i, k] = 1 / (m * max(p[i, k], LEAST))
                grad[i, k] = -(root[i, k] + rest[i]) / m
            elif k != top:
                root[i, k] = 1 / (m * (1 - p[i, k]))
                grad[i, k] = (root[i, k] - rest[i]) / m
    return least


@compiled
def _back(grad: Any, network: Any, size: Any, kept: Any, steps: Any) -> None:
    """Send t [m, m] back through the layers, and write τ [layers, n // 2, m] to `steps`."""
    lower, upper, counts = network[:3]
    tails, gaps = kept
    length, layers = size
    for layer in range(layers - 1, -1, -1):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            keep, swap = weights(tails[layer, c], gaps[layer, c])
            first, second, step = grad[i], grad[j], steps[layer, c]
            for k in range(length):
                a, b = first[k], second[k]
                step[k] = a - b
                first[k] = keep * a + swap * b
                second[k] = swap * a + keep * b


@compiled
def _column(k: int, network: Any, size: Any, rates: Any, jacobian: Any, steps: Any, sums: Any, state: Any) -> None:
    """Send a column and its derivative, `state`, through the layers, and add to Γ and F, `sums`."""
    lower, upper, counts = network[:3]
    tails, gaps, slopes = rates
    gammas, flows = sums
    s, ds = state
    length, layers = size
    s[:] = 0
    s[k] = 1
    ds[:] = 0
    for layer in range(layers):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            keep, swap = weights(tails[layer, c], gaps[layer, c])
            tau, step = steps[layer, c, k], s[j] - s[i]
            gammas[layer, c] += tau * step
            push = slopes[layer, c] * step
            first, second, own, flow = ds[i], ds[j], jacobian[layer, c], flows[layer, c]
            for v in range(length):
                a, b = first[v], second[v]
                flow[v] += tau * (b - a)
                first[v] = keep * a + swap * b + push * own[v]
                second[v] = swap * a + keep * b - push * own[v]
            a, b = s[i], s[j]
            s[i] = keep * a + swap * b
            s[j] = swap * a + keep * b


@compiled
def _add_outer(hessian: Any, root: Any, ds: Any) -> None:
    """Add DP (∂²ℓ/∂P²) DPᵀ of some entries."""
    length = hessian.shape[0]
    for i in range(length):
        if root[i] != 0:
            own = ds[i] * root[i]
            for u in range(length):
                for v in range(length):
                    hessian[u, v] += own[u] * own[v]


@compiled
def _add_others(k: int, p: Any, rest: Any, ds: Any, others: Any) -> None:
    """Add the derivative of a column to that of the complements of the largest entries of the rows."""
    for i in range(rest.shape[0]):
        if rest[i] != 0 and k != np.argmax(p[i]):
            for v in range(rest.shape[0]):
                others[i, v] += ds[i, v]


@compiled
def _add_bends(hessian: Any, network: Any, size: Any, rule: Any, kept: Any, jacobian: Any, sums: Any) -> None:
    """Add what the comparators give, the last first."""
    lower, upper, counts = network[:3]
    tails, gaps = kept
    gammas, flows = sums
    kind, steepness, art = rule
    length, layers = size
    grad = np.zeros(length)
    for layer in range(layers - 1, -1, -1):
        for c in range(counts[layer]):
            i, j = lower[layer, c], upper[layer, c]
            if j >= length:
                continue
            d = gaps[layer, c]
            slope, bend = swap_slope(kind, d, steepness, art), swap_bend(kind, d, steepness, art)
            pull = grad[i] - grad[j]
            push = weights(tails[layer, c], d)[1] * pull + (gammas[layer, c] + pull * d) * slope
            grad[i] -= push
            grad[j] += push
            kappa = bend * gammas[layer, c] + pull * (2 * slope + bend * d)
            own, flow = jacobian[layer, c], flows[layer, c]
            for u in range(length):
                one, two = kappa * own[u] + slope * flow[u], slope * own[u]
                for v in range(length):
                    hessian[u, v] += one * own[v] + two * flow[v]


@compiled
def hessians(scores: Any, network: Any, rule: Any, entries: bool, places: Any, result: Any, least: Any) -> None:
    """Write the Hessian of every list to `result` [batch, n, n], and its smallest true entry of P to `least` [batch].

    `entries` says whether the loss is that of the entries, or that of the rows; `places` [batch, n] are the true ones.
    """
    batch, n = scores.shape
    layers = network[0].shape[0]
    tails, gaps = np.empty((2, 1, layers, n // 2))
    slopes, gammas = np.empty((2, layers, n // 2))
    jacobian, steps, flows = np.empty((3, layers, n // 2, n))
    values, s = np.empty((2, n))
    for b in range(batch):
        size = relaxed(b, scores, network, rule, (tails, gaps), values)[1]
        m = size[0]
        kept = (tails[0], gaps[0])
        _jacobian(network, size, rule, kept, jacobian)
        for layer in range(size[1]):
            for c in range(n // 2):
                slopes[layer, c] = swap_slope(rule[0], gaps[0, layer, c], rule[1], rule[2])
        matrix, (grad, root), rest = np.eye(n), np.empty((2, m, m)), np.empty(m)
        mix(matrix, network, (False, size[1]), (0, size[1]), kept)
        p = matrix[:m, :m]
        least[b] = _by_entries(p, places[b], entries, grad, root, rest)
        _back(grad, network, size, kept, steps)
        gammas[:] = 0
        flows[:] = 0
        result[b] = 0
        hessian = result[b, :m, :m]
        ds, others = np.empty((m, m)), np.zeros((m, m))
        for k in range(m):
            _column(k, network, size, (tails[0], gaps[0], slopes), jacobian, steps, (gammas, flows), (s[:m], ds))
            _add_outer(hessian, root[:, k], ds)
            _add_others(k, p, rest, ds, others)
        _add_outer(hessian, rest, others)
        _add_bends(hessian, network, size, rule, kept, jacobian, (gammas, flows))
