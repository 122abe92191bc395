"""Newton steps in plain dense float64, one sample at a time: slow, short, and sharing no code with the engine.

Everything is a numpy array but the losses, which are torch functions of a batch. A damping is `("absolute", λ)` or
`("relative", ρ)`; `keep` is True where an output counts and False where it is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree


def _sample(target: Any, i: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf[i : i + 1], target)


def _doubled(target: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, target)


def values(loss, prediction, target):
    """Return [N]."""
    target = _doubled(target)
    y = prediction.detach().double()
    return np.array([loss(y[i : i + 1], _sample(target, i)).item() for i in range(len(y))])


def gradients(loss, prediction, target):
    """Return [N, m]."""
    target = _doubled(target)
    rows = []
    for i in range(prediction.shape[0]):
        y = prediction[i : i + 1].detach().double().requires_grad_()
        (g,) = torch.autograd.grad(loss(y, _sample(target, i)).sum(), y)
        rows.append(g.flatten().numpy())
    return np.stack(rows)


def hessians(loss, prediction, target):
    """Return [N, m, m]."""
    target = _doubled(target)
    blocks = []
    for i in range(prediction.shape[0]):
        y = prediction[i : i + 1].detach().double()

        def scalar(flat, i=i, shape=y.shape):
            return loss(flat.reshape(shape), _sample(target, i)).sum()

        blocks.append(torch.autograd.functional.hessian(scalar, y.flatten()).numpy())
    return np.stack(blocks)


def gauss_newton_matrices(inner, outer, prediction, target):
    """Return Jᵀ H_outer J of every sample, [N, m, m]."""
    target = _doubled(target)
    blocks = []
    for i in range(prediction.shape[0]):
        y = prediction[i : i + 1].detach().double()
        features = inner(y)

        def flat_inner(flat, shape=y.shape):
            return inner(flat.reshape(shape)).flatten()

        def scalar(flat, i=i, shape=features.shape):
            return outer(flat.reshape(shape), _sample(target, i)).sum()

        J = torch.autograd.functional.jacobian(flat_inner, y.flatten()).numpy()
        H = torch.autograd.functional.hessian(scalar, features.flatten()).numpy()
        blocks.append(J.T @ H @ J)
    return np.stack(blocks)


def outer_products(gradient):
    """Return g gᵀ of every sample, [N, m, m]."""
    return np.stack([np.outer(g, g) for g in gradient])


def repaired(matrix, psd):
    """Return a symmetric matrix with its negative eigenvalues left, clipped or flipped."""
    if psd == "none":
        return matrix
    values, vectors = np.linalg.eigh(matrix)
    values = np.abs(values) if psd == "abs" else np.maximum(values, 0.0)
    return sum(value * np.outer(vector, vector) for value, vector in zip(values, vectors.T, strict=True))


def mean(blocks, weight, keep):
    """Return the mean of the samples' matrices, [m, m].

    Without padding it is Σ wᵢAᵢ / Σ wᵢ. With padding the sum is scaled by 1/√count from the left and the right,
    where an output's count is the weight of the samples that have it.
    """
    size = blocks.shape[-1]
    total = np.zeros((size, size))
    count = np.zeros(size)
    for block, w, k in zip(blocks, weight, keep, strict=True):
        total += w * np.where(np.outer(k, k), block, 0.0)
        count += w * k
    scaled = np.zeros((size, size))
    for a in range(size):
        for b in range(size):
            if count[a] > 0 and count[b] > 0:
                scaled[a, b] = total[a, b] / np.sqrt(count[a] * count[b])
    return scaled


def strength(damping, matrix, present):
    """Return λ: as given, or ρ·|tr C|/m over the outputs that some sample has; 1 where C is zero."""
    kind, number = damping
    if kind == "absolute":
        return number
    relative = max(number * abs(np.trace(matrix)) / max(1, present.sum()), 1e-12 * np.abs(matrix).max())
    return relative if relative > 0 else 1.0


def solve(matrix, lam, gradient, present):
    """Return (C + λI)⁻¹g over the outputs that are present, zero elsewhere."""
    direction = np.zeros_like(gradient)
    where = np.flatnonzero(present)
    if where.size:
        damped = matrix[np.ix_(where, where)] + lam * np.eye(where.size)
        direction[where] = np.linalg.solve(damped, gradient[where])
    return direction


def median(numbers, weight):
    """Return the smallest number with at least half of the weight at or below it."""
    order = np.argsort(numbers, kind="stable")
    reached = 0.0
    for i in order:
        reached += weight[i]
        if reached >= weight.sum() / 2:
            return numbers[i]
    raise AssertionError("no samples")


@dataclass
class Problem:
    """A batch whose Newton step is wanted.

    Attributes:
        gradient: [N, m].
        weight: [N].
        keep: [N, m] bool.
    """

    gradient: np.ndarray
    weight: np.ndarray
    keep: np.ndarray

    @classmethod
    def of(cls, gradient, weight=None, mask=None):
        """Take what the engine takes: no weight is ones, no mask is no padding; True in the mask is padded."""
        count, size = gradient.shape
        weight = np.ones(count) if weight is None else np.asarray(weight, dtype=float)
        keep = np.ones((count, size), bool) if mask is None else ~np.asarray(mask).reshape(count, size)
        return cls(np.where(keep, gradient, 0.0), weight, keep)

    @property
    def present(self):
        """Which outputs some sample has that counts, [m]."""
        return (self.keep & (self.weight > 0)[:, None]).any(0)

    @property
    def counted(self):
        """Which samples take part: they have a weight and an output."""
        return (self.weight > 0) & self.keep.any(1)


def normalized(problem, directions):
    """Return the directions over their root mean square, over the outputs and samples that count by their weight."""
    total = count = 0.0
    for direction, w, keep in zip(directions, problem.weight, problem.keep, strict=True):
        total += w * np.sum(direction[keep] ** 2)
        count += w * keep.sum()
    return directions / np.sqrt(total / count)


def newton_directions(problem, blocks, damping, *, psd="none", scope="sample", aggregate="batch", max_ratio=None):
    """Return the Newton directions of curvature blocks [N, m, m], as [N, m]."""
    blocks = np.stack([np.where(np.outer(k, k), b, 0.0) for b, k in zip(blocks, problem.keep, strict=True)])
    if scope == "sample" or aggregate == "sample":
        blocks = np.stack([repaired(block, psd) for block in blocks])
    over_batch = mean(blocks, problem.weight, problem.keep)
    if scope == "batch" and aggregate == "batch":
        over_batch = repaired(over_batch, psd)
    lam = strength(damping, over_batch, problem.present)
    rows = []
    for block, gradient, keep in zip(blocks, problem.gradient, problem.keep, strict=True):
        matrix, present = (over_batch, problem.present) if aggregate == "batch" else (block, keep)
        rows.append(np.where(keep, solve(matrix, lam, gradient, present), 0.0))
    directions = np.stack(rows)
    if aggregate == "sample" and max_ratio is not None:
        norms = np.linalg.norm(directions, axis=1)
        counted = problem.counted & (norms > 0)
        longest = max_ratio * median(norms[counted], problem.weight[counted])
        for i, norm in enumerate(norms):
            if norm > longest:
                directions[i] *= longest / norm
    return directions


def fisher_directions(problem, damping, *, max_step=None):
    """Return the empirical-Fisher directions, [N, m]; a relative damping caps a step's root mean square."""
    directions = newton_directions(problem, outer_products(problem.gradient), damping)
    if max_step is not None and damping[0] == "relative":
        for i, (direction, keep) in enumerate(zip(directions, problem.keep, strict=True)):
            root_mean_square = np.sqrt(np.sum(direction**2) / max(1, keep.sum()))
            if root_mean_square > max_step:
                directions[i] *= max_step / root_mean_square
    return directions


def relative_error(found, expected, counted=None):
    """Return the largest over the samples of ‖found − expected‖/‖expected‖."""
    if isinstance(found, torch.Tensor):
        found = found.detach().double().flatten(1).numpy()
    worst = 0.0
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if counted is not None and not counted[i]:
            continue
        size = np.linalg.norm(b)
        error = np.linalg.norm(a - b)
        worst = max(worst, error / size if size > 0 else error)
    return worst
