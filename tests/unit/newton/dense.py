"""Dense float64 directions for every option of a curvature, around the reference: padding, weights, Bounded.

A sample's curvature is that of its unpadded outputs alone, computed as a sample of fewer outputs and written into
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Relative

from . import reference

CANDIDATES = [10.0 ** (-3 + k / 2) for k in range(7)]
"""The ρ that `Bounded` chooses among."""

POWER_ITERATION = 0.85
"""Share of the exact amplification that an estimate by power iteration reaches at least."""


@dataclass(frozen=True)
class Expected:
    """What a step should be.

    Attributes:
        values: [N], the loss of each sample's unpadded outputs, zero where there are none.
        directions: [N, m].
        condition: Of the worst damped matrix that was solved with.
        definite: Whether all of them are positive definite.
        clear: Whether no decision of `Bounded` hangs on an estimate.
        per_sample: Whether each sample's own matrix was used.
        rho: The ρ that `Bounded` chose; infinity where none suffices.
    """

    values: np.ndarray
    directions: np.ndarray
    condition: float
    definite: bool
    clear: bool = True
    per_sample: bool = False
    rho: float | None = None


def by_sample(family, prediction, target, keep, second):
    """Return the values, gradients and blocks of the samples' unpadded outputs: [N], [N, m] and [N, m, m].

    Args:
        family: The loss.
        prediction: [N, m].
        target: [N, m].
        keep: [N, m] bool.
        second: "hessian", "gauss_newton", or "gradient" for none.
    """
    count, size = prediction.shape
    values, gradients, blocks = np.zeros(count), np.zeros((count, size)), np.zeros((count, size, size))
    for i, kept in enumerate(torch.from_numpy(keep)):
        if not kept.any():
            continue
        y, t = prediction[i : i + 1, kept].double(), target[i : i + 1, kept].double()
        where = np.flatnonzero(keep[i])
        values[i] = reference.values(family.alone, y, t)[0]
        gradients[i, where] = reference.gradients(family.alone, y, t)[0]
        if second == "hessian":
            blocks[i][np.ix_(where, where)] = reference.hessians(family.alone, y, t)[0]
        elif second == "gauss_newton":
            blocks[i][np.ix_(where, where)] = reference.gauss_newton_matrices(family.inner, family.outer, y, t)[0]
    return values, gradients, blocks


def quantile(numbers, weight, share):
    """Return the smallest number such that those up to it hold the share of the weight."""
    order = np.argsort(numbers, kind="stable")
    held = np.cumsum(weight[order])
    return numbers[order][np.flatnonzero(held >= share * held[-1] * (1 - 1e-12))[0]]


def amplifications(matrix, blocks, strength):
    """Return ‖(C + λI)⁻¹H_i‖ / max(1, ‖H_i‖/‖C‖) of every sample, [N]."""
    inverse = np.linalg.inv(matrix + strength * np.eye(len(matrix)))
    largest = np.linalg.norm(matrix, 2)
    return np.array(
        [np.linalg.norm(inverse @ block, 2) / max(1.0, np.linalg.norm(block, 2) / largest) for block in blocks]
    )


def bounded(damping, problem, blocks):
    """Return the smallest ρ whose amplification is within the limit, and whether an estimate would find the same.

    Args:
        damping: A `Bounded`.
        problem: With weights and padding.
        blocks: [N, m, m], repaired.
    """
    matrix = reference.mean(blocks, problem.weight, problem.keep)
    counted = problem.counted
    if not counted.any() or not matrix.any():
        return CANDIDATES[0], True
    mean_curvature = abs(np.trace(matrix)) / problem.present.sum()
    clear = True
    for rho in CANDIDATES:
        each = amplifications(matrix, blocks[counted], rho * mean_curvature)
        found = quantile(each, problem.weight[counted], damping.quantile)
        clear = clear and not found * POWER_ITERATION <= damping.limit <= found * (1 + 1e-6)
        if found <= damping.limit:
            return rho, clear
    return np.inf, clear


def expected(family, curvature, prediction, target, weight, keep):
    """Return what a step should be.

    Args:
        family: The loss.
        curvature: A curvature with any options.
        prediction: [N, m].
        target: [N, m].
        weight: [N].
        keep: [N, m] bool.
    """
    if isinstance(curvature, EmpiricalFisher):
        second, psd, aggregate = "gradient", "none", "batch"
    elif isinstance(curvature, GaussNewton):
        second, psd, aggregate = "gauss_newton", "none", curvature.aggregate
    else:
        second, psd, aggregate = "hessian", curvature.psd, curvature.aggregate
    values, gradients, blocks = by_sample(family, prediction, target, keep, second)
    problem = reference.Problem.of(gradients, np.where(keep.any(1), weight, 0.0), ~keep)
    scope = getattr(curvature, "psd_scope", "batch")
    damping, clear, per_sample, rho = curvature.damping, True, False, None
    if second == "gradient":
        blocks = reference.outer_products(problem.gradient)
    if isinstance(damping, Bounded):
        scope = "sample"  # the samples' own curvature is what it bounds
        blocks, psd = np.stack([reference.repaired(block, psd) for block in blocks]), "none"
        rho, clear = bounded(damping, problem, blocks)
        per_sample = bool(np.isinf(rho))
        aggregate = "sample" if per_sample else aggregate
        damping = ("relative", damping.per_sample_rho if per_sample else rho)
    elif isinstance(damping, Relative):
        damping = ("relative", damping.rho)
    else:
        damping = ("absolute", damping)
    if second == "gradient":
        directions = reference.fisher_directions(problem, damping, max_step=curvature.max_step)
    else:
        options = {"psd": psd, "scope": scope, "aggregate": aggregate, "max_ratio": None}
        if problem.counted.any():
            options["max_ratio"] = curvature.max_ratio
        directions = reference.newton_directions(problem, blocks, damping, **options)
        if curvature.normalize and directions[problem.counted].any():
            directions = reference.normalized(problem, directions)
    condition, definite = _condition(problem, blocks, damping, psd, scope, aggregate)
    return Expected(values, directions, condition, definite, clear, per_sample, rho)


def _condition(problem, blocks, damping, psd, scope, aggregate):
    """Return the worst condition number of the damped matrices that are solved with, and whether all are definite."""
    if scope == "sample" or aggregate == "sample":
        blocks = np.stack([reference.repaired(block, psd) for block in blocks])
    matrix = reference.mean(blocks, problem.weight, problem.keep)
    if scope == "batch" and aggregate == "batch":
        matrix = reference.repaired(matrix, psd)
    strength = reference.strength(damping, matrix, problem.present)
    solved = [(matrix, problem.present)]
    if aggregate == "sample":
        solved = [(b, k) for b, k, c in zip(blocks, problem.keep, problem.counted, strict=True) if c]
    worst, definite = 1.0, True
    for block, kept in solved:
        where = np.flatnonzero(kept)
        if where.size:
            eigenvalues = np.linalg.eigvalsh(block[np.ix_(where, where)] + strength * np.eye(where.size))
            worst = max(worst, np.abs(eigenvalues).max() / max(np.abs(eigenvalues).min(), 1e-300))
            definite = definite and eigenvalues.min() > 0
    return worst, definite
