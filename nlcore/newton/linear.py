"""Linear algebra of C + λI on tensors: each solve with its outcome."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.errors import NumericalWarning
from nlcore.newton.curvature import Solver
from nlcore.newton.failures import Result

__all__ = [
    "EPSILON",
    "Solution",
    "eigenpairs",
    "least_ratio",
    "solve_conjugate",
    "solve_dense",
    "solve_eigen",
    "solve_kernel",
]

EPSILON = torch.finfo(torch.float64).eps
"""Rounding of float64."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Directions, with the outcome of the solve that gave them.

    Attributes:
        direction: [N, m], (C + λI)^(−κ) g for every sample.
        codes: [N] int8, a `Result` each.
        condition: [] or [N], an estimate of the condition number of C + λI; NaN where there is none.
        residual: [N], the relative residual an iterative solve stopped at; `None` for a direct one.
    """

    direction: Tensor
    codes: Tensor
    condition: Tensor
    residual: Tensor | None = None


def solve_dense(
    matrix: Tensor,
    strength: Tensor,
    gradient: Tensor,
    *,
    solver: Solver,
    allow_indefinite: bool,
    power: float,
    rounding: float,
) -> Solution:
    """Solve with C + λI formed.

    Args:
        matrix: [m, m] for all samples, or [N, m, m]; symmetric.
        strength: [], λ.
        gradient: [N, m].
        solver: `"cholesky"` or `"eigen"`; anything else is Cholesky where κ = 1, else eigen.
        allow_indefinite: Whether negative eigenvalues are solved as they are, and recorded, or count as a failure.
        power: κ.
        rounding: Relative error of the matrix. Without a λ above it, a matrix whose pivots fall to its size is
            singular for all that is known: what looks like a small eigenvalue is rounding.

    Returns:
        The directions; nothing waits for the device but the eigen-decomposition.
    """
    size = matrix.shape[-1]
    damped = matrix + strength * torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    rhs = gradient.mT if matrix.ndim == 2 else gradient.unsqueeze(-1)
    least: Tensor | float = least_ratio(size, EPSILON)
    if rounding > EPSILON:
        largest = damped.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
        least = torch.where(strength < rounding * largest, least_ratio(size, rounding), least)
    if solver == "eigen" or power != 1:
        direction, codes, condition = solve_eigen(eigenpairs(damped), rhs, allow_indefinite, least, power)
    else:
        direction, codes, condition = _cholesky(damped, rhs, allow_indefinite, least)
    direction = direction.mT if matrix.ndim == 2 else direction.squeeze(-1)
    return Solution(direction, codes.expand(gradient.shape[:1]), condition)


def _cholesky(
    damped: Tensor, rhs: Tensor, allow_indefinite: bool, least: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    factor, info = torch.linalg.cholesky_ex(damped)
    ratio = _pivot_ratio(factor).square()
    condition = ratio.reciprocal()
    definite = (info == 0) & (ratio > least)
    solution = torch.cholesky_solve(rhs, factor)
    codes = (~definite).to(torch.int8) * Result.singular.value
    if not allow_indefinite:
        return solution, codes, condition
    pivoted, pivots, _ = torch.linalg.lu_factor_ex(damped)
    lu_ratio = _pivot_ratio(pivoted, signed=True)
    invertible = lu_ratio > least
    solution = torch.where(definite[..., None, None], solution, torch.linalg.lu_solve(pivoted, pivots, rhs))
    codes = torch.where(definite | ~invertible, codes, _code(Result.indefinite, info))
    return solution, codes, torch.where(definite, condition, lu_ratio.reciprocal())


def solve_eigen(
    pairs: tuple[Tensor, Tensor], rhs: Tensor, allow_indefinite: bool, least: Tensor | float, power: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve by the eigenvalues and eigenvectors of C + λI."""
    values, vectors = pairs
    size = values.abs()
    ratio = size.amin(-1) / size.amax(-1)
    bad = _code(Result.indefinite if allow_indefinite else Result.singular, values)
    codes = torch.where(values.amin(-1) > 0, _code(Result.ok, values), bad)
    codes = torch.where(ratio > least, codes, _code(Result.singular, values))
    inverse = 1 / values if power == 1 else values**-power
    return vectors @ ((vectors.mT @ rhs) * inverse.unsqueeze(-1)), codes, 1 / ratio


def eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of [*, m, m], NaN where the iteration does not converge."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except RuntimeError:  # torch.linalg.LinAlgError, which torch does not export to type checkers
        if matrix.ndim == 2:
            return torch.full_like(matrix[0], torch.nan), torch.full_like(matrix, torch.nan)
        pairs = [eigenpairs(one) for one in matrix.flatten(0, -3)]
        values, vectors = (torch.stack(part) for part in zip(*pairs, strict=True))
        return values.view(matrix.shape[:-1]), vectors.view(matrix.shape)
    return values, vectors


def solve_kernel(root: Tensor, strength: Tensor, gradient: Tensor | None = None, *, power: float = 1.0) -> Solution:
    """Solve with C + λI, C = RᵀR, by the smaller matrix K = RRᵀ (Woodbury), for one R or a batch of them.

    For the rows of R themselves, (RᵀR + λI)^(−κ)Rᵀ = Rᵀ(K + λI)^(−κ), which loses nothing to cancellation; for others,
    (g − Rᵀ(K + λI)⁻¹Rg)/λ, or with another power λ^(−κ)g + RᵀU diag(((s + λ)^(−κ) − λ^(−κ))/s)UᵀRg, K = U diag(s)Uᵀ.

    Args:
        root: [*, r, m], R, with r < m.
        strength: [], λ; with λ = 0 the m×m matrix has no inverse and the result says so.
        gradient: [*, n, m], the right-hand sides; the rows of R when `None`.
        power: κ.

    Returns:
        The directions, [*, r, m] or [*, n, m].
    """
    kernel = root @ root.mT
    damped = kernel + strength * torch.eye(root.shape[-2], dtype=root.dtype, device=root.device)
    factor, info = torch.linalg.cholesky_ex(damped)
    largest = kernel.diagonal(dim1=-2, dim2=-1).sum(-1) + strength
    if power != 1:
        direction = _kernel_power(kernel, root, strength, gradient, power)
    elif gradient is None:
        direction = torch.cholesky_solve(root, factor)
    else:
        direction = (gradient - torch.cholesky_solve(root @ gradient.mT, factor).mT @ root) / strength
    if gradient is None:
        regular = (info == 0) & (strength > 0) & (_pivot_ratio(factor).square() > least_ratio(root.shape[-2], EPSILON))
    else:
        regular = (info == 0) & (strength > least_ratio(root.shape[-2], EPSILON) * largest)
    codes = (~regular).to(torch.int8) * Result.singular.value
    return Solution(direction, codes.expand(direction.shape[:1]), largest / strength)


def _kernel_power(kernel: Tensor, root: Tensor, strength: Tensor, gradient: Tensor | None, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(kernel)
    values = values.clamp(min=0.0)
    if gradient is None:
        return (vectors * ((values + strength) ** -power).unsqueeze(-2)) @ (vectors.mT @ root)
    base = strength**-power
    change = base * torch.expm1(-power * torch.log1p(values / strength))
    factor = torch.where(values > 0, change / torch.where(values > 0, values, 1.0), -power * base / strength)
    return base * gradient + ((gradient @ root.mT) @ (vectors * factor.unsqueeze(-2))) @ vectors.mT @ root


def solve_conjugate(
    product: Callable[[Tensor], Tensor],
    strength: Tensor,
    gradient: Tensor,
    *,
    tolerance: float,
    max_iterations: int,
    wait: bool,
) -> Solution:
    """Solve by conjugate gradients on products alone, every row at once (Hestenes & Stiefel 1952).

    A row along which negative curvature shows stops there and is recorded as indefinite; a row whose first direction
    already shows it keeps the gradient.

    Args:
        product: Maps [N, m] to C times each row.
        strength: [], λ.
        gradient: [N, m].
        tolerance: Relative residual at which a row is done.
        max_iterations: Most products to spend.
        wait: Whether to look, at the price of waiting for the device, if all rows are done.

    Returns:
        The directions.
    """
    solution = torch.zeros_like(gradient)
    residual = gradient.clone()
    search = residual
    size = _dot(residual, residual)
    goal = size * tolerance**2
    negative = torch.zeros_like(size, dtype=torch.bool)
    for iteration in range(max_iterations):
        active = (size > goal) & ~negative
        if wait and not bool(active.any()):
            break
        image = product(search) + strength * search
        curved = _dot(search, image)
        negative = negative | (active & (curved <= 0))
        active = active & ~negative
        length = torch.where(active, size / torch.where(curved == 0, 1.0, curved), 0.0)
        solution = solution + length * search
        if iteration == 0:
            solution = torch.where(negative, gradient, solution)
        residual = residual - length * image
        new_size = torch.where(active, _dot(residual, residual), size)
        search = torch.where(active, residual + new_size / torch.where(size == 0, 1.0, size) * search, search)
        size = new_size
    codes = torch.where(negative, _code(Result.indefinite, size), _code(Result.ok, size)).squeeze(-1)
    start = _dot(gradient, gradient)
    left = (size / torch.where(start == 0, 1.0, start)).sqrt().squeeze(-1)
    unfinished = (size > goal) & ~negative
    if wait and bool(unfinished.any()):
        worst = float(torch.where(unfinished.squeeze(-1), left, 0.0).max())
        _warn_unfinished(max_iterations, worst, tolerance)
    return Solution(solution, codes, size.new_full((), torch.nan), left)


def _warn_unfinished(products: int, residual: float, tolerance: float) -> None:
    warnings.warn(
        f"conjugate gradients stopped after {products} products with the relative residual {residual:.1e}, "
        f"above {tolerance:.0e}: the damped curvature is ill-conditioned. Raise the damping, or use solver='auto'.",
        NumericalWarning,
        stacklevel=3,
    )


def least_ratio(size: int, rounding: float) -> float:
    """Return the ratio of smallest to largest pivot at which a matrix is singular: roundings grow with its size."""
    return (16 + size) * rounding


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _pivot_ratio(factor: Tensor, *, signed: bool = False) -> Tensor:
    """Return the ratio of smallest to largest pivot, which of a Cholesky factor are positive."""
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    smallest, largest = torch.aminmax(pivots.abs() if signed else pivots, dim=-1)
    return smallest / largest


def _code(result: Result, like: Tensor) -> Tensor:
    return torch.tensor(result.value, dtype=torch.int8, device=like.device)
