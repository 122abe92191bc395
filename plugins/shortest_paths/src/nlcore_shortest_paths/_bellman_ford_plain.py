"""Relaxed Bellman–Ford in plain differentiable operations: the definition, and the way to second derivatives.

In units of 1/β: D = βd and C = β·costs, so that the softmin is exp(min − D). Every sweep is
D(v) ← Σ_k w_k(v) D(v + k) + C(v) with w(v) = softmin of the neighbours' D, D(source) held at 0. The last w are the
weights of the predecessors. From the goal, mass q moves along them while the trace x collects it by a t-conorm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_shortest_paths._conorms import Conorm
from nlcore_shortest_paths._grid import Grid
from nlcore_shortest_paths.config import Loop

__all__ = ["EPSILON", "MAX_ROUNDS", "Relaxation", "far", "relaxed_path"]

EPSILON = 1e-5
"""A sample leaves the relaxed while loop when it goes on with at most this probability."""

MAX_ROUNDS = 1024
"""Rounds after which the relaxed while loop ends in any case."""

LOWEST = -80.0
"""Exponents are not let below it: the exponential of what lies there is slow to compute, and nothing beside 1."""


@dataclass(frozen=True)
class Relaxation:
    """What is relaxed, and how.

    Attributes:
        grid: The graph.
        beta: Inverse temperature.
        iterations: Sweeps, and rounds of a for loop.
        conorm: How the trace adds up.
        loop: Kind of the loop that walks back.
    """

    grid: Grid
    beta: float
    iterations: int
    conorm: Conorm
    loop: Loop


def far(scaled: Tensor, lowest: float = LOWEST) -> Tensor:
    """Return a distance that no path has, with weight 0 beside any that one has: for costs [..., N], [N]."""
    return scaled.detach().flatten(0, -2).sum(0) - lowest + 20


def relaxed_path(costs: Tensor, how: Relaxation) -> Tensor:
    """Return the relaxed paths of [N, H, W] positive costs, [N, H, W]."""
    scaled = costs.permute(1, 2, 0) * how.beta
    return _trace(_weights(scaled, how), how).permute(2, 0, 1)


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
    # The condition is asked before the first round too, where the trace is empty: 1 − p of it contributes nothing.
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
