"""Linear solves with a damped curvature matrix: factor once, apply to many gradients, never invert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.newton.result import Result

__all__ = ["Solution", "Solver", "solve_dense", "solve_kernel"]

Solver: TypeAlias = Literal["auto", "cholesky", "eigen", "kernel"]

_SINGULAR = 16 * torch.finfo(torch.float64).eps
"""Ratio of smallest to largest pivot below which a matrix counts as singular."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Directions with what can be said of how they came about.

    Attributes:
        direction: [N, m], (C + λI)⁻¹ g for every sample.
        codes: [N] int8, a `Result` each.
        condition: [] or [N], an estimate of the condition number of C + λI.
    """

    direction: Tensor
    codes: Tensor
    condition: Tensor


def solve_dense(
    matrix: Tensor, strength: Tensor, gradient: Tensor, *, solver: Solver, allow_indefinite: bool
) -> Solution:
    """Solve with C + λI formed.

    Args:
        matrix: [m, m] for all samples, or [N, m, m]; symmetric.
        strength: [] or [N], λ.
        gradient: [N, m].
        solver: `"cholesky"` or `"eigen"`; `"auto"` is Cholesky.
        allow_indefinite: Whether negative eigenvalues are solved as they are, and recorded, or count as a failure.

    Returns:
        The directions; nothing waits for the device but the eigen-decomposition.
    """
    size = matrix.shape[-1]
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    damped = matrix + strength.reshape(*strength.shape, 1, 1) * identity
    rhs = gradient.mT if matrix.ndim == 2 else gradient.unsqueeze(-1)
    method = _eigen if solver == "eigen" else _cholesky
    direction, codes, condition = method(damped, rhs, allow_indefinite)
    direction = direction.mT if matrix.ndim == 2 else direction.squeeze(-1)
    return Solution(direction, codes.expand(gradient.shape[:1]), condition)


def _cholesky(damped: Tensor, rhs: Tensor, allow_indefinite: bool) -> tuple[Tensor, Tensor, Tensor]:
    factor, info = torch.linalg.cholesky_ex(damped)
    ratio = _pivot_ratio(factor).square()
    definite = (info == 0) & (ratio > _SINGULAR)
    solution = torch.cholesky_solve(rhs, factor)
    codes = torch.where(definite, _code(Result.ok, info), _code(Result.singular, info))
    if not allow_indefinite:
        return solution, codes, 1 / ratio
    pivoted, pivots, _ = torch.linalg.lu_factor_ex(damped)
    lu_ratio = _pivot_ratio(pivoted)
    invertible = lu_ratio > _SINGULAR
    solution = torch.where(definite[..., None, None], solution, torch.linalg.lu_solve(pivoted, pivots, rhs))
    codes = torch.where(definite | ~invertible, codes, _code(Result.indefinite, info))
    return solution, codes, torch.where(definite, 1 / ratio, 1 / lu_ratio)


def _eigen(damped: Tensor, rhs: Tensor, allow_indefinite: bool) -> tuple[Tensor, Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(damped)
    size = values.abs()
    ratio = size.amin(-1) / size.amax(-1)
    bad = _code(Result.indefinite if allow_indefinite else Result.singular, values)
    codes = torch.where(values.amin(-1) > 0, _code(Result.ok, values), bad)
    codes = torch.where(ratio > _SINGULAR, codes, _code(Result.singular, values))
    return vectors @ ((vectors.mT @ rhs) / values.unsqueeze(-1)), codes, 1 / ratio


def solve_kernel(root: Tensor, strength: Tensor) -> Solution:
    """Solve (RᵀR + λI) X = Rᵀ for X by the N×N matrix RRᵀ: (RᵀR + λI)⁻¹Rᵀ = Rᵀ(RRᵀ + λI)⁻¹.

    Args:
        root: [N, m], R, with N < m.
        strength: [], λ; with λ = 0 the m×m matrix has no inverse and the result says so.

    Returns:
        The rows of Xᵀ, [N, m].
    """
    count = root.shape[0]
    kernel = root @ root.mT
    damped = kernel + strength * torch.eye(count, dtype=root.dtype, device=root.device)
    factor, info = torch.linalg.cholesky_ex(damped)
    direction = torch.cholesky_solve(root, factor)
    largest = kernel.diagonal().sum() + strength
    regular = (info == 0) & (strength > _SINGULAR * largest)
    codes = torch.where(regular, _code(Result.ok, info), _code(Result.singular, info))
    return Solution(direction, codes.expand(count), largest / strength)


def _pivot_ratio(factor: Tensor) -> Tensor:
    pivots = factor.diagonal(dim1=-2, dim2=-1).abs()
    return pivots.amin(-1) / pivots.amax(-1)


def _code(result: Result, like: Tensor) -> Tensor:
    return torch.tensor(result.value, dtype=torch.int8, device=like.device)
