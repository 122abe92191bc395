"""Knapsacks in torch, on any device: dynamic programming over the capacity, or all maximal selections."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["by_capacity", "by_selections", "maximal_selections"]

_CELLS = 2**27
"""Bytes, or numbers, that one step of a computation may take; the batch is split to meet it."""


def by_capacity(costs: Tensor, weights: tuple[int, ...], capacity: int) -> Tensor:
    """Return the cheapest selections for one resource of whole numbers, by dynamic programming.

    Args:
        costs: [N, n].
        weights: n whole numbers, 0 or more.
        capacity: A whole number, 0 or more.

    Returns:
        [N, n].
    """
    chunk = max(1, _CELLS // (len(weights) * (capacity + 1)))
    return torch.cat([_by_capacity(some, weights, capacity) for some in torch.split(costs, chunk)])


def _by_capacity(costs: Tensor, weights: tuple[int, ...], capacity: int) -> Tensor:
    least = costs.new_zeros(len(costs), capacity + 1)  # for each capacity up to the whole
    taken = torch.zeros(len(weights), len(costs), capacity + 1, dtype=torch.bool, device=costs.device)
    for i, weight in enumerate(weights):
        if weight <= capacity:
            reached = least[:, : capacity + 1 - weight] + costs[:, i, None]
            torch.lt(reached, least[:, weight:], out=taken[i, :, weight:])
            least[:, weight:] = torch.minimum(reached, least[:, weight:])
    solutions = torch.zeros_like(costs)
    left = torch.full((len(costs), 1), capacity, device=costs.device)
    for i in range(len(weights) - 1, -1, -1):
        take = taken[i].gather(1, left)
        solutions[:, i] = take[:, 0].to(costs.dtype)
        left -= weights[i] * take
    return solutions


def by_selections(costs: Tensor, selections: Tensor) -> Tensor:
    """Return the cheapest selections, without the items that cost 0 or more.

    Args:
        costs: [N, n].
        selections: [V, n], all that are maximal.

    Returns:
        [N, n].
    """
    gains = costs.clamp(max=0)
    points = selections.to(costs)
    chunk = max(1, _CELLS // (8 * len(points)))
    best = torch.cat([(some @ points.mT).argmin(1) for some in torch.split(gains, chunk)])
    return torch.where(gains < 0, points[best], 0)


def maximal_selections(weights: Tensor, capacities: Tensor, limit: int) -> Tensor | None:
    """Return all selections to which no item can be added.

    They are built item by item, in ascending order.

    Args:
        weights: [n, dims], float64.
        capacities: [dims].
        limit: Largest number of selections times n, maximal or not, that is kept at a time.

    Returns:
        bool, [V, n]; None if there are too many.
    """
    n = len(weights)
    items = torch.arange(n)
    chosen, load = torch.zeros(1, n, dtype=torch.bool), torch.zeros(1, weights.shape[1], dtype=weights.dtype)
    last = torch.full((1,), -1)
    maximal, total = [], 0
    while len(chosen):
        if len(chosen) * n * weights.shape[1] > limit:
            return None
        fits = ((load[:, None] + weights) <= capacities).all(2) & ~chosen
        maximal.append(chosen[~fits.any(1)])
        total += len(maximal[-1])
        row, item = (fits & (items > last[:, None])).nonzero(as_tuple=True)
        if max(len(row), total) * n > limit:
            return None
        chosen, load, last = chosen[row], load[row] + weights[item], item
        chosen[torch.arange(len(item)), item] = True
    return torch.cat(maximal)
