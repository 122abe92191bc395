"""Minimisation of a quadratic over the convex hull of the solutions, by the fully corrective Frank–Wolfe algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Regularized", "regularized_argmin"]

_PRECISION = 1e-11
"""Relative error of a product of costs up to which a point counts as the best in float64."""

_SLOTS = 4
"""Vertices that there is room for at first."""


@dataclass(frozen=True, slots=True)
class Regularized:
    r"""Regularised solutions as convex combinations of solutions.

    Attributes:
        solution: [N, m], float64.
        vertices: [N, K, m], float64, the solutions it is made of.
        weights: [N, K], their weights, 0 for those that take no part; they sum to 1.
        steps: Exact solutions that were needed, for each sample.
    """

    solution: Tensor
    vertices: Tensor
    weights: Tensor
    steps: int

    def projector(self) -> Tensor:
        """Return the projector onto the span of the face that the solution lies in, [N, m, m]."""
        taken = (self.weights > 0).to(self.vertices.dtype)[:, :, None]
        around = (self.vertices - self.solution[:, None]) * taken
        size = float(self.vertices.square().sum(2).max()) if self.vertices.numel() else 1.0  # a lone vertex is rounding
        inverse = torch.linalg.pinv(around @ around.mT, hermitian=True, rtol=1e-9, atol=1e-12 * size)
        projector: Tensor = around.mT @ inverse @ around
        return projector


def regularized_argmin(
    argmin: Callable[[Tensor], Tensor], costs: Tensor, strength: float, *, max_steps: int = 100
) -> Regularized:
    r"""Return $\arg\min_{y \in \operatorname{conv} Y} \langle c, y \rangle + \frac{\sigma}{2} \lVert y \rVert^2$.

    That is the point of the hull nearest to −c/σ. The algorithm is Wolfe's for the point of least norm, for a batch:
    each step adds the solution of least cost c + σy, and then finds the best weights of the solutions it has, exactly;
    those whose weight becomes negative are dropped. It ends at the exact point after finitely many steps, of which
    there are seldom more than the solutions that the point is made of.

    Args:
        argmin: The solver of linear costs, [N, m].
        costs: [N, m].
        strength: σ.
        max_steps: Most calls of the solver. Where they do not suffice, the best point so far is returned.

    References:
        Wolfe, [Finding the nearest point in a polytope](https://doi.org/10.1007/BF01580381), Mathematical Programming,
        1976.
    """
    c = costs.double()
    vertices = argmin(costs).double()[:, None]
    weights = torch.ones_like(vertices[:, :, 0])
    y, steps = vertices[:, 0], 1
    while steps < max_steps:
        slope = c + strength * y
        new = argmin(slope.to(costs.dtype)).double()
        steps += 1
        gap = (slope * (y - new)).sum(1)
        size = c.abs() + strength * y.abs()  # of what the slope is the sum: it can be 0
        rounding = max(_PRECISION, 64 * torch.finfo(costs.dtype).eps) * (size * (y.abs() + new.abs())).sum(1)
        open_ = gap > rounding
        if not bool(open_.any()):
            break
        vertices, weights, taken = _with_vertex(vertices, weights, new, open_)
        weights = _best_weights(vertices, weights, taken, c, strength)
        y = (weights[:, None] @ vertices)[:, 0]
    return Regularized(y, vertices, weights, steps)


def _with_vertex(vertices: Tensor, weights: Tensor, new: Tensor, open_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return vertices and weights with a new vertex of weight 0 for the samples that are open, and which take part."""
    taken = weights > 0
    if bool((taken.all(1) & open_).any()):
        more = min(max(_SLOTS, weights.shape[1]), 64)
        vertices = torch.cat([vertices, vertices.new_zeros(len(vertices), more, vertices.shape[2])], 1)
        weights = torch.cat([weights, weights.new_zeros(len(weights), more)], 1)
        taken = weights > 0
    slot = (~taken).int().argmax(1)
    row = torch.arange(len(weights), device=weights.device)[open_]
    vertices = vertices.clone()
    vertices[row, slot[open_]] = new[open_]
    taken[row, slot[open_]] = True
    return vertices, weights, taken


def _best_weights(vertices: Tensor, weights: Tensor, taken: Tensor, c: Tensor, strength: float) -> Tensor:
    """Return the weights that minimise the quadratic over the hull of the vertices that take part, [N, K].

    Each turn finds the minimum over their affine hull; where a weight is negative there, it goes only as far as to the
    first weight that becomes 0, and that vertex takes no part any more.
    """
    gram = strength * (vertices @ vertices.mT)
    linear = (vertices @ c[:, :, None])[:, :, 0]
    for _ in range(2 * weights.shape[1]):
        wanted = _affine_minimum(gram, linear, taken)
        negative = taken & (wanted <= 1e-12)
        if not bool(negative.any()):
            return wanted
        ratio = torch.where(negative, weights / (weights - wanted).clamp(min=1e-300), torch.inf)
        reach = ratio.amin(1, keepdim=True).clamp(max=1.0)
        moved = weights + reach * (wanted - weights)
        dropped = negative & (ratio <= reach)
        taken = taken & ~dropped
        weights = torch.where(taken, moved.clamp(min=0), 0.0)
        weights = weights / weights.sum(1, keepdim=True)
    return weights


def _affine_minimum(gram: Tensor, linear: Tensor, taken: Tensor) -> Tensor:
    """Return the weights, of any sign, that sum to 1 and minimise ½wᵀGw + lᵀw over those taken, [N, K]."""
    count, size = linear.shape
    both = taken[:, :, None] & taken[:, None, :]
    system = gram.new_zeros(count, size + 1, size + 1)
    system[:, :size, :size] = torch.where(both, gram, 0.0)
    system[:, :size, :size].diagonal(dim1=1, dim2=2).add_(
        torch.where(taken, 1e-15 * gram.abs().amax((1, 2))[:, None], 1.0)
    )
    system[:, size, :size] = system[:, :size, size] = taken.to(gram.dtype)
    right = torch.cat([torch.where(taken, -linear, 0.0), linear.new_ones(count, 1)], 1)
    found: Tensor = torch.linalg.solve(system, right)
    return found[:, :size]
