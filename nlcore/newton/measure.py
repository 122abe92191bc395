"""What a diagnosis measures of a loss: spectrum, directions and dispersion of its curvature, here and further on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.newton.adapt import LossInfo
from nlcore.newton.assemble import repaired
from nlcore.newton.batch import Batch
from nlcore.newton.damping import Bounded, amplification, bounded_rho, damping_strength
from nlcore.newton.derivatives import Derivatives, Kind, differentiate
from nlcore.newton.taken import capped

__all__ = ["RHOS", "CurvatureFigures", "Point", "Problem", "ahead", "curvature_figures", "in_dtype", "mismatch"]

RHOS = (1.0, 0.1, 0.01, 0.001)
"""The relative dampings at which the amplification is shown."""

_COSINE_RHO = 0.01
"""The damping of the directions that are compared with the gradient: enough to tame noise, little enough to turn."""

_FLAT = 1e-10
"""Eigenvalues below this share of the largest count as zero in float64; in float32, 1e-5."""

_STEPS, _GOAL = 15, 0.1

_REACH = 10.0
"""Longest step on the way there, in units of the root mean square of all outputs, or of one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A loss at a batch of outputs, of which some may be held fixed.

    Attributes:
        info: The loss.
        shape: [N, *event].
        flat: [N, m], the outputs, in the precision that all is computed in.
        target: In the same precision.
        kind: The curvature looked at.
        batch: Which samples and which of the moving outputs count.
        moving: The k of the m outputs that the figures are about; the others are held fixed.
        mask: [N, *event] bool for a loss that takes one.
        state: Of the random numbers; every evaluation sees the same draw.
        dtype: Of the prediction as it was given.
    """

    info: LossInfo
    shape: torch.Size
    flat: Tensor
    target: Any
    kind: Kind
    batch: Batch
    moving: slice
    mask: Tensor | None
    state: Tensor | None
    dtype: torch.dtype

    @property
    def flatness(self) -> float:
        """The share of the largest eigenvalue under which one counts as zero."""
        return _FLAT if self.flat.dtype == torch.float64 else 1e-5

    def derivatives(self, flat: Tensor, kind: Kind | None = None) -> Derivatives:
        """Return value, gradient and curvature products at other outputs, [N, m]."""
        generator = None
        if self.state is not None:
            generator = torch.Generator(flat.device)
            generator.set_state(self.state)
        return differentiate(
            self.info,
            flat.reshape(self.shape),
            self.target,
            kind or self.kind,
            generator=generator,
            mask=self.mask,
        )

    def gradient(self, derivatives: Derivatives) -> Tensor:
        """Return that of the moving outputs, [N, k], in float64, zero at padded ones."""
        return self.batch.kept(derivatives.gradient[:, self.moving].double())

    def blocks(self, derivatives: Derivatives) -> tuple[Tensor, float | None]:
        """Return the curvature of the moving outputs, [N, k, k], repaired, and the share that was negative."""
        if derivatives.supplied is not None:
            full = derivatives.supplied[:, self.moving, self.moving]
        else:
            size = self.flat.shape[1]
            basis = torch.eye(size, dtype=self.flat.dtype, device=self.flat.device)[self.moving]
            pieces = basis.unsqueeze(1).expand(-1, len(self.flat), size).split(max(1, 2**22 // self.flat.numel()))
            rows = torch.cat([derivatives.apply(piece)[..., self.moving] for piece in pieces])
            full = rows.transpose(0, 1)
        blocks = self.batch.cleared(((full + full.mT) / 2).double())
        if self.kind != "hessian":
            return blocks, None
        absolute, negative = repaired(blocks, "abs")
        return absolute, float(negative)


@dataclass(frozen=True, slots=True)
class Point:
    """Outputs with what was computed there.

    Attributes:
        flat: [N, m].
        value: [N], the losses.
        gradient: [N, k].
        blocks: [N, k, k], positive semi-definite.
        negative: The share of negative eigenvalues before repair, for a Hessian.
    """

    flat: Tensor
    value: Tensor
    gradient: Tensor
    blocks: Tensor
    negative: float | None

    @classmethod
    def at(cls, problem: Problem, flat: Tensor) -> Point:
        """Compute all of it at outputs [N, m]."""
        derivatives = problem.derivatives(flat)
        blocks, negative = problem.blocks(derivatives)
        return cls(flat, derivatives.value.double(), problem.gradient(derivatives), blocks, negative)


@dataclass(frozen=True, slots=True)
class CurvatureFigures:
    """Of the mean curvature C and of the samples' own H_i; see `Diagnosis` for what each is for."""

    spectrum: tuple[float, ...]
    flat_directions: int
    condition: float
    own_condition: float
    cosine: float
    own_cosine: float
    amplification: tuple[float, ...]
    rho: float
    alike: bool
    negative: float | None


def curvature_figures(problem: Problem, point: Point) -> CurvatureFigures:
    """Return the figures at a point."""
    batch, blocks, gradient = problem.batch, point.blocks, point.gradient
    matrix = batch.mean(blocks)
    present = batch.scale(len(matrix)) > 0
    spectrum = torch.linalg.eigvalsh(matrix[present][:, present])
    curved = spectrum > problem.flatness * spectrum.amax().clamp(min=torch.finfo(torch.float64).tiny)
    mean_curvature = matrix.diagonal().sum().abs() / batch.outputs(len(matrix))
    strength = damping_strength(_COSINE_RHO, mean_curvature, matrix.abs().amax())
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    direction = torch.linalg.solve(batch.regular(matrix) + strength * identity, gradient.mT).mT
    own = torch.linalg.solve(batch.regular(blocks) + strength * identity, gradient.unsqueeze(-1)).squeeze(-1)
    bounded = Bounded()
    strengths = torch.tensor(RHOS, dtype=matrix.dtype, device=matrix.device) * mean_curvature
    apart = batch.quantile((blocks - matrix).flatten(1).norm(dim=1, keepdim=True), 1.0)
    flat = not bool(curved.any())
    return CurvatureFigures(
        spectrum=tuple(spectrum.tolist()),
        flat_directions=int((~curved).sum()),
        condition=math.nan if flat else float(spectrum[-1] / spectrum[curved][0]),
        own_condition=_own_condition(problem, blocks),
        cosine=_cosine(batch.kept(direction), gradient, batch),
        own_cosine=_cosine(batch.kept(own), gradient, batch),
        amplification=tuple(amplification(matrix, blocks, strengths, batch, bounded.quantile).tolist()),
        rho=float(bounded_rho(bounded, matrix, blocks, mean_curvature, batch)),
        alike=batch.keep is None and float(apart) <= 1e-6 * float(matrix.norm()),
        negative=point.negative,
    )


def ahead(problem: Problem, start: Point) -> tuple[Point, float]:
    """Return the outputs that the targets ask for, and the share of the loss that is left there.

    Each sample follows its own curvature by Levenberg–Marquardt steps until a tenth of its loss is left, or 15 steps
    are taken. No network is involved: this is where any network that learns has to bring its outputs, so that the
    samples' curvature there is the one that it will meet once it is under way.
    """
    goal = start.value - (1 - _GOAL) * start.value.abs()
    identity = torch.eye(start.blocks.shape[-1], dtype=torch.float64, device=start.blocks.device)
    rho = torch.full_like(start.value, 0.1)
    longest = _REACH * max(1.0, float(start.flat.square().mean().sqrt())) * math.sqrt(len(identity))
    point = start
    for _ in range(_STEPS):
        walking = (point.value > goal) & (problem.batch.weight > 0)
        if not bool(walking.any()):
            break
        unit = point.blocks.diagonal(dim1=1, dim2=2).mean(1)
        damping = torch.where(unit > 0, rho * unit, 1.0)[:, None, None] * identity
        step = torch.linalg.solve(point.blocks + damping, point.gradient.unsqueeze(-1)).squeeze(-1)
        moved = point.flat.clone()
        moved[:, problem.moving] -= problem.batch.kept(capped(step, longest)).to(moved.dtype)
        try:
            trial = Point.at(problem, moved)
        except Exception:  # a loss may refuse outputs outside its domain as it likes; shorter steps stay inside
            rho = rho * 4
            continue
        usable = torch.isfinite(trial.blocks).flatten(1).all(1) & torch.isfinite(trial.gradient).all(1)
        better = walking & usable & (trial.value < point.value)
        rho = torch.where(better, rho / 3, rho * 4)
        point = _merged(better, trial, point)
    counted = problem.batch.weight > 0
    before = start.value[counted].abs().sum()
    left = float((point.value[counted].sum() - start.value[counted].sum() + before) / before.clamp(min=1e-300))
    return point, left


def mismatch(problem: Problem, point: Point) -> float:
    """Return by how much the Hessian misses a difference of gradients along a random direction, median over samples.

    Some losses return a second derivative that is not that of their gradient, without an error.
    """
    generator = torch.Generator().manual_seed(0)
    along = torch.zeros_like(point.flat)
    signs = torch.randint(2, point.gradient.shape, generator=generator).to(along) * 2 - 1
    along[:, problem.moving] = problem.batch.kept(signs)
    step = (torch.finfo(along.dtype).eps ** (1 / 3)) * float(point.flat.abs().mean().clamp(min=1e-3))
    up, down = (problem.derivatives(point.flat + s * step * along, "gradient") for s in (1, -1))
    difference = (problem.gradient(up) - problem.gradient(down)) / (2 * step)
    exact = problem.gradient(replace(up, gradient=problem.derivatives(point.flat).apply(along.unsqueeze(0))[0]))
    size = torch.maximum(difference.norm(dim=1), exact.norm(dim=1))
    typical = float(problem.batch.quantile(size.unsqueeze(1), 0.5))
    error = (difference - exact).norm(dim=1) / size.clamp(min=max(1e-3 * typical, 1e-300))
    return float(problem.batch.quantile(error.unsqueeze(1), 0.5))


def in_dtype(target: Any, dtype: torch.dtype) -> Any:
    """Return the target with its floating-point tensors in another precision."""
    return pytree.tree_map(
        lambda leaf: leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, target
    )


def _merged(better: Tensor, trial: Point, point: Point) -> Point:
    """Take the samples that are better from the trial."""
    row = better.unsqueeze(-1)
    return Point(
        flat=torch.where(row, trial.flat, point.flat),
        value=torch.where(better, trial.value, point.value),
        gradient=torch.where(row, trial.gradient, point.gradient),
        blocks=torch.where(row.unsqueeze(-1), trial.blocks, point.blocks),
        negative=trial.negative,
    )


def _own_condition(problem: Problem, blocks: Tensor) -> float:
    """Return the median over the samples of the condition of H_i off its null space."""
    values = torch.linalg.eigvalsh(blocks)
    largest = values[:, -1:]
    smallest = torch.where(values > problem.flatness * largest, values, torch.inf).amin(1, keepdim=True)
    condition = torch.where(largest > 0, largest / smallest, 1.0)
    return float(problem.batch.quantile(condition, 0.5))


def _cosine(direction: Tensor, gradient: Tensor, batch: Batch) -> float:
    """Return the weighted mean over the samples that have a gradient."""
    moving = (gradient.norm(dim=1) > 0) & (direction.norm(dim=1) > 0) & (batch.weight > 0)
    if not bool(moving.any()):
        return math.nan
    unit, other = (v[moving] / v[moving].abs().amax(1, keepdim=True) for v in (direction, gradient))
    cosine = torch.nn.functional.cosine_similarity(unit, other, dim=1)
    weight = batch.weight[moving]
    return float((weight * cosine).sum() / weight.sum())
