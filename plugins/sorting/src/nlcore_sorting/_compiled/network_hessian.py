"""The Hessian of a sorting network's loss, compiled, one list after the other.

The formula and its letters are those of `nlcore_sorting._network.hessian`; the arguments are those of `network_matrix`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nlcore.compiled import kernel
from nlcore_sorting._compiled.distributions import swap_bend, swap_slope, weights
from nlcore_sorting._compiled.network import relaxed
from nlcore_sorting._compiled.network_matrix import mix, mix_keep
from nlcore_sorting._cross_entropy import LEAST

__all__ = ["hessians"]


@kernel("any")
def _jacobian(network: Any, size: Any, rates: Any, jacobian: Any) -> None:
    """Write D [c, n] of a list, whose comparators have been kept, with their w′."""
    lower, upper = network[:2]
    tails, gaps, bends = rates
    length, count = size
    slopes = np.eye(length)
    for c in range(count):
        i, j = lower[c], upper[c]
        if j >= length:
            continue
        rate = weights(tails[c], gaps[c])[1] + gaps[c] * bends[c]
        first, second, own = slopes[i], slopes[j], jacobian[c]
        for v in range(length):
            own[v] = second[v] - first[v]
            first[v] += rate * own[v]
            second[v] -= rate * own[v]


@kernel("any")
def _largest(row: Any) -> Any:
    """Return the index of the largest number of a row, and the sum of the others."""
    top, others = np.argmax(row), 0.0
    for j in range(row.shape[0]):
        if j != top:
            others += row[j]
    return top, max(others, LEAST)


@kernel("any")
def _by_entries(p: Any, places: Any, entries: bool, grad: Any, root: Any, rest: Any) -> float:
    """Write the first derivatives with respect to P [m, m] and the roots of the second where they are not 0.

    The least true entry is returned.

    The complement of the largest entry of a row, if that is not true, is the sum of the others, 1/`rest`/m; `rest` is 0
    where the loss has no such term.
    """
    m = p.shape[0]
    least = 1.0
    rest[:] = 0
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
        top, others = _largest(p[i])
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


@kernel("any")
def _column(k: int, network: Any, size: Any, rates: Any, jacobian: Any, steps: Any, sums: Any, state: Any) -> None:
    """Send a column and its derivative, `state`, through the layers, and add to Γ and F, `sums`.

    `steps` are −τ, those of the last comparator first.
    """
    lower, upper = network[:2]
    tails, gaps, slopes = rates
    gammas, flows = sums
    s, ds = state
    length, count = size
    s[:] = 0
    s[k] = 1
    ds[:] = 0
    for c in range(count):
        i, j = lower[c], upper[c]
        if j >= length:
            continue
        keep, swap = weights(tails[c], gaps[c])
        tau, step = -steps[count - 1 - c, k], s[j] - s[i]
        gammas[c] += tau * step
        push = slopes[c] * step
        first, second, own, flow = ds[i], ds[j], jacobian[c], flows[c]
        for v in range(length):
            a, b = first[v], second[v]
            flow[v] += tau * (b - a)
            first[v] = keep * a + swap * b + push * own[v]
            second[v] = swap * a + keep * b - push * own[v]
        a, b = s[i], s[j]
        s[i] = keep * a + swap * b
        s[j] = swap * a + keep * b


@kernel("any")
def _add_outer(hessian: Any, root: Any, ds: Any) -> None:
    """Add DP (∂²ℓ/∂P²) DPᵀ of some entries."""
    length = hessian.shape[0]
    for i in range(length):
        if root[i] != 0:
            own = ds[i] * root[i]
            for u in range(length):
                for v in range(length):
                    hessian[u, v] += own[u] * own[v]


@kernel("any")
def _add_others(k: int, p: Any, rest: Any, ds: Any, others: Any) -> None:
    """Add the derivative of a column to that of the complements of the largest entries of the rows."""
    for i in range(rest.shape[0]):
        if rest[i] != 0 and k != np.argmax(p[i]):
            for v in range(rest.shape[0]):
                others[i, v] += ds[i, v]


@kernel("any")
def _add_bends(hessian: Any, network: Any, size: Any, rule: Any, rates: Any, jacobian: Any, sums: Any) -> None:
    """Add what the comparators give, the last first."""
    lower, upper = network[:2]
    tails, gaps, slopes = rates
    gammas, flows = sums
    kind, steepness, art = rule
    length, count = size
    grad = np.zeros(length)
    for c in range(count - 1, -1, -1):
        i, j = lower[c], upper[c]
        if j >= length:
            continue
        d, slope, bend = gaps[c], slopes[c], swap_bend(kind, gaps[c], steepness, art)
        pull = grad[i] - grad[j]
        push = weights(tails[c], d)[1] * pull + (gammas[c] + pull * d) * slope
        grad[i] -= push
        grad[j] += push
        kappa = bend * gammas[c] + pull * (2 * slope + bend * d)
        own, flow = jacobian[c], flows[c]
        for u in range(length):
            one, two = kappa * own[u] + slope * flow[u], slope * own[u]
            for v in range(length):
                hessian[u, v] += one * own[v] + two * flow[v]


@kernel("any")
def hessians(scores: Any, network: Any, rule: Any, entries: bool, places: Any, result: Any, least: Any) -> None:
    """Write the Hessian of every list to `result` [batch, n, n], and its smallest true entry of P to `least` [batch].

    `entries` says whether the loss is that of the entries, or that of the rows; `places` [batch, n] are the true ones.
    """
    batch, n = scores.shape
    count = len(network[0])
    tails, gaps = np.empty((2, 1, count))
    slopes, gammas = np.empty((2, count))
    jacobian, steps, flows = np.empty((3, count, n))
    values, s = np.empty((2, n))
    for b in range(batch):
        size = relaxed(b, scores, network, rule, (tails, gaps), values)[1]
        m, span = size[0], (0, size[1])
        kept, rates = (tails[0], gaps[0]), (tails[0], gaps[0], slopes)
        for c in range(size[1]):
            slopes[c] = swap_slope(rule[0], gaps[0, c], rule[1], rule[2])
        _jacobian(network, size, rates, jacobian)
        matrix, (grad, root), rest = np.eye(n), np.zeros((2, n, m)), np.empty(m)
        mix(matrix, network, 0, span, kept)
        p = matrix[:m, :m]
        least[b] = _by_entries(p, places[b], entries, grad[:m], root[:m], rest)
        mix_keep(grad, network, size[1] - 1, span, kept, steps)
        gammas[:] = 0
        flows[:] = 0
        result[b] = 0
        hessian = result[b, :m, :m]
        ds, others = np.empty((m, m)), np.zeros((m, m))
        for k in range(m):
            _column(k, network, size, rates, jacobian, steps, (gammas, flows), (s[:m], ds))
            _add_outer(hessian, root[:m, k], ds)
            _add_others(k, p, rest, ds, others)
        _add_outer(hessian, rest, others)
        _add_bends(hessian, network, size, rule, rates, jacobian, (gammas, flows))
