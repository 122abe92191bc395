"""Sorting networks in torch alone, with their first derivative.

Every layer holds two halves of the places against each other, views of one tensor, for all lists at once and in place.
Let a and b be the two, d = b − a and w(d) the weights of the swaps. The values become a + w·d and b − w·d. Going
backwards, let g be the derivative by the former minus that by the latter, and s that by w which comes from the rows of
the matrix. The derivative by d is then g·(w + w′·d) + s·w′; that by b gains it, and that by a loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting._network.halves import Halves, halves
from nlcore_sorting._network.mixing import Weights, exchange, matrix, matrix_slopes, mix, mix_slopes
from nlcore_sorting.config import Distribution, Network

__all__ = ["Operator", "StridedNetwork", "precise"]

Operator: TypeAlias = Literal["permutation", "rows", "entries", "sort", "rank"]


def precise(scores: Tensor) -> torch.dtype:
    """Return the dtype of the values in a network; mps has no float64."""
    return scores.dtype if scores.device.type == "mps" else torch.float64


@dataclass(frozen=True, slots=True)
class StridedNetwork:
    """One operator of a sorting network as a `Kernel`.

    Between the passes it keeps d for every comparator, O(layers·n) a list.

    Attributes:
        operator: What is computed: the matrix, its rows at `places`, its entries at the `places` of the columns, the
            sorted values or the places of the items.
        network: The wiring.
        distribution: Of the weights.
        steepness: β.
        art_lambda: λ.
        places: [..., k] for rows, [..., n] for entries, int64.
        exact: Whether small entries of the matrix keep their digits.
    """

    operator: Operator
    network: Network
    distribution: Distribution
    steepness: float
    art_lambda: float
    places: Tensor | None = None
    exact: bool = False

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the differences."""
        n = scores.shape[-1]
        layers = halves(self.network, n, precise(scores), scores.device)
        values = _columns(layers, scores.reshape(-1, n))
        gaps, weights = self._relax(layers, values)
        if self.operator == "sort":
            return _rows(values, scores.shape, scores.dtype), (gaps,)
        if self.operator == "rank":
            # Every layer is a symmetric matrix, so the transpose of P is the network run backwards.
            values = _numbers(layers, gaps)
            mix(layers.backwards(), values, weights.mirrored())
            return _rows(values, scores.shape, scores.dtype), (gaps,)
        rounded, places = weights.map(lambda weight: weight.to(scores.dtype)), self._places(values, n)
        if self.operator == "rows":
            result = matrix(layers.backwards(), rounded.mirrored(), places).mT
        elif self.operator == "permutation":
            result = matrix(layers, rounded, places)
        else:
            every = torch.arange(n, device=scores.device).expand_as(places)
            result = matrix(layers, rounded, every).gather(-2, places.unsqueeze(-2))
        return result.reshape(*scores.shape[:-1], *result.shape[1:]), (gaps,)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the result."""
        (gaps,) = kept
        n, lists = grad.shape[-1], gaps.shape[-1]
        shape = grad.shape if self.operator in ("sort", "rank") else (*grad.shape[:-2], n)
        layers = halves(self.network, n, gaps.dtype, grad.device)
        swap, scale = DISTRIBUTIONS[self.distribution], self._scale(layers)
        x = self._activation(gaps, scale, layers.offset)
        weights = self._weights(x)
        bends = swap.slope(x).mul_(swap.stretch(gaps, scale, self.art_lambda))
        pull = gaps.new_zeros(layers.places, lists)
        fixed = None
        if self.operator == "sort":
            pull = _columns(layers, grad.reshape(lists, n))
        elif self.operator == "rank":
            ends = (_numbers(layers, gaps).unsqueeze(1), _columns(layers, grad.reshape(lists, n)).unsqueeze(1))
            mirrored, room = weights.mirrored().map(lambda w: w.unsqueeze(-2)), gaps.new_empty(gaps.numel())
            fixed = bends * mix_slopes(layers.backwards(), *ends, mirrored, dim=-2, room=room).flip(0)
        else:
            rounded = weights.map(lambda weight: weight.to(grad.dtype))
            fixed = bends * self._matrix_slopes(layers, rounded, self._places(gaps, n), grad.reshape(lists, -1, n))
        self._relax_back(layers, pull, torch.addcmul(weights.swap, bends, gaps), fixed)
        return _rows(pull, torch.Size(shape), grad.dtype)

    def _matrix_slopes(self, layers: Halves, weights: Weights, places: Tensor, grads: Tensor) -> Tensor:
        """Return the derivative by the weights, given that by the matrix, its rows or its entries."""
        if self.operator == "rows":
            return matrix_slopes(layers.backwards(), weights.mirrored(), places, grads.mT).flip(0)
        if self.operator == "entries":
            grads = grads.new_zeros(len(grads), layers.n, layers.n).scatter_(-2, places.unsqueeze(-2), grads)
            places = torch.arange(layers.n, device=grads.device).expand_as(places)
        return matrix_slopes(layers, weights, places, grads)

    def _places(self, columns: Tensor, n: int) -> Tensor:
        """Return the places of every list, [lists, k], or all of them."""
        lists = columns.shape[-1]
        if self.places is None:
            return torch.arange(n, device=columns.device).expand(lists, n)
        return self.places.reshape(lists, -1)

    def _weights(self, x: Tensor) -> Weights:
        swap = DISTRIBUTIONS[self.distribution].swap
        return Weights(swap(x), swap(-x) if self.exact else None)

    def _relax(self, layers: Halves, values: Tensor) -> tuple[Tensor, Weights]:
        """Sort `values` [places, lists] in place; return the differences and the weights, [layers, *pairs, lists]."""
        gaps = values.new_empty(len(layers.axes), *layers.pairs, values.shape[1])
        room, scale = torch.empty_like(gaps[0]), self._scale(layers)
        weights = []
        parts = (layers.of(values), gaps.unbind(), _each(scale, len(gaps)), _each(layers.offset, len(gaps)))
        for (a, b), gap, factor, offset in zip(*parts, strict=True):
            weight = self._weights(self._activation(torch.sub(b, a, out=gap), factor, offset))
            exchange(a, b, weight.swap, room, weight.keep)
            weights.append(weight)
        keep = torch.stack([weight.keep for weight in weights if weight.keep is not None]) if self.exact else None
        return gaps, Weights(torch.stack([weight.swap for weight in weights]), keep)

    def _relax_back(self, layers: Halves, pull: Tensor, rates: Tensor, fixed: Tensor | None) -> None:
        """Turn the derivative by the sorted values into that by the scores, in place.

        Args:
            layers: The network.
            pull: [places, lists], the derivative.
            rates: [layers, *pairs, lists], w + w′·d.
            fixed: Like `rates`, s·w′; `None` where s = 0.
        """
        room = torch.empty_like(rates[0])
        backwards = zip(layers.of(pull)[::-1], rates.unbind()[::-1], _each(fixed, len(rates))[::-1], strict=True)
        for (a, b), rate, rest in backwards:
            torch.sub(a, b, out=room)
            if rest is None:
                room.mul_(rate)
            else:
                torch.addcmul(rest, room, rate, out=room)
            a.sub_(room)
            b.add_(room)

    def _scale(self, layers: Halves) -> float | Tensor:
        """Return β with the sign of every comparator."""
        return self.steepness if layers.sign is None else self.steepness * layers.sign

    def _activation(self, gaps: Tensor, scale: float | Tensor, offset: Tensor | None) -> Tensor:
        x = DISTRIBUTIONS[self.distribution].activation(gaps, scale, self.art_lambda)
        return x if offset is None else x.add_(offset)


def _columns(layers: Halves, lists: Tensor) -> Tensor:
    """Return [lists, n] as [places, lists], with 0 at empty places."""
    columns = lists.new_zeros(layers.places, len(lists), dtype=precise(lists))
    columns[: lists.shape[1]] = lists.t()
    return columns


def _rows(columns: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return [places, lists] in the shape of the scores, [..., n]."""
    return columns[: shape[-1]].t().to(dtype).reshape(shape)


def _numbers(layers: Halves, gaps: Tensor) -> Tensor:
    """Return the number of every place, [places, lists]."""
    places = torch.arange(layers.places, dtype=gaps.dtype, device=gaps.device)
    return places.unsqueeze(-1).repeat(1, gaps.shape[-1])


def _each(value: Tensor | float | None, layers: int) -> Sequence[Any]:
    """Return a tensor layer by layer, and anything else again and again."""
    return value.unbind() if isinstance(value, Tensor) else [value] * layers
