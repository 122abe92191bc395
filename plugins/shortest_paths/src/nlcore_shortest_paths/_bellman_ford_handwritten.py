"""Relaxed Bellman–Ford with its gradient written by hand: the numbers of `_relaxed`, several times faster.

Distances are in units of (ln 2)/β here, so that the softmin is a power of two, which torch computes several times as
fast as `exp`. One sweep is linear in the neighbours' change: ∂D(v)/∂D(v + k) = w_k(1 + ln 2 · (Σ_j w_j D(v + j) −
D(v + k))). The forward pass keeps the distances alone, and the backward pass computes the weights anew: they are a
number for each neighbour, and to write and read so much memory takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nlcore_shortest_paths._grid import Grid
from nlcore_shortest_paths._relaxed import EPSILON, LOWEST, MAX_ROUNDS, Relaxation, far, relaxed_path

__all__ = ["relaxed"]

_CHUNK = 1 << 15
"""Cells in a chunk: fewer make more launches, more need memory while a chunk is gone over."""

_LOWEST = LOWEST / math.log(2)

Pull = Callable[[Tensor], Tensor]


def relaxed(costs: Tensor, how: Relaxation) -> Tensor:
    """Return the relaxed paths of [N, H, W] positive costs, [N, H, W]; any order of derivatives."""
    if not costs.shape[0]:
        return costs * 0
    found: Tensor = _Relaxed.apply(costs, how)  # type: ignore[no-untyped-call]
    return found


class _Relaxed(torch.autograd.Function):
    """The fast path for values and gradients; a derivative of the gradient goes by `relaxed_path`."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, how: Relaxation) -> Tensor:
        ctx.how, ctx.pulls = how, []
        ctx.save_for_backward(costs)
        ctx.set_materialize_grads(True)
        needed = ctx.needs_input_grad[0]
        size = max(1, _CHUNK // (how.grid.height * how.grid.width))
        paths = []
        for piece in torch.split(costs, size):
            path, pull = _forward(piece.permute(1, 2, 0).contiguous() * _unit(how), how, needed)
            paths.append(path.permute(2, 0, 1))
            ctx.pulls.append(pull)
        return torch.cat(paths).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        (costs,) = ctx.saved_tensors
        if torch.is_grad_enabled() or torch.func.debug_unwrap(gradient) is not gradient:
            with torch.enable_grad():
                leaf = costs if costs.requires_grad else costs.detach().requires_grad_()
                path = relaxed_path(leaf, ctx.how)
            create = torch.is_grad_enabled()
            return torch.autograd.grad(path, leaf, gradient, create_graph=create)[0], None
        if gradient._is_zerotensor():  # as abs and sign send it back; it cannot be written to
            gradient = gradient.clone()
        pieces = torch.split(gradient, max(1, _CHUNK // (ctx.how.grid.height * ctx.how.grid.width)))
        pulled = [
            pull(piece.permute(1, 2, 0).contiguous()).permute(2, 0, 1)
            for pull, piece in zip(ctx.pulls, pieces, strict=True)
        ]
        return torch.cat(pulled).mul_(_unit(ctx.how)).contiguous(), None


def _unit(how: Relaxation) -> float:
    """Return the factor between costs and the units of this module."""
    return how.beta / math.log(2)


def _forward(c: Tensor, how: Relaxation, needed: bool) -> tuple[Tensor, Pull]:
    """Return the paths of scaled costs, [H, W, N], and the pull-back to them."""
    weights, pull_weights = _weights(c, how, needed)
    path, pull_path = _trace(weights, how, needed)
    return path, lambda gradient: pull_weights(pull_path(gradient))


def _weights(c: Tensor, how: Relaxation, needed: bool) -> tuple[Tensor, Pull]:
    grid = how.grid
    infinity = far(c, _LOWEST)
    soft = _Softmin(infinity, grid)
    d = soft.frame.inner
    d[grid.source] = 0
    known: list[Tensor] = []
    for _ in range(how.iterations - 1):
        if needed:
            known.append(d.clone())
        soft()
        torch.sub(soft.nearest, soft.mean, out=d).add_(c)
        d[grid.source] = 0
    soft()
    weights = soft.powers.mul_(soft.share)

    def pull(gradient: Tensor) -> Tensor:
        total = torch.zeros_like(c)
        send, soft = _Frame(c, grid), _Softmin(infinity, grid)
        flow = (gradient * weights).sum(0).sub(gradient).mul_(weights)
        arrived = send(flow.unbind(), torch.full_like(c, math.log(2)))
        for d in reversed(known):
            arrived[grid.source] = 0
            total += arrived
            soft.frame.inner.copy_(d)
            soft()
            slope = soft.products.addcmul_(soft.powers, 1 / math.log(2) - soft.mean)
            arrived = send(slope.unbind(), soft.share.mul_(arrived).mul_(math.log(2)))
        return total

    return weights, pull


class _Softmin:
    """The softmin of every cell's neighbours, in arrays that the next one overwrites.

    Of the distances in `frame` it is nearest − mean, and the weights are powers · share.
    """

    def __init__(self, infinity: Tensor, grid: Grid) -> None:
        cells = infinity.expand(grid.height, grid.width, -1)
        self.frame = _Frame(cells, grid)
        self.frame.whole.copy_(infinity.expand(self.frame.whole.shape))
        shape = len(self.frame.views), *cells.shape
        self.exponents, self.powers, self.products = (cells.new_empty(shape) for _ in range(3))
        self.nearest = self.share = self.mean = infinity

    def __call__(self) -> None:
        """Compute them for what is in the frame now."""
        torch.stack(self.frame.views, out=self.exponents)
        self.nearest = self.exponents.amin(0)
        torch.sub(self.nearest, self.exponents, out=self.exponents).clamp_(min=_LOWEST)
        torch.exp2(self.exponents, out=self.powers)
        self.share = self.powers.sum(0).reciprocal_()
        self.mean = torch.mul(self.powers, self.exponents, out=self.products).sum(0).mul_(self.share)


def _trace(weights: Tensor, how: Relaxation, needed: bool) -> tuple[Tensor, Pull]:
    """Return the paths, [H, W, N], and the pull-back to the weights."""
    send, each = _Frame(weights[0], how.grid), weights.unbind()
    x, q = torch.zeros_like(weights[0]), torch.zeros_like(weights[0])
    q[how.grid.goal] = 1
    history = [(x, q)]
    loop = _While(how) if how.loop == "while" else None
    for _ in range(MAX_ROUNDS if loop else how.iterations):
        x, q = how.conorm(x, q), send(each, q).clone()
        if needed:
            history.append((x, q))
        if loop and loop.leave(x):
            break
    path = loop.total if loop else x

    def pull(gradient: Tensor) -> Tensor:
        by_weights = torch.zeros_like(weights)  # anew, for a graph that is gone back over twice
        frame, each_by = _Frame(weights[0], how.grid), by_weights.unbind()
        gx = torch.zeros_like(gradient) if loop else gradient
        gq = torch.zeros_like(gradient)
        if loop:
            loop.start(gradient)
        for (x, q), (later, _) in zip(reversed(history[:-1]), reversed(history[1:]), strict=True):
            if loop:
                gx = gx + loop.back(later)
            by_x, by_q = how.conorm.slopes(x, q)
            frame.inner.copy_(gq)
            torch.mul(gx, by_q, out=gq)
            for by_weight, weight, ahead in zip(each_by, each, frame.views, strict=True):
                by_weight.addcmul_(ahead, q)
                gq.addcmul_(ahead, weight)
            gx = by_x.mul_(gx)
        return by_weights

    return path, pull


class _Frame:
    """Maps with a border, and their views from each cell in the direction of each neighbour."""

    def __init__(self, like: Tensor, grid: Grid) -> None:
        height, width = grid.height, grid.width
        self.whole = like.new_zeros(height + 2, width + 2, like.shape[2])
        self.inner = self.whole[1:-1, 1:-1]
        self.views = [self.whole[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in grid.directions]

    def __call__(self, weights: Sequence[Tensor], mass: Tensor) -> Tensor:
        """Send the mass of every cell to its neighbours, to each with its weights; return what arrives, not a copy."""
        self.whole.zero_()
        for view, weight in zip(self.views, weights, strict=True):
            view.addcmul_(weight, mass)
        return self.inner


class _While:
    """The relaxed condition that the source is not reached: probabilities to go on, and the mean of the traces."""

    def __init__(self, how: Relaxation) -> None:
        self.beta, self.source = how.beta, how.grid.source
        self.total: Tensor = torch.empty(0)
        self.conditions: list[Tensor] = []
        self.probabilities: list[Tensor] = []

    def leave(self, x: Tensor) -> bool:
        """Take in the trace after a round; return whether every sample has left."""
        if not self.probabilities:
            self.total = torch.zeros_like(x)
            self.probabilities = [torch.sigmoid(x.new_full(x.shape[-1:], self.beta))]
        condition = torch.sigmoid(self.beta * (1 - x[self.source]))
        before = self.probabilities[-1]
        after = before * condition
        after = after * (after > EPSILON)
        last = len(self.probabilities) == MAX_ROUNDS
        self.total.addcmul_(x, before if last else before - after)
        self.conditions.append(condition)
        self.probabilities.append(torch.zeros_like(after) if last else after)
        return not bool((after > 0).any())

    def start(self, gradient: Tensor) -> None:
        """Begin the way back."""
        self.out = gradient
        self.round = len(self.conditions)
        self.by_after = torch.zeros_like(self.conditions[0])

    def back(self, x: Tensor) -> Tensor:
        """Return the gradient at the trace after the latest round that was not yet gone back over."""
        self.round -= 1
        before, after, condition = (
            self.probabilities[self.round],
            self.probabilities[self.round + 1],
            self.conditions[self.round],
        )
        weight = (x * self.out).sum(dim=(0, 1))
        at_after = (self.by_after - weight) * (after > 0)
        gradient = (before - after) * self.out
        gradient[self.source] -= at_after * before * self.beta * condition * (1 - condition)
        self.by_after = at_after * condition + weight
        return gradient
