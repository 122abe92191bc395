"""Sorting networks compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlcore_sorting import _numba_network as kernels
from nlcore_sorting._numba import lengths_of
from nlcore_sorting._numba_matrix import matrix, matrix_slopes
from nlcore_sorting._wiring import depth, partners
from nlcore_sorting.config import Distribution, Network

__all__ = ["NetworkKernel"]

_PASSES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "permutation": (matrix, matrix_slopes),
    "sort": (kernels.sorted_values, kernels.sorted_slopes),
    "rank": (kernels.ranked, kernels.ranked_slopes),
}


@dataclass(frozen=True, slots=True)
class NetworkKernel:
    """One operator of a sorting network as a `Kernel`.

    It keeps the weight and the difference of every comparator, O(layers·n) a list.

    Attributes:
        operator: What is computed.
        network: The wiring.
        distribution: Of the weights.
        steepness: β.
        art_lambda: λ.
        length: [..., 1], the number of real items of every list; `None` for all.
    """

    operator: Literal["permutation", "sort", "rank"]
    network: Network
    distribution: Distribution
    steepness: float
    art_lambda: float
    length: Tensor | None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the weights and differences."""
        n = scores.shape[-1]
        rows = scores.detach().reshape(-1, n)
        batch = rows.shape[0]
        swaps, gaps = torch.empty(2, batch if keep else 1, depth(self.network, n), n // 2, dtype=torch.float64)
        shape = (n, n) if self.operator == "permutation" else (n,)
        result = torch.empty(batch, *shape, dtype=scores.dtype)
        _PASSES[self.operator][0](rows.numpy(), *self._options(batch, n), (swaps.numpy(), gaps.numpy()), result.numpy())
        return result.view(*scores.shape[:-1], *shape), (swaps, gaps)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the result."""
        swaps, gaps = kept
        shape, n = grad.shape[:-1], grad.shape[-1]
        if self.operator == "permutation":
            shape = shape[:-1]
        batch = swaps.shape[0]
        grads = grad.reshape(batch, *grad.shape[len(shape) :]).contiguous()
        result = torch.empty(batch, n, dtype=grad.dtype)
        _PASSES[self.operator][1](
            grads.numpy(), *self._options(batch, n), (swaps.numpy(), gaps.numpy()), result.numpy()
        )
        return result.view(*shape, n)

    def _options(self, batch: int, n: int) -> tuple[Any, Any]:
        *wiring, depths = _comparators(self.network, n)
        lengths = lengths_of(self.length, batch, n)
        kind = kernels.KINDS[self.distribution]
        return (*wiring, lengths, depths), (kind, self.steepness, self.art_lambda)


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
