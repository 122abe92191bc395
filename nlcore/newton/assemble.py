"""From per-sample curvature to directions: mean or own matrix, repair, damping, solve. Hessian and Gauss–Newton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.newton.adapt import finite_rows
from nlcore.newton.batch import Batch
from nlcore.newton.damping import Bounded, Damping, DampingMemory, Relative, bounded_rho, damping_strength
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.result import Result
from nlcore.newton.solve import Solution, Solver, solve_conjugate, solve_dense
from nlcore.newton.taken import CurvatureStep, capped

__all__ = ["Psd", "Recipe", "Scope", "curved_step", "repaired"]

Psd: TypeAlias = Literal["abs", "clip", "none"]
Scope: TypeAlias = Literal["sample", "batch"]

_BUDGET = 2**24
"""Elements of all samples' matrices together, and of one chunk of curvature products: 128 MiB in float64."""

_CACHED = 2**16
"""Elements of one chunk on a processor: what a loss computes on the way, often m times as much, then stays in its
cache. Against one chunk for all: a third of the time for 64 scores by NeuralSort, a fifth for 256 of a filter."""

_EXACT_TRACE = 1024
"""Outputs up to which the trace of a matrix that is not formed is summed exactly; above, it is estimated."""

_PROBES = 16
"""Random signs for that estimate (Hutchinson 1989)."""

_ITERATIONS = 500
"""Most products of a conjugate-gradient solve; few outputs take fewer, since m suffice but for rounding."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The options that Hessian and Gauss–Newton share; see there."""

    damping: Damping
    aggregate: Scope
    max_ratio: float | None
    solver: Solver
    chunk_size: int | None
    normalize: bool
    psd: Psd
    psd_scope: Scope

    @classmethod
    def of(cls, options: Any, psd: Psd, psd_scope: Scope) -> Recipe:
        """Return the recipe of a Hessian's or Gauss–Newton's options."""
        shared = {name: getattr(options, name) for name in cls.__slots__ if not name.startswith("psd")}
        return cls(**shared, psd=psd, psd_scope=psd_scope)


def curved_step(
    recipe: Recipe,
    derivatives: Derivatives,
    batch: Batch,
    memory: DampingMemory | None,
    *,
    wait: bool,
    definite: bool,
) -> CurvatureStep:
    """Return directions from per-sample curvature.

    Args:
        recipe: The options.
        derivatives: With curvature.
        batch: Which samples and outputs count.
        memory: Damping remembered from earlier steps.
        wait: Whether waiting for the device is allowed.
        definite: Whether an indefinite matrix counts as a failure.
    """
    if recipe.solver == "cg":
        return _matrix_free(recipe, derivatives, batch, wait=wait)
    own = recipe.aggregate == "sample"
    bounded = isinstance(recipe.damping, Bounded)  # may come to use every sample's own matrix
    by_sample = own or bounded or (recipe.psd != "none" and recipe.psd_scope == "sample")
    blocks, negative = None, None
    if by_sample or derivatives.supplied is not None or (not wait and _fits(derivatives)):
        blocks = derivatives.supplied  # symmetric but for what is taken from their mean
        if by_sample or blocks is None:
            blocks = derivatives.blocks(_chunk(derivatives, recipe.chunk_size))
        blocks = batch.cleared(blocks.double())
        finite = finite_rows(blocks.flatten(1))
        blocks = torch.where(finite[:, None, None], blocks, 0.0)
        batch = replace(batch, weight=torch.where(finite, batch.weight, 0.0))
        if recipe.psd != "none" and by_sample:
            blocks, negative = repaired(blocks, recipe.psd)
        matrix = batch.mean(blocks)
        matrix = (matrix + matrix.mT) / 2
    else:
        matrix, finite = _mean_matrix(derivatives, batch, recipe.chunk_size)
    if recipe.psd != "none" and not by_sample:
        matrix, negative = repaired(matrix, recipe.psd)
    mean_curvature, largest = matrix.diagonal().sum().abs() / batch.outputs(matrix.shape[-1]), matrix.abs().amax()
    rho, per_sample = _rho(recipe.damping, matrix, blocks, mean_curvature, batch=batch, memory=memory)
    strength = (
        torch.full_like(mean_curvature, recipe.damping)
        if isinstance(recipe.damping, (int, float))
        else damping_strength(rho, mean_curvature, largest)
    )
    chosen = matrix
    if blocks is not None and own:
        chosen = blocks
    elif blocks is not None and per_sample is not None:
        chosen = torch.where(per_sample, blocks, matrix)
    solution = solve_dense(
        batch.regular(chosen),
        strength,
        derivatives.gradient.double(),
        solver=recipe.solver,
        allow_indefinite=not definite,
        precision=derivatives.rounding,
    )
    codes = torch.where(finite, solution.codes, Result.nonfinite.value)
    solution = replace(solution, direction=batch.kept(solution.direction), codes=codes)
    trusted = recipe.max_ratio is not None and (own or per_sample is not None)
    solution = _lengths(recipe, solution, batch, trusted=trusted, where=None if own else per_sample)
    return CurvatureStep(solution, strength, mean_curvature, negative, per_sample, largest)


def repaired(matrix: Tensor, psd: Psd) -> tuple[Tensor, Tensor]:
    """Return symmetric matrices with their negative eigenvalues flipped or clipped, and the share of those.

    A matrix that is not finite stays as it is.
    """
    finite = torch.isfinite(matrix).all(-1).all(-1)[..., None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, matrix, 0.0))
    largest = values.abs().amax(-1, keepdim=True)
    negative = (values < -1e-10 * largest).double().mean()
    values = values.abs() if psd == "abs" else values.clamp(min=0.0)
    return torch.where(finite, (vectors * values.unsqueeze(-2)) @ vectors.mT, matrix), negative


def _rho(
    damping: Damping,
    matrix: Tensor,
    blocks: Tensor | None,
    mean_curvature: Tensor,
    *,
    batch: Batch,
    memory: DampingMemory | None,
) -> tuple[float | Tensor, Tensor | None]:
    """Return ρ and, for a bounded damping, whether every sample's own matrix is to be used."""
    if isinstance(damping, Relative):
        return damping.rho, None
    if not isinstance(damping, Bounded) or blocks is None:
        return 0.0, None
    if memory is not None and memory.age > 0:
        memory.age = (memory.age + 1) % damping.refresh
        return memory.rho, memory.per_sample
    rho = bounded_rho(damping, matrix, blocks, mean_curvature, batch)
    per_sample = torch.isinf(rho)
    rho = torch.where(per_sample, damping.per_sample_rho, rho)
    if memory is not None:
        memory.rho.copy_(rho)
        memory.per_sample.copy_(per_sample)
        memory.age = 1 % damping.refresh
    return rho, per_sample


def _lengths(
    recipe: Recipe, solution: Solution, batch: Batch, *, trusted: bool, where: Tensor | None = None
) -> Solution:
    """Bring directions to the lengths that the options ask for.

    Args:
        recipe: The options.
        solution: [N, m] directions.
        batch: Which samples and outputs count.
        trusted: Whether steps are shortened to `max_ratio` times the median step of the batch.
        where: [] bool, whether they are after all; always when `None`.
    """
    if not (trusted or recipe.normalize):
        return solution
    lost = ~finite_rows(solution.direction) & (solution.codes <= Result.indefinite.value)
    codes = torch.where(lost, Result.nonfinite.value, solution.codes)
    sound = codes <= Result.indefinite.value  # a failed direction is no measure for the others
    direction = torch.where(sound.unsqueeze(-1), solution.direction, 0.0)
    batch = replace(batch, weight=torch.where(sound, batch.weight, 0.0))
    if trusted and recipe.max_ratio is not None:
        median = batch.quantile(direction.norm(dim=-1, keepdim=True), 0.5)
        shorter = capped(direction, recipe.max_ratio * median)
        direction = shorter if where is None else torch.where(where, shorter, direction)
    if recipe.normalize:  # a batch that is where it should be stays there
        size = batch.root_mean_square(direction)
        direction = direction / torch.where(size > 0, size, 1.0)
    return replace(solution, direction=direction, codes=codes)


def _fits(derivatives: Derivatives) -> bool:
    """Whether every sample's matrix may be held at once.

    A sum over rows, which holds none of them, cannot leave out as a whole a sample of which a later row turns out not
    to be finite. A step that raises then needs no sum; one that falls back does.
    """
    return derivatives.gradient.numel() * derivatives.gradient.shape[1] <= _BUDGET


def _chunk(derivatives: Derivatives, chunk_size: int | None) -> int:
    """Return how many directions to pull back at a time."""
    elements = _CACHED if derivatives.gradient.device.type == "cpu" else _BUDGET
    return int(chunk_size or max(1, elements // max(1, derivatives.gradient.numel())))


def _mean_matrix(derivatives: Derivatives, batch: Batch, chunk_size: int | None) -> tuple[Tensor, Tensor]:
    """Return the mean curvature [m, m], a chunk of rows at a time, and which samples' curvature is finite, [N]."""
    size = derivatives.gradient.shape[1]
    identity = torch.eye(size, dtype=derivatives.gradient.dtype, device=derivatives.gradient.device)
    finite = torch.ones_like(batch.weight, dtype=torch.bool)
    rows = _mean_product(derivatives, batch, chunk_size, finite)(identity)
    return (rows + rows.mT) / 2, finite


def _mean_product(
    derivatives: Derivatives, batch: Batch, chunk_size: int | None, finite: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the map from [r, m] to the mean curvature times each row, in float64.

    Entries that are not finite are left out where `finite` is given to note their samples.
    """
    chunk = _chunk(derivatives, chunk_size)
    scale = batch.scale(derivatives.gradient.shape[1])
    keep = _kept(batch)

    def product(rows: Tensor) -> Tensor:
        pieces = []
        for piece in (rows * scale).to(derivatives.gradient.dtype).split(chunk):
            spread = torch.where(keep, piece.unsqueeze(1), 0.0)
            image = torch.where(keep, derivatives.apply(spread), 0.0).double()
            if finite is not None:
                finite.logical_and_(torch.isfinite(image).all(-1).all(0))
                image = torch.where(torch.isfinite(image), image, 0.0)
            pieces.append(torch.einsum("n,rni->ri", batch.weight, image))
        return batch.total(torch.cat(pieces)) * scale

    return product


def _kept(batch: Batch) -> Tensor:
    keep = (batch.weight > 0).unsqueeze(-1)
    return keep if batch.keep is None else keep & batch.keep


def _own_product(derivatives: Derivatives, batch: Batch) -> Callable[[Tensor], Tensor]:
    """Return the map from [N, m] to each sample's own curvature times its row, in float64."""
    keep = _kept(batch)

    def product(rows: Tensor) -> Tensor:
        inside = torch.where(keep, rows, 0.0).to(derivatives.gradient.dtype)
        return torch.where(keep, derivatives.apply(inside.unsqueeze(0))[0], 0.0).double()

    return product


def _matrix_free(recipe: Recipe, derivatives: Derivatives, batch: Batch, *, wait: bool) -> CurvatureStep:
    """Solve by conjugate gradients on curvature products."""
    gradient = derivatives.gradient.double()
    mean_product = _mean_product(derivatives, batch, recipe.chunk_size)
    mean_curvature = torch.full_like(gradient[:, 0].sum(), torch.nan)
    if isinstance(recipe.damping, Relative):
        size = gradient.shape[1]
        mean_curvature = _trace(mean_product, size, gradient).abs() / batch.outputs(size)
        strength = damping_strength(recipe.damping.rho, mean_curvature, mean_curvature)
    else:
        strength = torch.full_like(mean_curvature, float(recipe.damping))  # type: ignore[arg-type]
    own = recipe.aggregate == "sample"
    rows, mine = (gradient, slice(None)) if own else batch.gather(gradient)
    solution = solve_conjugate(
        _own_product(derivatives, batch) if own else mean_product,
        strength,
        rows,
        tolerance=1e-5 if derivatives.gradient.dtype == torch.float32 else 1e-10,
        max_iterations=min(_ITERATIONS, 4 * gradient.shape[1] + 10),
        wait=wait,
    )
    residual = None if solution.residual is None else solution.residual[mine]
    direction = batch.kept(solution.direction[mine])
    solution = replace(solution, direction=direction, codes=solution.codes[mine], residual=residual)
    solution = _lengths(recipe, solution, batch, trusted=own and recipe.max_ratio is not None)
    return CurvatureStep(solution, strength, mean_curvature)


def _trace(product: Callable[[Tensor], Tensor], size: int, like: Tensor) -> Tensor:
    """Return the trace of a matrix known by its products: exact for small ones, else by random signs."""
    if size <= _EXACT_TRACE:
        identity = torch.eye(size, dtype=like.dtype, device=like.device)
        return product(identity).diagonal().sum()
    generator = torch.Generator(like.device).manual_seed(0)
    signs = torch.randint(2, (_PROBES, size), generator=generator, device=like.device).to(like.dtype) * 2 - 1
    return (signs * product(signs)).sum() / _PROBES
