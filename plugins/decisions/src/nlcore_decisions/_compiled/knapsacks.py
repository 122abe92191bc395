"""Branch and bound for knapsacks of one or several resources, one problem after the other.

Items are sorted by value per unit of an aggregated resource, a weighted mean of all resources. The search is depth
first: it takes whatever fits, in that order, and returns to the last item taken as long as the remaining items may
bring more than the best selection known, by the bound of Dantzig: the items that still fit, one by one, the last in
part, up to the rest of the aggregated resource.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.compiled import kernel

__all__ = ["solve"]

_Array = NDArray[Any]

_ROUNDS = 6
"""Improvements of the weights of the resources; more make the bound tighter by little."""


@kernel()
def solve(costs: _Array, weights: _Array, capacities: _Array, budget: int, solutions: _Array, finished: _Array) -> None:
    """Write the cheapest selection of each problem; a search that takes more than `budget` steps is not finished.

    Args:
        costs: [N, n], float64.
        weights: [n, dims], float64.
        capacities: [dims], float64.
        budget: Largest number of nodes of a search times the number of items.
        solutions: bool, [N, n], all False.
        finished: bool, [N].
    """
    n, dims = weights.shape
    item, taken, best = np.empty(n, np.int64), np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    value, load = np.empty(n), np.empty((n, dims))
    left = np.empty((n + 1, dims))
    for sample in range(costs.shape[0]):
        count, free = _candidates(costs[sample], weights, capacities, item, solutions[sample])
        finished[sample] = True
        if free:
            continue
        for k in range(count):
            value[k] = -costs[sample, item[k]]
            load[k] = weights[item[k]]
        share = _shares(value[:count], load[:count], capacities)
        joint = _joint(load[:count], share)
        order = np.argsort(-(value[:count] / joint), kind="mergesort")
        left[0] = capacities
        size = _search(value[:count][order], load[:count][order], joint[order], share, left, taken, best, budget)
        finished[sample] = size >= 0
        for k in range(size):
            solutions[sample, item[order[best[k]]]] = True


@kernel()
def _candidates(costs: _Array, weights: _Array, capacities: _Array, item: _Array, solution: _Array) -> tuple[int, bool]:
    """Write the items that are worth taking and fit; return their number, and whether all are taken."""
    n, dims = weights.shape
    total = np.zeros(dims)
    count = 0
    for i in range(n):
        if costs[i] >= 0:
            continue
        fits, weightless = True, True
        for d in range(dims):
            fits &= weights[i, d] <= capacities[d]
            weightless &= weights[i, d] == 0
        if weightless:
            solution[i] = True
        elif fits:
            item[count] = i
            count += 1
            total += weights[i]
    for d in range(dims):
        if total[d] > capacities[d]:
            return count, False
    for k in range(count):
        solution[item[k]] = True
    return count, True


@kernel()
def _joint(load: _Array, share: _Array) -> _Array:
    """Return the aggregated weight of each item; the capacity is 1."""
    joint = np.zeros(load.shape[0])
    for k in range(load.shape[0]):
        for d in range(load.shape[1]):
            joint[k] += share[d] * load[k, d]
    return joint


@kernel()
def _shares(value: _Array, load: _Array, capacities: _Array) -> _Array:
    """Return the weights of the resources, u with Σ u·capacity = 1, that make the bound of the whole problem small."""
    dims = len(capacities)
    weight = np.ones(dims)
    for d in range(dims):
        if capacities[d] <= 0:
            weight[d] = 0.0
    share = np.zeros(dims)
    best, least = np.zeros(dims), np.inf
    for step in range(_ROUNDS if dims > 1 else 1):
        total = weight.sum()
        for d in range(dims):
            share[d] = weight[d] / total / capacities[d] if weight[d] > 0 else 0.0
        bound, used = _relaxed(value, load, share)
        if bound < least:
            least = bound
            best[:] = share
        for d in range(dims):
            if weight[d] > 0:
                weight[d] = max(weight[d] / total * np.exp((used[d] / capacities[d] - 1) * 2 / (1 + step)), 1e-6)
    return best


@kernel()
def _relaxed(value: _Array, load: _Array, share: _Array) -> tuple[float, _Array]:
    """Return the value of a selection with one item in part that meets the aggregated capacity, and what it uses."""
    joint = _joint(load, share)
    used = np.zeros(load.shape[1])
    room, total = 1.0, 0.0
    for k in np.argsort(-(value / joint), kind="mergesort"):
        part = min(1.0, room / joint[k])
        total += part * value[k]
        room -= part * joint[k]
        for d in range(len(used)):
            used[d] += part * load[k, d]
        if part < 1.0:
            break
    return total, used


@kernel()
def _search(
    value: _Array,
    load: _Array,
    joint: _Array,
    share: _Array,
    left: _Array,
    taken: _Array,
    best: _Array,
    budget: int,
) -> int:
    """Write the best selection; return its size, or −1 if the search would take more steps than `budget`.

    `left` holds the rest of the resources at each depth, the capacities at first.
    """
    count, dims = load.shape
    worth, rate = np.zeros(count + 1), value / joint
    room = np.empty(count + 1)
    room[0] = 1.0
    depth, size, most, nodes, k = 0, 0, 0.0, 0, 0
    while True:
        while k < count:
            if _fits(load, k, left, depth):
                taken[depth] = k
                for d in range(dims):
                    left[depth + 1, d] = left[depth, d] - load[k, d]
                worth[depth + 1] = worth[depth] + value[k]
                room[depth + 1] = room[depth] - joint[k]
                depth += 1
            k += 1
        if worth[depth] > most:
            most, size = worth[depth], depth
            best[:depth] = taken[:depth]
        while True:
            if depth == 0:
                return size
            depth -= 1
            nodes += 1
            k = taken[depth] + 1
            if _promising(value, load, joint, rate, left, depth, k, worth[depth], room[depth], most):
                break
        if nodes * count > budget:
            return -1


@kernel()
def _fits(load: _Array, k: int, left: _Array, depth: int) -> bool:
    for d in range(load.shape[1]):
        if load[k, d] > left[depth, d]:
            return False
    return True


@kernel()
def _promising(
    value: _Array,
    load: _Array,
    joint: _Array,
    rate: _Array,
    left: _Array,
    depth: int,
    first: int,
    worth: float,
    room: float,
    most: float,
) -> bool:
    """Return whether the items from `first` on may bring more than `most` to a selection of value `worth`."""
    for k in range(first, len(value)):
        if worth + room * rate[k] <= most:
            return False
        if _fits(load, k, left, depth):
            if joint[k] >= room:
                return True
            worth += value[k]
            room -= joint[k]
            if worth > most:
                return True
    return worth > most
