"""The relaxed Bellman–Ford algorithm with a hand-written backward pass: `plain_path`, several times faster.

Distances are in units of (ln 2)/β here, so that the softmin is a power of two, which torch computes several times as
fast as `exp`. A sweep has the Jacobian ∂D(v)/∂D(v + k) = w_k(1 + ln 2 · (Σ_j w_j D(v + j) − D(v + k))). The forward
pass saves the distances only, and the backward pass recomputes the weights: they are one number for each neighbour, and
writing and reading that much memory takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_shortest_paths._bellman_ford_plain import EPSILON, LOWEST, MAX_ROUNDS, Relaxation, far, plain_path
from nlcore_shortest_paths.solvers.grid import Grid

__all__ = ["fast_path"]

_CHUNK = 1 << 15
"""Number of cells in a chunk: fewer make more calls of torch, more do not fit in the cache."""

_LOWEST = LOWEST / math.log(2)

Pull = Callable[[Tensor], Tensor]


def fast_path(costs: Tensor, how: Relaxation) -> Tensor:
    """Return the relaxed paths of [N, H, W] positive costs, [N, H, W]; any order of derivatives."""
    if not costs.shape[0]:
        return costs * 0
    path: Tensor = _FastPath.apply(costs, how)  # type: ignore[no-untyped-call]
    return path


class _FastPath(torch.autograd.Function):
    """Values and gradients in chunks; second derivatives are those of `plain_path`."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, how: Relaxation) -> Tensor:
        ctx.how, ctx.pulls = how, []
        ctx.save_for_backward(costs)
        ctx.set_materialize_grads(True)
        needed = ctx.needs_input_grad[0]
        size = max(1, _CHUNK // (how.grid.height * how.grid.width))
        paths = []
        for piece in torch.split(costs, size):
            weights, pull_weights = _weights(piece.permute(1, 2, 0).contiguous() * _unit(how), how, needed)
            path, pull_path = _trace(weights, how, needed)
            paths.append(path.permute(2, 0, 1))
            ctx.pulls.append((pull_weights, pull_path))
        return torch.cat(paths).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        (costs,) = ctx.saved_tensors
        if torch.is_grad_enabled() or torch.func.debug_unwrap(gradient) is not gradient:
            with torch.enable_grad():
                leaf = costs if costs.requires_grad else costs.detach().requires_grad_()
                path = plain_path(leaf, ctx.how)
            create = torch.is_grad_enabled()
            return torch.autograd.grad(path, leaf, gradient, create_graph=create)[0], None
        if gradient._is_zerotensor():  # as in the derivative of abs and sign; it cannot be written to
            gradient = gradient.clone()
        pieces = torch.split(gradient, max(1, _CHUNK // (ctx.how.grid.height * ctx.how.grid.width)))
        pulled = [
            pull_weights(pull_path(piece.permute(1, 2, 0).contiguous())).permute(2, 0, 1)
            for (pull_weights, pull_path), piece in zip(ctx.pulls, pieces, strict=True)
        ]
        return torch.cat(pulled).mul_(_unit(ctx.how)).contiguous(), None


def _unit(how: Relaxation) -> float:
    """Return the factor from costs to the units of this module."""
    return how.beta / math.log(2)


def _weights(c: Tensor, how: Relaxation, needed: bool) -> tuple[Tensor, Pull]:
    """Return the weights of the predecessors, [K, H, W, N], for scaled costs [H, W, N], and the pull-back to these."""
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
    """The softmin of every cell's neighbours, in buffers that the next call overwrites.

    The softmin of the distances in `frame` is nearest − mean, and its weights are powers · share.
    """

    def __init__(self, infinity: Tensor, grid: Grid) -> None:
        cells = infinity.expand(grid.height, grid.width, -1)
        self.frame = _Frame(cells, grid)
        self.frame.whole.copy_(infinity.expand(self.frame.whole.shape))
        shape = len(self.frame.views), *cells.shape
        self.exponents, self.powers, self.products = (cells.new_empty(shape) for _ in range(3))
        self.nearest = self.share = self.mean = infinity

    def __call__(self) -> None:
        """Compute them for the distances in the frame."""
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
    relaxed_loop = how.loop == "while"
    total, go_on = torch.zeros_like(x), torch.sigmoid(x.new_full(x.shape[-1:], how.beta))
    for _ in range(MAX_ROUNDS if relaxed_loop else how.iterations):
        x, q = how.conorm(x, q), send(each, q).clone()
        if needed:
            history.append((x, q))
        if relaxed_loop:
            after = go_on * torch.sigmoid(how.beta * (1 - x[how.grid.source]))
            after = after * (after > EPSILON)
            total.addcmul_(x, go_on - after)
            go_on = after
            if not bool((go_on > 0).any()):
                break
    path = total.addcmul_(x, go_on) if relaxed_loop else x

    def pull(gradient: Tensor) -> Tensor:
        by_weights = torch.zeros_like(weights)  # allocated here: a retained graph is differentiated more than once
        frame, each_by = _Frame(weights[0], how.grid), by_weights.unbind()
        gx, gq = torch.zeros_like(gradient) if relaxed_loop else gradient, torch.zeros_like(gradient)
        by_round = _loop_gradients([x for x, _ in history[1:]], gradient, how) if relaxed_loop else []
        for x, q in reversed(history[:-1]):
            if by_round:
                gx = gx + by_round.pop()
            by_x, by_q = how.conorm.slopes(x, q)
            frame.inner.copy_(gq)
            torch.mul(gx, by_q, out=gq)
            for by_weight, weight, ahead in zip(each_by, each, frame.views, strict=True):
                by_weight.addcmul_(ahead, q)
                gq.addcmul_(ahead, weight)
            gx = by_x.mul_(gx)
        return by_weights

    return path, pull


def _loop_gradients(traces: list[Tensor], gradient: Tensor, how: Relaxation) -> list[Tensor]:
    """Return the gradients at the traces x_r of all rounds of Σ_r (p_{r−1} − p_r) x_r, the result of a while loop.

    p_r = p_{r−1} σ(β(1 − x_r[source])) is the probability to continue after round r.
    """
    with torch.enable_grad():
        arrived = torch.stack([x[how.grid.source] for x in traces]).requires_grad_()
        first = torch.full_like(arrived[:1], how.beta)
        p = torch.sigmoid(torch.cat([first, how.beta * (1 - arrived)])).cumprod(0)
        p = p * (p > EPSILON)
        shares = p[:-1] - F.pad(p[1:-1], (0, 0, 0, 1))  # all of the rest ends with the last round
    by_share = torch.stack([(x * gradient).sum(dim=(0, 1)) for x in traces])
    (by_arrived,) = torch.autograd.grad(shares, arrived, by_share)
    gradients = [share * gradient for share in shares.detach()]
    for at_trace, at_source in zip(gradients, by_arrived, strict=True):
        at_trace[how.grid.source] += at_source
    return gradients


class _Frame:
    """Maps with a border, and for each neighbour the view of the maps shifted by it."""

    def __init__(self, like: Tensor, grid: Grid) -> None:
        height, width = grid.height, grid.width
        self.whole = like.new_zeros(height + 2, width + 2, like.shape[2])
        self.inner = self.whole[1:-1, 1:-1]
        self.views = [self.whole[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in grid.directions]

    def __call__(self, weights: Sequence[Tensor], mass: Tensor) -> Tensor:
        """Send the mass of every cell to its neighbours by weight; return the mass that arrives, a view."""
        self.whole.zero_()
        for view, weight in zip(self.views, weights, strict=True):
            view.addcmul_(weight, mass)
        return self.inner
