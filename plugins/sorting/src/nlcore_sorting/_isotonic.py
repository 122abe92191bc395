"""The blocks of an isotonic regression: which neighbours share one value.

The decreasing regression of a sequence pools neighbours into blocks whose values decrease. The blocks are all that has
to be searched for: they are constant almost everywhere, so the solution is an ordinary differentiable function of them.
A block's value is the mean of y (`"l2"`), or LSE(y) − LSE(w) (`"kl"`); both lie between the values of any two parts,
which is what pooling rests on.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["block_starts", "segment_mean", "segment_sum"]

_MINIMAX_UP_TO = 24
"""Number of items up to which all O(n²) blocks at once are cheaper than pooling one by one."""


def block_starts(y: Tensor, w: Tensor | None = None) -> Tensor:
    """Return for every position the first position of its block in the decreasing isotonic regression.

    Args:
        y: [..., n] float64. Without `w` the value of a block is the mean of y.
        w: [..., n] float64. With it, it is LSE(y) − LSE(w).

    Returns:
        [..., n], int64. Equal neighbours share a block.
    """
    y = y.detach()
    w = None if w is None else w.detach()
    if torch.compiler.is_compiling():
        return _by_minimax(y, w)
    starts: Tensor = _Blocks.apply(y) if w is None else _Blocks.apply(y, w)  # type: ignore[no-untyped-call]
    return starts


def segment_sum(values: Tensor, starts: Tensor) -> Tensor:
    """Return at every position the sum over its block."""
    return torch.zeros_like(values).scatter_add(-1, starts, values).gather(-1, starts)


def segment_mean(values: Tensor, starts: Tensor) -> Tensor:
    """Return at every position the mean over its block, exact for a block of one."""
    first = values.gather(-1, starts)
    return first + segment_sum(values - first, starts) / segment_sum(torch.ones_like(values), starts)


class _Blocks(torch.autograd.Function):
    """The search, hidden from differentiation and unwrapped from the transforms of `torch.func`."""

    @staticmethod
    def forward(y: Tensor, w: Tensor | None = None) -> Tensor:
        if y.numel() == 0:
            return torch.zeros(y.shape, dtype=torch.int64, device=y.device)
        if y.shape[-1] <= _MINIMAX_UP_TO or y.device.type != "cpu":
            return _by_minimax(y, w)
        return _by_pooling(y, w)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[Tensor, int]:
        pairs = zip(inputs, in_dims, strict=True)
        moved = [x if d is None else x.movedim(d, 0) for x, d in pairs if x is not None]
        shape = max((x.shape for x in moved), key=len)
        return block_starts(*(x.expand(shape) for x in moved)), 0


def _by_minimax(y: Tensor, w: Tensor | None) -> Tensor:
    """Return the blocks by the formula v_i = min over j ≤ i of the max over k ≥ i of the value of j … k."""
    n = y.shape[-1]
    values = _interval_values(y, w)
    places = torch.arange(n, device=y.device)
    inside = places.unsqueeze(-1) <= places
    best = values.masked_fill(~inside, -math.inf).flip(-1).cummax(dim=-1).values.flip(-1)
    solution = best.masked_fill(~inside, math.inf).amin(dim=-2)
    new = torch.ones_like(solution, dtype=torch.bool)
    new[..., 1:] = solution[..., 1:] != solution[..., :-1]
    return torch.where(new, places, 0).cummax(dim=-1).values


def _interval_values(y: Tensor, w: Tensor | None) -> Tensor:
    """Return the value of j … k in row j and column k, [..., n, n]; below the diagonal it means nothing."""
    n = y.shape[-1]
    rows = torch.ones(n, n, dtype=torch.bool, device=y.device).triu()
    if w is None:
        # Summed from its own first entry, a block loses no digits to those before it.
        shifted = torch.where(rows, y.unsqueeze(-2) - y.unsqueeze(-1), 0.0)
        counts = rows.to(y.dtype).cumsum(dim=-1).clamp(min=1)
        return y.unsqueeze(-1) + shifted.cumsum(dim=-1) / counts
    first, second = (x.unsqueeze(-2).masked_fill(~rows, -math.inf).logcumsumexp(dim=-1) for x in (y, w))
    return torch.where(rows, first - second, 0.0)


def _by_pooling(y: Tensor, w: Tensor | None) -> Tensor:
    """Return the blocks by pooling adjacent violators, O(n) per list, in Python."""
    shape = y.shape
    rows = y.reshape(-1, shape[-1])
    others = None if w is None else w.expand(shape).reshape(-1, shape[-1])
    found = (
        [_pool_means(row) for row in rows.tolist()]
        if others is None
        else [_pool_logs(*pair) for pair in zip(rows.tolist(), others.tolist(), strict=True)]
    )
    return torch.tensor(found, device=y.device).reshape(shape)


def _pool_means(y: list[float]) -> list[int]:
    """Pool the means of one list."""
    means: list[float] = []
    sizes: list[int] = []
    for value in y:
        mean, size = value, 1
        while means and means[-1] <= mean:
            last, count = means.pop(), sizes.pop()
            mean = last + (mean - last) * (size / (size + count))
            size += count
        means.append(mean)
        sizes.append(size)
    return _spread(sizes)


def _pool_logs(y: list[float], w: list[float]) -> list[int]:
    """Pool the differences of the log-sum-exps of one list."""
    blocks: list[tuple[float, float]] = []
    sizes: list[int] = []
    for own in zip(y, w, strict=True):
        (a, b), size = own, 1
        while blocks and blocks[-1][0] - blocks[-1][1] <= a - b:
            last, other = blocks.pop()
            a, b = _log_add(a, last), _log_add(b, other)
            size += sizes.pop()
        blocks.append((a, b))
        sizes.append(size)
    return _spread(sizes)


def _log_add(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    return high + math.log1p(math.exp(low - high))


def _spread(sizes: list[int]) -> list[int]:
    starts: list[int] = []
    for size in sizes:
        starts += [len(starts)] * size
    return starts
