"""Sorting networks in torch with the first derivative written by hand.

Every layer compares two halves of the places, views of one tensor, for all lists at once and in place. Let a and b be
the two, d = b − a and w(d) the weights of swapping. The values become a + w·d and b − w·d. Backwards, let g be the
derivative with respect to the former minus that with respect to the latter, and s the derivative with respect to w that
comes from the rows of the matrix. The derivative with respect to d is then g·(w + w′·d) + s·w′; b gains it, a loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlcore_sorting._distributions import DISTRIBUTIONS, SoftSwap
from nlcore_sorting._network.halves import Halves, halves
from nlcore_sorting._network.mixing import Weights, exchange, matrix, matrix_slopes, mix, mix_slopes
from nlcore_sorting._network.wiring import Operator, Rule

__all__ = ["StridedNetwork", "precise", "relax_back", "stacked"]


def precise(scores: Tensor) -> torch.dtype:
    """Return the dtype of the values in a network; mps has no float64."""
    return scores.dtype if scores.device.type == "mps" else torch.float64


@dataclass(frozen=True, slots=True)
class StridedNetwork:
    """One operator of a sorting network as a `Kernel`.

    Between the passes it keeps d for every comparator, O(layers·n) per list. Its values for padding do not matter,
    except that no real item has a weight there.

    Attributes:
        operator: Name of the operator.
        rule: The network and its weights.
        length: [..., 1], the number of real items of every list; `None` for all.
        places: [..., k] for rows, [..., n] for entries, int64.
        exact: Whether small entries of the matrix keep their digits.
    """

    operator: Operator
    rule: Rule
    length: Tensor | None = None
    places: Tensor | None = None
    exact: bool = False

    @property
    def swap(self) -> SoftSwap:
        """The weights as functions."""
        return DISTRIBUTIONS[self.rule.distribution]

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the differences."""
        n = scores.shape[-1]
        layers = self.layers(n, precise(scores), scores.device)
        values = columns(layers, scores.reshape(-1, n))
        gaps, stack = self.relax(layers, values)
        if self.operator == "sort":
            return _rows(values, scores.shape, scores.dtype), (gaps,)
        weights = stacked(stack)
        if self.operator == "rank":
            # Every layer is a symmetric matrix, so the transpose of P is the network run backwards.
            values = _numbers(layers, gaps)
            mix(layers.backwards(), values, weights.mirrored())
            return _rows(values, scores.shape, scores.dtype).unsqueeze(-2), (gaps,)
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
        """Return the derivative with respect to the scores, given that with respect to the result."""
        (gaps,) = kept
        n, lists = grad.shape[-1], gaps.shape[-1]
        shape = grad.shape if self.operator == "sort" else (*grad.shape[:-2], n)
        layers = self.layers(n, gaps.dtype, grad.device)
        x = self._activation(gaps, self._scale(layers), layers.offset)
        weights, bends = self._weights(x), self._slope(layers, gaps, x)
        pull = gaps.new_zeros(layers.places, lists)
        fixed = None
        if self.operator == "sort":
            pull = columns(layers, grad.reshape(lists, n))
        elif self.operator == "rank":
            ends = (_numbers(layers, gaps).unsqueeze(1), columns(layers, grad.reshape(lists, n)).unsqueeze(1))
            mirrored, room = weights.mirrored().map(lambda w: w.unsqueeze(-2)), gaps.new_empty(gaps.numel())
            fixed = bends * mix_slopes(layers.backwards(), *ends, mirrored, dim=-2, room=room).flip(0)
        else:
            rounded = weights.map(lambda weight: weight.to(grad.dtype))
            fixed = bends * self._matrix_slopes(layers, rounded, self._places(gaps, n), grad.reshape(lists, -1, n))
        relax_back(layers, pull, torch.addcmul(weights.swap, bends, gaps), fixed)
        return _rows(pull, torch.Size(shape), grad.dtype)

    def layers(self, n: int, dtype: torch.dtype, device: torch.device) -> Halves:
        """Return the network of the lists."""
        layers = halves(self.rule.network, n, dtype, device)
        return layers if self.length is None else layers.shortened(self.length.reshape(-1), dtype)

    def relax(self, layers: Halves, values: Tensor) -> tuple[Tensor, list[Weights]]:
        """Sort `values` [places, lists] in place; return the differences [layers, *pairs, lists], and the weights."""
        gaps = values.new_empty(len(layers.axes), *layers.pairs, values.shape[1])
        room, stack = torch.empty_like(gaps[0]), []
        parts = (_each(parameter, len(gaps)) for parameter in (self._scale(layers), layers.offset))
        for (a, b), gap, scale, offset in zip(layers.of(values), gaps.unbind(), *parts, strict=True):
            weights = self._weights(self._activation(torch.sub(b, a, out=gap), scale, offset))
            exchange(a, b, weights.swap, room, weights.keep)
            stack.append(weights)
        return gaps, stack

    def slopes(self, layers: Halves, gaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return w′(d) and w″(d) at all differences; both are 0 where an empty place decides."""
        with torch.enable_grad():
            leaf = gaps.detach().requires_grad_()
            x = self._activation(leaf, self._scale(layers), None)
            slope = self._slope(layers, leaf, x)
            (bend,) = torch.autograd.grad(slope.sum(), leaf, allow_unused=True, materialize_grads=True)
        if layers.offset is None:
            return slope.detach(), bend
        decided = layers.offset != 0
        return slope.detach().masked_fill(decided, 0.0), bend.masked_fill(decided, 0.0)

    def _matrix_slopes(self, layers: Halves, weights: Weights, places: Tensor, grads: Tensor) -> Tensor:
        """Return the derivative with respect to the weights, given that of the matrix, its rows or its entries."""
        if self.operator == "rows":
            return matrix_slopes(layers.backwards(), weights.mirrored(), places, grads.mT).flip(0)
        if self.operator == "entries":
            grads = grads.new_zeros(len(grads), layers.n, layers.n).scatter_(-2, places.unsqueeze(-2), grads)
            places = torch.arange(layers.n, device=grads.device).expand_as(places)
        return matrix_slopes(layers, weights, places, grads)

    def _places(self, values: Tensor, n: int) -> Tensor:
        """Return the places of every list, [lists, k], or all of them."""
        lists = values.shape[-1]
        if self.places is None:
            return torch.arange(n, device=values.device).expand(lists, n)
        return self.places.reshape(lists, -1)

    def _weights(self, x: Tensor) -> Weights:
        return Weights(self.swap.swap(x), self.swap.swap(-x) if self.exact else None)

    def _scale(self, layers: Halves) -> float | Tensor:
        """Return β with the sign of every comparator."""
        return self.rule.steepness if layers.sign is None else self.rule.steepness * layers.sign

    def _activation(self, gaps: Tensor, scale: float | Tensor, offset: Tensor | None) -> Tensor:
        x = self.swap.activation(gaps, scale, self.rule.art_lambda)
        return x if offset is None else x.add_(offset)

    def _slope(self, layers: Halves, gaps: Tensor, x: Tensor) -> Tensor:
        return self.swap.slope(x) * self.swap.stretch(gaps, self._scale(layers), self.rule.art_lambda)


def columns(layers: Halves, lists: Tensor) -> Tensor:
    """Return [lists, n] as [places, lists], with 0 at empty places."""
    values = lists.new_zeros(layers.places, len(lists), dtype=precise(lists))
    values[: lists.shape[1]] = lists.t()
    return values


def relax_back(layers: Halves, pull: Tensor, rates: Tensor, fixed: Tensor | None, pulls: Tensor | None = None) -> None:
    """Turn the derivative with respect to the sorted values into that with respect to the scores, in place.

    Args:
        layers: The network.
        pull: [places, lists], the derivative.
        rates: [layers, *pairs, lists], w + w′·d.
        fixed: Like `rates`, s·w′; `None` where s = 0.
        pulls: Like `rates`, for g; `None` where it is not asked for.
    """
    room = torch.empty_like(rates[0])
    parts = (_each(part, len(rates)) for part in (rates, fixed, pulls))
    for (a, b), rate, rest, met in reversed(list(zip(layers.of(pull), *parts, strict=True))):
        torch.sub(a, b, out=room)
        if met is not None:
            met.copy_(room)
        if rest is None:
            room.mul_(rate)
        else:
            torch.addcmul(rest, room, rate, out=room)
        a.sub_(room)
        b.add_(room)


def stacked(stack: list[Weights]) -> Weights:
    """Return the weights of all layers together."""
    keep = [weights.keep for weights in stack if weights.keep is not None]
    return Weights(torch.stack([weights.swap for weights in stack]), torch.stack(keep) if keep else None)


def _rows(values: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return [places, lists] in the shape of the scores, [..., n]."""
    return values[: shape[-1]].t().to(dtype).reshape(shape)


def _numbers(layers: Halves, gaps: Tensor) -> Tensor:
    """Return the number of every place, [places, lists]."""
    places = torch.arange(layers.places, dtype=gaps.dtype, device=gaps.device)
    return places.unsqueeze(-1).repeat(1, gaps.shape[-1])


def _each(value: Tensor | float | None, layers: int) -> Sequence[Any]:
    """Return a tensor layer by layer, and anything else for every layer."""
    return value.unbind() if isinstance(value, Tensor) else [value] * layers
