"""Linear solves with a damped curvature matrix: factored once and applied to many gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nlcore.errors import NumericalWarning, UnsupportedCurvatureError
from nlcore.evaluation import finite_rows
from nlcore.newton.damping import Damped, choose_damping
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.failures import Result
from nlcore.newton.low_rank import leading_eigenvectors
from nlcore.newton.matrix import (
    Curvature,
    CurvatureMatrix,
    DenseMatrix,
    FeatureMatrix,
    GramMatrix,
    IdentityMatrix,
    InverseMatrix,
    OperatorMatrix,
    ProductMatrix,
    Solver,
)
from nlcore.newton.options import is_number
from nlcore.newton.problem import Problem, Samples

__all__ = ["Solution", "capped", "directions", "inverse_power", "limit", "solve"]

_ITERATIONS = 500
"""Most products of a conjugate-gradient solve; few outputs take fewer, since m suffice but for rounding."""

_AT_A_TIME = 2**14
"""Entries of the rows of samples' own matrices that are solved with at a time."""

_EPSILON = torch.finfo(torch.float64).eps


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


def directions(
    derivatives: Derivatives, problem: Problem, curvature: Curvature, matrix: CurvatureMatrix | None = None
) -> Solution:
    """Return the directions of a curvature, apart from a step: for probes, and for a gradient that comes from outside.

    Args:
        derivatives: Of the kind that the curvature needs; the gradient alone for the power 0.
        problem: Which samples and outputs count.
        curvature: The curvature.
        matrix: Its matrix, where it is known.
    """
    if matrix is None:
        matrix = curvature.matrix(derivatives, problem) if curvature.power else IdentityMatrix.of(problem)
    damped = choose_damping(curvature.damping if curvature.power else 0.0, matrix)
    solution = solve(matrix, damped, derivatives.gradient.double(), curvature, wait=problem.raising)
    return limit(solution, damped, curvature, matrix.samples)


def inverse_power(matrix: DenseMatrix, damped: Damped, power: float) -> Tensor | None:
    """Return (C + λI)^(−κ) of the mean matrix, [m, m], in the units of the loss; `None` if it is not positive."""
    values, vectors = _eigenpairs(_regular(matrix, own=False))
    values = values + damped.strength
    if not bool(values.amin() > _least(matrix.size, _EPSILON) * values.amax()):
        return None
    inverse = (vectors * values**-power) @ vectors.mT
    return inverse if matrix.unit is None else inverse / matrix.unit**power


def solve(matrix: CurvatureMatrix, damped: Damped, gradient: Tensor, curvature: Curvature, *, wait: bool) -> Solution:
    """Return (C + λI)^(−κ)g for every sample.

    Args:
        matrix: C.
        damped: λ, and whether each sample's own matrix is used.
        gradient: [N, m] float64.
        curvature: The power κ, the solver, and whether one matrix serves all samples.
        wait: Whether waiting for the device is allowed.

    Returns:
        The directions, zero at padded outputs; a sample whose curvature is not finite has the code `nonfinite`.
    """
    if isinstance(matrix, (IdentityMatrix, InverseMatrix)):
        codes = torch.zeros(len(gradient), dtype=torch.int8, device=gradient.device)
        product = gradient @ matrix.inverse if isinstance(matrix, InverseMatrix) else gradient
        solution = Solution(product, codes, matrix.largest)
    elif isinstance(matrix, GramMatrix):
        solution = _solve_gram(matrix, damped.strength, gradient, curvature.power, wait=wait)
    elif isinstance(matrix, FeatureMatrix):
        solution = _solve_features(matrix, damped.strength, gradient, curvature.power)
    elif isinstance(matrix, ProductMatrix):
        by_rank = curvature.solver == "low_rank"
        solution = (
            _solve_low_rank(matrix, damped.strength, gradient, curvature.power, allow_indefinite=not matrix.definite)
            if by_rank
            else _solve_products(matrix, damped.strength, gradient, wait=wait)
        )
    elif isinstance(matrix, OperatorMatrix):
        solution = _solve_operator(matrix, damped.strength, gradient, curvature)
    else:  # any other structure is solved in its dense form
        solution = solve_dense(
            _chosen(matrix, damped, curvature, wait=wait) if isinstance(matrix, DenseMatrix) else matrix.dense(),
            damped.strength,
            gradient if matrix.unit is None else gradient / matrix.unit**curvature.power,
            power=curvature.power,
            solver=curvature.solver,
            allow_indefinite=not matrix.definite,
            precision=matrix.rounding,
        )
    if matrix.finite is not None:
        solution = replace(solution, codes=torch.where(matrix.finite, solution.codes, Result.nonfinite.value))
    if matrix.samples.keep is not None:
        solution = replace(solution, direction=torch.where(matrix.samples.keep, solution.direction, 0.0))
    return solution


def limit(solution: Solution, damped: Damped, curvature: Curvature, samples: Samples) -> Solution:
    """Return directions of the lengths that the options of a curvature ask for.

    Args:
        solution: [N, m] directions.
        damped: Whether each sample's own matrix was used.
        curvature: With `max_step`, `max_ratio` and `normalize`.
        samples: Which samples and outputs count.
    """
    own = bool(curvature.power) and (curvature.aggregate == "sample" or damped.own is not None)
    trusted = curvature.max_ratio is not None and own
    if curvature.power and curvature.max_step is not None and not is_number(curvature.damping):
        outputs = solution.direction.shape[1] if samples.keep is None else samples.keep.sum(-1, keepdim=True).double()
        longest = curvature.max_step * outputs**0.5
        solution = replace(solution, direction=capped(solution.direction, longest))
    if not trusted and curvature.normalize is False:
        return solution
    lost = ~finite_rows(solution.direction) & (solution.codes <= Result.indefinite.value)
    codes = torch.where(lost, Result.nonfinite.value, solution.codes)
    sound = codes <= Result.indefinite.value  # a failed direction does not count for the others
    direction = torch.where(sound.unsqueeze(-1), solution.direction, 0.0)
    samples = samples.where(sound)
    if trusted and curvature.max_ratio is not None:
        norms = direction.norm(dim=-1, keepdim=True)
        moving = samples.where((norms > 0).squeeze(-1))  # a sample at its optimum does not hold the others back
        shorter = capped(direction, curvature.max_ratio * moving.quantile(norms, 0.5))
        if curvature.aggregate == "batch" and damped.own is not None:
            shorter = torch.where(damped.own, shorter, direction)
        direction = shorter
    if curvature.normalize is not False:  # a batch at its optimum stays there
        size = samples.root_mean_square(direction)
        direction = direction * (curvature.normalize / torch.where(size > 0, size, 1.0))
    return replace(solution, direction=direction, codes=codes)


def capped(direction: Tensor, longest: Tensor | float) -> Tensor:
    """Shorten directions [N, m] to at most the given norm."""
    norms = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    shares = longest * norms.clamp(min=torch.finfo(direction.dtype).tiny).reciprocal()
    return direction * shares.clamp(max=1.0)


def _chosen(matrix: DenseMatrix, damped: Damped, curvature: Curvature, *, wait: bool) -> Tensor:
    """Return the mean matrix [m, m], or the samples' own [N, m, m]."""
    if curvature.aggregate == "sample":
        return _regular(matrix, own=True)
    if damped.own is None:
        return _regular(matrix, own=False)
    if wait:
        return _regular(matrix, own=bool(damped.own))
    return torch.where(damped.own, _regular(matrix, own=True), _regular(matrix, own=False))


def _regular(matrix: DenseMatrix, *, own: bool) -> Tensor:
    """Return [m, m] or [N, m, m] with ones on the diagonal where no sample, or not this one, has an output.

    Such rows are zero and would make the matrix singular without being part of the problem.
    """
    samples = matrix.samples
    if own and matrix.own is not None:
        return matrix.own + torch.diag_embed((~samples.counted).expand(-1, matrix.size).to(matrix.own.dtype))
    if samples.keep is None:
        return matrix.mean
    return matrix.mean + torch.diag_embed((samples.scale == 0).to(matrix.mean.dtype))


def _solve_gram(matrix: GramMatrix, strength: Tensor, gradient: Tensor, power: float, *, wait: bool) -> Solution:
    """Solve by the rows of R; where those are the weighted gradients, without a cancellation."""
    unit = torch.ones_like(strength) if matrix.unit is None else matrix.unit
    if matrix.weight is None:
        return solve_kernel(matrix.root, strength, gradient / unit**power, power=power)
    solution, counts = solve_kernel(matrix.root, strength, power=power), matrix.weight > 0
    direction = solution.direction[matrix.own_rows] * unit ** (0.5 - power) / matrix.weight
    if not (wait and bool(counts.all())):
        others = solve_kernel(matrix.root, strength, gradient / unit**power, power=power)
        direction = torch.where(counts, direction, others.direction)
    return Solution(direction, solution.codes[matrix.own_rows], solution.condition)


def _solve_operator(matrix: OperatorMatrix, strength: Tensor, gradient: Tensor, curvature: Curvature) -> Solution:
    operator = matrix.operator
    if not operator.supports(curvature.power):
        raise UnsupportedCurvatureError(
            f"{curvature!r}: the operator of this loss solves the power 1, the Newton step, and not "
            f"{curvature.power:g}. Use power=1.0, or solver='low_rank'."
        )
    condition = (matrix.largest + strength) / strength
    code = torch.where(strength > _least(1, _EPSILON) * matrix.largest, Result.ok.value, Result.singular.value)
    # An empty rank has no rows, of which Fourier transforms raise an error.
    direction = operator.solve(gradient, strength, curvature.power) if len(gradient) else gradient
    return Solution(direction, code.to(torch.int8).expand(gradient.shape[:1]), condition)


def _solve_features(matrix: FeatureMatrix, strength: Tensor, gradient: Tensor, power: float) -> Solution:
    """Solve with each sample's own matrix, a few samples at a time."""
    few = max(1, _AT_A_TIME // max(1, matrix.root[:1].numel()))
    pieces = zip(matrix.root.split(few), gradient.unsqueeze(1).split(few), strict=True)
    found = [solve_kernel(root, strength, rows, power=power) for root, rows in pieces]
    direction = torch.cat([one.direction for one in found]).squeeze(1)
    return Solution(direction, torch.cat([one.codes for one in found]), torch.cat([one.condition for one in found]))


def _solve_products(matrix: ProductMatrix, strength: Tensor, gradient: Tensor, *, wait: bool) -> Solution:
    own = matrix.own_product
    rows, mine = (gradient, slice(None)) if own is not None else matrix.samples.gather(gradient)
    solution = solve_conjugate(
        own or matrix.product,
        strength,
        rows,
        tolerance=matrix.tolerance,
        max_iterations=min(_ITERATIONS, 4 * gradient.shape[1] + 10),
        wait=wait,
    )
    residual = None if solution.residual is None else solution.residual[mine]
    return Solution(solution.direction[mine], solution.codes[mine], solution.condition, residual)


def solve_dense(
    matrix: Tensor,
    strength: Tensor,
    gradient: Tensor,
    *,
    solver: Solver,
    allow_indefinite: bool,
    power: float = 1.0,
    precision: float = 0.0,
) -> Solution:
    """Solve with C + λI formed.

    Args:
        matrix: [m, m] for all samples, or [N, m, m]; symmetric.
        strength: [], λ.
        gradient: [N, m].
        solver: `"cholesky"` or `"eigen"`; anything else is Cholesky where κ = 1, else eigen.
        allow_indefinite: Whether negative eigenvalues are solved as they are, and recorded, or count as a failure.
        power: κ.
        precision: Relative error of the matrix. Without a λ above it, a matrix whose pivots fall to its size is
            singular for all that is known: what looks like a small eigenvalue is rounding.

    Returns:
        The directions; nothing waits for the device but the eigen-decomposition.
    """
    size = matrix.shape[-1]
    damped = matrix + strength * torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    rhs = gradient.mT if matrix.ndim == 2 else gradient.unsqueeze(-1)
    least: Tensor | float = _least(size, _EPSILON)
    if precision > _EPSILON:
        largest = damped.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
        least = torch.where(strength < precision * largest, _least(size, precision), least)
    if solver == "eigen" or power != 1:
        direction, codes, condition = _eigen(_eigenpairs(damped), rhs, allow_indefinite, least, power)
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


def _eigen(
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


def _eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of [*, m, m], NaN where the iteration does not converge."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except RuntimeError:  # torch.linalg.LinAlgError, which torch does not export to type checkers
        if matrix.ndim == 2:
            return torch.full_like(matrix[0], torch.nan), torch.full_like(matrix, torch.nan)
        pairs = [_eigenpairs(one) for one in matrix.flatten(0, -3)]
        values, vectors = (torch.stack(part) for part in zip(*pairs, strict=True))
        return values.view(matrix.shape[:-1]), vectors.view(matrix.shape)
    return values, vectors


def _solve_low_rank(
    matrix: ProductMatrix, strength: Tensor, gradient: Tensor, power: float, *, allow_indefinite: bool
) -> Solution:
    """Solve by the leading eigenvectors; along all others C is nothing beside λ."""
    own, rows = matrix.own_product, gradient.unsqueeze(0)
    product = own or (lambda directions: matrix.product(directions[:, 0]).unsqueeze(1))
    like = gradient if own is not None else gradient.new_zeros(1, matrix.size)
    values, vectors = leading_eigenvectors(product, like, matrix.tolerance * strength)
    rhs = gradient.unsqueeze(-1) if own is not None else rows.mT
    uncertain = strength < matrix.rounding * values.abs().amax(-1)  # else λ is above what rounding adds
    least = torch.where(uncertain, _least(matrix.size, matrix.rounding), _least(matrix.size, _EPSILON))
    direction, codes, condition = _eigen((values + strength, vectors), rhs, allow_indefinite, least, power)
    if vectors.shape[-1] < matrix.size:
        direction = direction + (rhs - vectors @ (vectors.mT @ rhs)) * strength**-power
    direction = direction.squeeze(-1) if own is not None else direction[0].mT
    return Solution(direction, codes.expand(gradient.shape[:1]), condition if own is not None else condition[0])


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
        regular = (info == 0) & (strength > 0) & (_pivot_ratio(factor).square() > _least(root.shape[-2], _EPSILON))
    else:
        regular = (info == 0) & (strength > _least(root.shape[-2], _EPSILON) * largest)
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
        warnings.warn(
            f"conjugate gradients stopped after {max_iterations} products with the relative residual {worst:.1e}, "
            f"above {tolerance:.0e}: the damped curvature is ill-conditioned. Raise the damping, or use solver='auto'.",
            NumericalWarning,
            stacklevel=2,
        )
    return Solution(solution, codes, size.new_full((), torch.nan), left)


def _least(size: int, rounding: float) -> float:
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
