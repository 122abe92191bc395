"""Sorting networks compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlcore_sorting._compiled import cross_entropy as crossentropies
from nlcore_sorting._compiled import network as kernels
from nlcore_sorting._compiled import network_matrix as matrices
from nlcore_sorting._compiled.jit import lengths_of
from nlcore_sorting._network.strided import Operator
from nlcore_sorting._network.wiring import depth, partners
from nlcore_sorting.config import Distribution, Network, Objective

__all__ = ["CompiledCrossEntropy", "NetworkKernel"]

_PASSES: dict[Operator, tuple[Callable[..., None], Callable[..., None]]] = {
    "permutation": (matrices.mixed, matrices.mixed_slopes),
    "rows": (matrices.mixed, matrices.mixed_slopes),
    "entries": (matrices.mixed, matrices.mixed_slopes),
    "sort": (kernels.sorted_values, kernels.sorted_slopes),
    "rank": (kernels.ranked, kernels.ranked_slopes),
}
_LOSSES: dict[Objective, tuple[Callable[..., None], Callable[..., None]]] = {
    "rows": (crossentropies.rows, crossentropies.rows_slopes),
    "entries": (crossentropies.entries, crossentropies.entries_slopes),
}
_SELECTIONS = {"permutation": matrices.MATRIX, "rows": matrices.ROWS, "entries": matrices.ENTRIES}


@dataclass(frozen=True, slots=True)
class NetworkKernel:
    """One operator of a sorting network as a `Kernel`.

    It keeps the lesser weight and the difference of every comparator, O(layers·n) a list.

    Attributes:
        operator: What is computed: the matrix, its rows at `places`, its entries at the `places` of the columns, the
            sorted values or the places of the items.
        network: The wiring.
        distribution: Of the weights.
        steepness: β.
        art_lambda: λ.
        length: [..., 1], the number of real items of every list; `None` for all.
        places: [..., k] for rows, [..., n] for entries, int64.
    """

    operator: Operator
    network: Network
    distribution: Distribution
    steepness: float
    art_lambda: float
    length: Tensor | None = None
    places: Tensor | None = None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the weights and differences."""
        n = scores.shape[-1]
        rows = scores.detach().reshape(-1, n)
        batch = rows.shape[0]
        kept = rows.new_empty(2, batch if keep else 1, depth(self.network, n), n // 2, dtype=torch.float64).unbind()
        shape = self._shape(n)
        result = rows.new_empty(batch, *shape)
        self._call(0, rows, (batch, n), kept, result)
        return result.view(*scores.shape[:-1], *shape), kept

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the result."""
        n = grad.shape[-1]
        shape = self._shape(n)
        batch = kept[0].shape[0]
        result = grad.new_empty(batch, n)
        self._call(1, grad.reshape(batch, *shape).contiguous(), (batch, n), kept, result)
        return result.view(*grad.shape[: -len(shape)], n)

    def _shape(self, n: int) -> tuple[int, ...]:
        """Return the shape of the result of a list."""
        match self.operator:
            case "permutation":
                return n, n
            case "rows" if self.places is not None:
                return self.places.shape[-1], n
            case "entries":
                return 1, n
        return (n,)

    def _call(self, which: int, given: Tensor, size: tuple[int, int], kept: Sequence[Tensor], result: Tensor) -> None:
        """Run the forward or the backward pass on lists of a size [batch, n]."""
        batch, n = size
        options: tuple[Any, ...] = self.options(batch, n)
        if self.operator in _SELECTIONS:
            places = _every(n) if self.places is None else self.places.reshape(batch, -1).numpy()
            options = (*options, (_SELECTIONS[self.operator], places))
        tails, gaps = kept
        _PASSES[self.operator][which](given.numpy(), *options, (tails.numpy(), gaps.numpy()), result.numpy())

    def options(self, batch: int, n: int) -> tuple[Any, Any]:
        """Return what all kernels need to know of the network."""
        *wiring, depths = _comparators(self.network, n)
        return (
            (*wiring, lengths_of(self.length, batch, n), depths),
            (kernels.KINDS[self.distribution], self.steepness, self.art_lambda),
        )


@dataclass(frozen=True, slots=True)
class CompiledCrossEntropy:
    """A loss of P, compiled.

    Attributes:
        objective: Of the rows, from the entries at the true places, or of all entries.
        target: [batch, n], int64, the place of every item.
        length: [batch, 1], the number of real items of every list; `None` for all.
    """

    objective: Objective
    target: Tensor
    length: Tensor | None

    def values(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the smallest probability at a true place of every list, both [batch]."""
        losses, least = p.new_empty(2, len(p)).unbind()
        self._call(0, p, losses, least)
        return losses, least

    def slopes(self, p: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative by P, given that by the losses, [batch]."""
        slope = torch.empty_like(p)
        self._call(1, p, grad, slope)
        return slope

    def _call(self, which: int, p: Tensor, one: Tensor, other: Tensor) -> None:
        lengths = lengths_of(self.length, len(p), p.shape[-1])
        _LOSSES[self.objective][which](p.numpy(), self.target.numpy(), lengths, one.numpy(), other.numpy())


@lru_cache(maxsize=16)
def _every(n: int) -> NDArray[np.int64]:
    """Return all places, [1, n], for every list the same."""
    return np.arange(n).reshape(1, n)


@lru_cache(maxsize=16)
def _comparators(network: Network, n: int) -> tuple[NDArray[np.int64], ...]:
    """Return the lower and the upper places of all comparators [layers, n // 2], their numbers, and all depths."""
    table = partners(network, n, torch.device("cpu")).numpy()
    lower, upper = np.zeros((2, len(table), n // 2), np.int64)
    counts = np.zeros(len(table), np.int64)
    for layer, partner in enumerate(table):
        places = np.flatnonzero(partner > np.arange(n))
        counts[layer] = len(places)
        lower[layer, : len(places)] = places
        upper[layer, : len(places)] = partner[places]
    return lower, upper, counts, np.array([depth(network, m) for m in range(n + 1)])
