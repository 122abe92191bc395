"""Soft-DTW of cost matrices, or of two series and their squared distances, with closed-form derivatives.

The value is concave in the costs C. Its gradient E is the expected alignment, the probabilities with which a path
visits each cell, and its Hessian is −Cov/γ, the covariance of these visits. Both take a few sweeps over the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.modes import forward_mode, has_memory
from nlcore_sequences._compiled import bridge
from nlcore_sequences._wavefront import Skewed, alignment_of, product_of, value_of

__all__ = ["fused", "solve"]


def solve(
    gamma: float, bounds: Tensor, lengths: Tensor, inputs: Sequence[Tensor], *, slopes: bool = False
) -> tuple[Tensor, ...]:
    """Return the values [batch] and, if asked for, their derivatives with respect to the inputs.

    Args:
        gamma: γ.
        bounds: [batch, n, 2] int64, first and last j of every i.
        lengths: [batch, 2] int64, at least 1.
        inputs: The costs [batch, n, m]; or, where `fused`, x and y, [batch, channels, n or m].
        slopes: Whether derivatives are returned; they can be differentiated in turn.
    """
    if torch.compiler.is_compiling() or forward_mode(*inputs):
        return _plain(gamma, bounds, lengths, inputs[0], slopes=slopes)
    if slopes or (torch.is_grad_enabled() and _differentiated(*inputs)):
        found: tuple[Tensor, ...] = _Solve.apply(gamma, bounds, lengths, *inputs)  # type: ignore[no-untyped-call]
        return found if slopes else found[:1]
    return (_Value.apply(gamma, bounds, lengths, *inputs),)  # type: ignore[no-untyped-call]


def fused(*series: Tensor) -> bool:
    """Return whether squared distances of these series are best left to `solve`."""
    there = all(one.device.type == "cpu" and one.numel() > 0 for one in series) and has_numba()
    return there and not torch.compiler.is_compiling() and not forward_mode(*series)


def _compiled(tensors: Sequence[Tensor]) -> bool:
    first = tensors[0]
    return first.device.type == "cpu" and first.numel() > 0 and has_numba() and all(map(has_memory, tensors))


def _plain(gamma: float, bounds: Tensor, lengths: Tensor, costs: Tensor, *, slopes: bool) -> tuple[Tensor, ...]:
    """Return value and alignment in operations of torch, differentiable any number of times and in forward mode."""
    cells = Skewed(bounds, lengths, costs.shape[-1])
    value, shares = value_of(costs / gamma, cells)
    return (gamma * value, cells.unskew(alignment_of(shares, cells))) if slopes else (gamma * value,)


def _differentiated(*tensors: Tensor) -> bool:
    return any(one.requires_grad for one in tensors)


class _Value(torch.autograd.Function):
    """The values alone."""

    @staticmethod
    def forward(gamma: float, bounds: Tensor, lengths: Tensor, *inputs: Tensor) -> Tensor:
        if _compiled(inputs):
            return bridge.values(gamma, bounds, lengths, inputs)
        return _plain(gamma, bounds, lengths, inputs[0], slopes=False)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], gamma: float, *tensors: Tensor) -> tuple[Tensor, int]:
        value: Tensor = _Value.apply(gamma, *_folded(info, in_dims[1:], tensors))  # type: ignore[no-untyped-call]
        return _unfolded(info, value), 0


class _Solve(torch.autograd.Function):
    """Values and slopes; the slopes are outputs, so that their own derivative is found."""

    @staticmethod
    def forward(gamma: float, bounds: Tensor, lengths: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        if _compiled(inputs):
            value, slopes = bridge.slopes(gamma, bounds, lengths, inputs)
            return value, *slopes
        return _plain(gamma, bounds, lengths, inputs[0], slopes=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.gamma, bounds, lengths, *series = inputs
        ctx.save_for_backward(bounds, lengths, *series, *output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *along: Tensor | None) -> tuple[Tensor | None, ...]:
        bounds, lengths, *rest = ctx.saved_tensors
        inputs, slopes = rest[: len(along)], rest[len(along) :]
        grads = [None if grad is None else grad[:, None, None] * slope for slope in slopes]
        if any(one is not None for one in along):
            ways = [torch.zeros_like(x) if one is None else one for one, x in zip(along, inputs, strict=True)]
            full = [one.unsqueeze(1) for one in ways]
            found = _Product.apply(ctx.gamma, bounds, lengths, *inputs, *full)  # type: ignore[no-untyped-call]
            second = [one.squeeze(1) for one in found]
            grads = [b if a is None else a + b for a, b in zip(grads, second, strict=True)]
        return None, None, None, *grads

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], gamma: float, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        found = _Solve.apply(gamma, *_folded(info, in_dims[1:], tensors))  # type: ignore[no-untyped-call]
        return tuple(_unfolded(info, one) for one in found), (0,) * len(found)


class _Product(torch.autograd.Function):
    """Derivatives of the slopes along directions [batch, K, …], one for each input, which come behind the inputs."""

    @staticmethod
    def forward(gamma: float, bounds: Tensor, lengths: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        inputs, along = given[: len(given) // 2], given[len(given) // 2 :]
        if _compiled(given):
            return bridge.products(gamma, bounds, lengths, inputs, along)
        return _any_product(gamma, bounds, lengths, inputs, along)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.gamma, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return third derivatives, by differentiation of the plain form."""
        bounds, lengths, *given = ctx.saved_tensors

        def plain(*given: Tensor) -> tuple[Tensor, ...]:
            return _any_product(ctx.gamma, bounds, lengths, given[: len(given) // 2], given[len(given) // 2 :])

        return None, None, None, *torch.func.vjp(plain, *given)[1](grads)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], gamma: float, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        half = len(tensors) // 2 + 1  # bounds, lengths and inputs, which several directions can share
        if all(one is None for one in in_dims[1 : 1 + half]):
            shared, ways = tensors[:half], tensors[half:]
            full = [_in_front(info, dim, way) for dim, way in zip(in_dims[1 + half :], ways, strict=True)]
            along = [one.movedim(0, 1).flatten(1, 2) for one in full]
            found = _Product.apply(gamma, *shared, *along)  # type: ignore[no-untyped-call]
            return tuple(_unfolded(info, one.movedim(1, 0)).movedim(1, 2) for one in found), (0,) * len(found)
        found = _Product.apply(gamma, *_folded(info, in_dims[1:], tensors))  # type: ignore[no-untyped-call]
        return tuple(_unfolded(info, one) for one in found), (0,) * len(found)


def _any_product(
    gamma: float, bounds: Tensor, lengths: Tensor, inputs: Sequence[Tensor], along: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the derivatives of the slopes along directions in operations of torch."""
    if len(inputs) == 1:
        return (_product(gamma, bounds, lengths, inputs[0], along[0]),)
    return _product_of_series(gamma, bounds, lengths, inputs, along)


def _product(gamma: float, bounds: Tensor, lengths: Tensor, costs: Tensor, along: Tensor) -> Tensor:
    """Return −Cov·V/γ for directions V [batch, K, n, m]."""
    cells = Skewed(bounds, lengths, costs.shape[-1])
    shares = value_of(costs / gamma, cells)[1]
    return product_of(shares, alignment_of(shares, cells), cells, along.transpose(0, 1)).transpose(0, 1) / gamma


def _product_of_series(
    gamma: float, bounds: Tensor, lengths: Tensor, series: Sequence[Tensor], along: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the derivatives of the slopes with respect to x and y along directions of both, [batch, K, …]."""
    gaps = series[0].unsqueeze(-1) - series[1].unsqueeze(-2)  # [batch, channels, n, m]
    ways = along[0].unsqueeze(-1) - along[1].unsqueeze(-2)  # [batch, K, channels, n, m]
    costs, changes = gaps.square().sum(1), 2 * (gaps.unsqueeze(1) * ways).sum(2)
    alignment = _plain(gamma, bounds, lengths, costs, slopes=True)[1]
    turned = _product(gamma, bounds, lengths, costs, changes)
    both = 2 * (turned.unsqueeze(2) * gaps.unsqueeze(1) + alignment[:, None, None] * ways)
    return both.sum(-1), -both.sum(-2)


def _in_front(info: Any, dim: int | None, tensor: Tensor) -> Tensor:
    """Return a tensor with the dimension that is mapped over in front."""
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _folded(info: Any, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors with the dimension that is mapped over as a part of the batch."""
    return [_in_front(info, dim, one).flatten(0, 1) for dim, one in zip(dims, tensors, strict=True)]


def _unfolded(info: Any, tensor: Tensor) -> Tensor:
    """Return a tensor whose first dimension is split into the one that is mapped over and the rest."""
    return tensor.reshape(info.batch_size, -1, *tensor.shape[1:])
