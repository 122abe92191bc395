"""The relaxed Bellman–Ford algorithm in plain differentiable operations: the definition, and its second derivatives.

In units of 1/β: D = βd and C = β·costs, so that the softmin weights are exp(min D − D). A sweep is
D(v) ← Σ_k w_k(v) D(v + k) + C(v) with w(v) = softmin of the neighbours' D, and D(source) = 0. The weights of the last
sweep are those of the predecessors: mass q starts at the goal and moves along them, and a trace x collects it by a
t-conorm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_shortest_paths._t_conorms import Conorm
from nlcore_shortest_paths.config import Loop
from nlcore_shortest_paths.solvers.grid import Grid

__all__ = ["EPSILON", "LOWEST", "MAX_ROUNDS", "Relaxation", "far", "plain_path"]

EPSILON = 1e-5
"""A sample leaves the relaxed while loop once it continues with at most this probability."""

MAX_ROUNDS = 1024
"""Rounds after which the relaxed while loop ends in any case."""

LOWEST = -80.0
"""Lower bound of exponents: smaller exponentials are slow to compute (denormals) and negligible beside 1."""


@dataclass(frozen=True)
class Relaxation:
    """The graph and the options of a relaxation.

    Attributes:
        grid: The graph.
        beta: Inverse temperature.
        iterations: Number of sweeps, and of rounds of a for loop.
        conorm: How the trace adds up.
        loop: Kind of the loop that traces the path back.
    """

    grid: Grid
    beta: float
    iterations: int
    conorm: Conorm
    loop: Loop


def plain_path(costs: Tensor, how: Relaxation) -> Tensor:
    """Return the relaxed paths of [N, H, W] positive costs, [N, H, W]."""
    scaled = costs.permute(1, 2, 0) * how.beta
    return _trace(_weights(scaled, how), how).permute(2, 0, 1)


def far(scaled: Tensor, lowest: float = LOWEST) -> Tensor:
    """Return a distance above that of every path, whose weight beside any of those is 0: for costs [..., N], [N]."""
    return scaled.detach().flatten(0, -2).sum(0) - lowest + 20


def _weights(c: Tensor, how: Relaxation) -> Tensor:
    """Return the weights of the predecessors, [K, H, W, N]."""
    infinity = far(c)
    frame = infinity.expand(c.shape[0] + 2, c.shape[1] + 2, -1)
    elsewhere = torch.ones_like(c[..., :1])
    elsewhere[how.grid.source] = 0
    d = infinity.expand(c.shape) * elsewhere
    inside = F.pad(torch.ones_like(elsewhere), (0, 0, 1, 1, 1, 1))
    weights = c.new_empty(0)
    for _ in range(how.iterations):
        around = _around(F.pad(d, (0, 0, 1, 1, 1, 1)) + frame * (1 - inside), how.grid)
        low = around.amin(0).detach()
        weights = (low - around).clamp(min=LOWEST).exp()
        weights = weights / weights.sum(0)
        d = ((weights * around).sum(0) + c) * elsewhere
    return weights


def _trace(weights: Tensor, how: Relaxation) -> Tensor:
    """Return the relaxed paths, [H, W, N]."""
    x = torch.zeros_like(weights[0])
    q = torch.zeros_like(x)
    q[how.grid.goal] = 1
    if how.loop == "for":
        for _ in range(how.iterations):
            x, q = how.conorm(x, q), _moved(weights, q, how.grid)
        return x
    total = torch.zeros_like(x)
    # The condition is evaluated before the first round too; there the trace is empty and 1 − p of it adds nothing.
    go_on = torch.sigmoid(how.beta * (1 - x[how.grid.source]))
    for _ in range(MAX_ROUNDS):
        x, q = how.conorm(x, q), _moved(weights, q, how.grid)
        after = go_on * torch.sigmoid(how.beta * (1 - x[how.grid.source]))
        after = after * (after > EPSILON)
        total = total + (go_on - after) * x
        go_on = after
        if not bool((go_on > 0).any()):
            break
    return total + go_on * x


def _moved(weights: Tensor, q: Tensor, grid: Grid) -> Tensor:
    """Return the mass after one step along the predecessors."""
    height, width = q.shape[:2]
    flow = F.pad(weights * q, (0, 0, 1, 1, 1, 1))
    pieces = [flow[k, 1 - i : 1 - i + height, 1 - j : 1 - j + width] for k, (i, j) in enumerate(grid.directions)]
    return torch.stack(pieces).sum(0)


def _around(frame: Tensor, grid: Grid) -> Tensor:
    """Return the neighbours' values, [K, H, W, N], of [H + 2, W + 2, N]."""
    height, width = grid.height, grid.width
    return torch.stack([frame[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in grid.directions])
