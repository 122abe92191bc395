"""Solves with a damped curvature matrix by its structure, and the lengths of the directions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nlcore.errors import UnsupportedCurvatureError
from nlcore.evaluation import finite_rows
from nlcore.newton.chunks import ENTRIES_AT_A_TIME
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import Damped, choose_damping
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.failures import SOLVED, Result
from nlcore.newton.linear import (
    EPSILON,
    Solution,
    eigenpairs,
    least_ratio,
    solve_conjugate,
    solve_dense,
    solve_eigen,
    solve_kernel,
)
from nlcore.newton.low_rank import leading_eigenvectors
from nlcore.newton.matrix import (
    CurvatureMatrix,
    DenseMatrix,
    FeatureMatrix,
    GramMatrix,
    IdentityMatrix,
    InverseMatrix,
    OperatorMatrix,
    ProductMatrix,
)
from nlcore.newton.options import is_number
from nlcore.newton.problem import Problem, Samples

__all__ = ["capped", "directions", "inverse_power", "limit_lengths", "solve"]

_ITERATIONS = 500
"""Most products of a conjugate-gradient solve; few outputs take fewer, since m suffice but for rounding."""


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
    return limit_lengths(solution, damped, curvature, matrix.samples)


def inverse_power(matrix: DenseMatrix, damped: Damped, power: float) -> Tensor | None:
    """Return (C + λI)^(−κ) of the mean matrix, [m, m], in the units of the loss; `None` if it is not positive."""
    values, vectors = eigenpairs(_regular(matrix, own=False))
    values = values + damped.strength
    if not bool(values.amin() > least_ratio(matrix.size, EPSILON) * values.amax()):
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
    elif isinstance(matrix, ProductMatrix) and curvature.solver == "low_rank":
        solution = _solve_low_rank(matrix, damped.strength, gradient, curvature.power)
    elif isinstance(matrix, ProductMatrix):
        solution = _solve_products(matrix, damped.strength, gradient, wait=wait)
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
            rounding=matrix.rounding,
        )
    if matrix.finite is not None:
        solution = replace(solution, codes=torch.where(matrix.finite, solution.codes, Result.nonfinite.value))
    if matrix.samples.keep is not None:
        solution = replace(solution, direction=torch.where(matrix.samples.keep, solution.direction, 0.0))
    return solution


def limit_lengths(solution: Solution, damped: Damped, curvature: Curvature, samples: Samples) -> Solution:
    """Return directions of the lengths that the options of a curvature ask for.

    Args:
        solution: [N, m] directions.
        damped: Whether each sample's own matrix was used.
        curvature: With `max_step`, `max_ratio` and `normalize`.
        samples: Which samples and outputs count.
    """
    own = bool(curvature.power) and (curvature.aggregate == "sample" or damped.own is not None)
    ratio = curvature.max_ratio if own else None
    if curvature.power and curvature.max_step is not None and not is_number(curvature.damping):
        outputs = solution.direction.shape[1] if samples.keep is None else samples.keep.sum(-1, keepdim=True).double()
        longest = curvature.max_step * outputs**0.5
        solution = replace(solution, direction=capped(solution.direction, longest))
    if ratio is None and curvature.normalize is False:
        return solution
    lost = ~finite_rows(solution.direction) & (solution.codes <= SOLVED)
    codes = torch.where(lost, Result.nonfinite.value, solution.codes)
    sound = codes <= SOLVED  # a failed direction does not count for the others
    direction = torch.where(sound.unsqueeze(-1), solution.direction, 0.0)
    samples = samples.where(sound)
    if ratio is not None:
        shorter = _trusted(direction, ratio, samples)
        chosen = damped.own if curvature.aggregate == "batch" else None
        direction = shorter if chosen is None else torch.where(chosen, shorter, direction)
    if curvature.normalize is not False:  # a batch at its optimum stays there
        size = samples.root_mean_square(direction)
        direction = direction * (curvature.normalize / torch.where(size > 0, size, 1.0))
    return replace(solution, direction=direction, codes=codes)


def _trusted(direction: Tensor, ratio: float, samples: Samples) -> Tensor:
    """Return directions [N, m] shortened to a multiple of their median length."""
    norms = direction.norm(dim=-1, keepdim=True)
    moving = samples.where((norms > 0).squeeze(-1))  # a sample at its optimum does not hold the others back
    return capped(direction, ratio * moving.quantile(norms, 0.5))


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
    if matrix.factors is None:
        return solve_kernel(matrix.root, strength, gradient / unit**power, power=power)
    solution, counts = solve_kernel(matrix.root, strength, power=power), matrix.factors > 0
    direction = solution.direction[matrix.own_rows] * unit ** (0.5 - power) / matrix.factors
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
    code = torch.where(strength > least_ratio(1, EPSILON) * matrix.largest, Result.ok.value, Result.singular.value)
    # An empty rank has no rows, of which Fourier transforms raise an error.
    direction = operator.solve(gradient, strength, curvature.power) if len(gradient) else gradient
    return Solution(direction, code.to(torch.int8).expand(gradient.shape[:1]), condition)


def _solve_features(matrix: FeatureMatrix, strength: Tensor, gradient: Tensor, power: float) -> Solution:
    """Solve with each sample's own matrix, a few samples at a time."""
    few = max(1, ENTRIES_AT_A_TIME // max(1, matrix.root[:1].numel()))
    pieces = zip(matrix.root.split(few), gradient.unsqueeze(1).split(few), strict=True)
    solutions = [solve_kernel(root, strength, rows, power=power) for root, rows in pieces]
    direction = torch.cat([one.direction for one in solutions]).squeeze(1)
    codes = torch.cat([one.codes for one in solutions])
    return Solution(direction, codes, torch.cat([one.condition for one in solutions]))


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


def _solve_low_rank(matrix: ProductMatrix, strength: Tensor, gradient: Tensor, power: float) -> Solution:
    """Solve by the leading eigenvectors; along all others C is nothing beside λ."""
    own, rows = matrix.own_product, gradient.unsqueeze(0)
    product = own or (lambda directions: matrix.product(directions[:, 0]).unsqueeze(1))
    like = gradient if own is not None else gradient.new_zeros(1, matrix.size)
    values, vectors = leading_eigenvectors(product, like, matrix.tolerance * strength)
    rhs = gradient.unsqueeze(-1) if own is not None else rows.mT
    uncertain = strength < matrix.rounding * values.abs().amax(-1)  # else λ is above what rounding adds
    least = torch.where(uncertain, least_ratio(matrix.size, matrix.rounding), least_ratio(matrix.size, EPSILON))
    direction, codes, condition = solve_eigen((values + strength, vectors), rhs, not matrix.definite, least, power)
    if vectors.shape[-1] < matrix.size:
        direction = direction + (rhs - vectors @ (vectors.mT @ rhs)) * strength**-power
    direction = direction.squeeze(-1) if own is not None else direction[0].mT
    return Solution(direction, codes.expand(gradient.shape[:1]), condition if own is not None else condition[0])
