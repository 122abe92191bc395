"""The figures of a diagnosis: spectrum, directions and dispersion of a loss's curvature, here and further on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.newton.damping import Bounded, damping_strength
from nlcore.newton.derivatives import Derivatives, Kind, differentiate
from nlcore.newton.hessian import repaired
from nlcore.newton.problem import Problem, Samples
from nlcore.newton.rho import amplification, bounded_rho, validated_rho
from nlcore.newton.solve import capped

__all__ = ["RHOS", "CurvatureFigures", "Point", "View", "ahead", "curvature_figures"]

RHOS = (1.0, 0.1, 0.01, 0.001)
"""The relative dampings at which the amplification is shown."""

_COSINE_RHO = 0.01
"""Damping of the directions compared with the gradient: it suppresses noise and still lets the directions turn."""

_FLAT = 1e-10
"""Eigenvalues below this share of the largest count as zero in float64; in float32, 1e-5."""

_STEPS, _GOAL = 15, 0.1

_REACH = 10.0
"""Longest step on the way there, in units of the root mean square of all outputs, or of one."""


@dataclass(frozen=True, slots=True)
class View:
    """A problem of which some outputs may be held fixed.

    Attributes:
        problem: The loss at a batch of outputs, in the precision of the computation.
        kind: The curvature that is measured.
        moving: The k of the m outputs that the figures are about; the others are held fixed.
        dtype: Dtype of the prediction as it was given.
    """

    problem: Problem
    kind: Kind
    moving: slice
    dtype: torch.dtype

    @property
    def flat(self) -> Tensor:
        """The outputs, [N, m]."""
        return self.problem.prediction

    @property
    def samples(self) -> Samples:
        """Which samples, and which of the moving outputs, count."""
        samples = self.problem.samples
        return samples if samples.keep is None else Samples.of(samples.weight, samples.keep[:, self.moving])

    @property
    def outputs(self) -> int:
        """The number k of moving outputs."""
        return int(self.moving.stop - self.moving.start)

    @property
    def flatness(self) -> float:
        """The share of the largest eigenvalue under which one counts as zero."""
        return _FLAT if self.flat.dtype == torch.float64 else 1e-5

    def derivatives(self, flat: Tensor, kind: Kind | None = None) -> Derivatives:
        """Return value, gradient and curvature at other outputs, [N, m]."""
        return differentiate(self.problem.at(flat), kind or self.kind)

    def gradient(self, derivatives: Derivatives) -> Tensor:
        """Return that of the moving outputs, [N, k], in float64, zero at padded ones."""
        return self.samples.kept(derivatives.gradient[:, self.moving].double())

    def blocks(self, derivatives: Derivatives) -> tuple[Tensor, float | None]:
        """Return the curvature of the moving outputs, [N, k, k], repaired, and the share that was negative."""
        if derivatives.supplied is not None:
            full = derivatives.supplied[:, self.moving, self.moving]
        else:
            size = self.flat.shape[1]
            basis = torch.eye(size, dtype=self.flat.dtype, device=self.flat.device)[self.moving]
            basis = basis.unsqueeze(1).expand(-1, len(self.flat), size)
            pieces = torch.split(basis, max(1, 2**22 // self.flat.numel()))
            rows = torch.cat([derivatives.apply(piece)[..., self.moving] for piece in pieces])
            full = rows.transpose(0, 1)
        blocks, _ = self.samples.cleared((full + full.mT) / 2)
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
        features: F, for a Gauss–Newton split.
    """

    flat: Tensor
    value: Tensor
    gradient: Tensor
    blocks: Tensor
    negative: float | None
    features: int | None = None

    @classmethod
    def at(cls, view: View, flat: Tensor) -> Point:
        """Compute all of it at outputs [N, m]."""
        derivatives = view.derivatives(flat)
        blocks, negative = view.blocks(derivatives)
        gradient, value = view.gradient(derivatives), derivatives.value.double()
        return cls(flat, value, gradient, blocks, negative, derivatives.features)


@dataclass(frozen=True, slots=True)
class CurvatureFigures:
    """Of the mean curvature C and of the samples' own H_i; see `Diagnosis` for what each is for."""

    spectrum: tuple[float, ...]
    flat_directions: int
    condition: float
    own_condition: float
    own_flat_directions: int
    cosine: float
    own_cosine: float
    amplification: tuple[float, ...]
    rho: float
    alike: bool
    negative: float | None
    noise: float


def curvature_figures(view: View, point: Point) -> CurvatureFigures:
    """Return the figures at a point."""
    samples, blocks, gradient = view.samples, point.blocks, point.gradient
    matrix = samples.mean(blocks)
    present = samples.scale.expand(len(matrix)) > 0
    spectrum = torch.linalg.eigvalsh(matrix[present][:, present])
    curved = spectrum > view.flatness * spectrum.amax().clamp(min=torch.finfo(torch.float64).tiny)
    mean_curvature = samples.per_output(matrix.diagonal().sum().abs(), len(matrix))
    strength = damping_strength(_COSINE_RHO, mean_curvature, matrix.abs().amax())
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    direction = torch.linalg.solve(matrix + strength * identity, gradient.mT).mT
    own = torch.linalg.solve(blocks + strength * identity, gradient.unsqueeze(-1)).squeeze(-1)
    bounded = Bounded()
    strengths = torch.tensor(RHOS, dtype=matrix.dtype, device=matrix.device) * mean_curvature
    apart = samples.quantile((blocks - matrix).flatten(1).norm(dim=1, keepdim=True), 1.0)
    flat = not bool(curved.any())
    own_condition, own_flat = _own_spectra(view, blocks)
    return CurvatureFigures(
        spectrum=tuple(spectrum.tolist()),
        flat_directions=int((~curved).sum()),
        condition=math.nan if flat else float(spectrum[-1] / spectrum[curved][0]),
        own_condition=own_condition,
        own_flat_directions=own_flat,
        cosine=_cosine(samples.kept(direction), gradient, samples),
        own_cosine=_cosine(samples.kept(own), gradient, samples),
        amplification=tuple(amplification(matrix, blocks, strengths, samples, bounded.quantile).tolist()),
        rho=float(bounded_rho(matrix, blocks, mean_curvature, samples, limit=bounded.limit, quantile=bounded.quantile)),
        alike=samples.keep is None and float(apart) <= 1e-6 * float(matrix.norm()),
        negative=point.negative,
        noise=_noise(view, point, mean_curvature),
    )


def ahead(view: View, start: Point) -> tuple[Point, float]:
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
        walking = (point.value > goal) & (view.samples.weight > 0)
        if not bool(walking.any()):
            break
        unit = point.blocks.diagonal(dim1=1, dim2=2).mean(1)
        damping = torch.where(unit > 0, rho * unit, 1.0)[:, None, None] * identity
        step = torch.linalg.solve(point.blocks + damping, point.gradient.unsqueeze(-1)).squeeze(-1)
        moved = point.flat.clone()
        moved[:, view.moving] -= view.samples.kept(capped(step, longest)).to(moved.dtype)
        try:
            trial = Point.at(view, moved)
        except Exception:  # a loss may refuse outputs outside its domain as it likes; shorter steps stay inside
            rho = rho * 4
            continue
        usable = torch.isfinite(trial.blocks).flatten(1).all(1) & torch.isfinite(trial.gradient).all(1)
        better = walking & usable & (trial.value < point.value)
        rho = torch.where(better, rho / 3, rho * 4)
        point = _merged(better, trial, point)
    counted = view.samples.weight > 0
    before = start.value[counted].abs().sum()
    left = float((point.value[counted].sum() - start.value[counted].sum() + before) / before.clamp(min=1e-300))
    return point, left


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


def _noise(view: View, point: Point, mean_curvature: Tensor) -> float:
    """Return the ρ of generalised cross-validation.

    It is NaN without a split, with fewer features than outputs, which fit any noise, and with outputs held fixed.
    """
    size = point.flat.shape[1]
    if point.features is None or point.features < size or view.outputs != size:
        return math.nan
    usable = torch.ones(len(point.value), dtype=torch.bool, device=point.flat.device)
    derivatives = Derivatives(point.value, point.gradient, usable, features=point.features)
    return float(validated_rho(point.blocks, mean_curvature, view.samples, derivatives))


def _own_spectra(view: View, blocks: Tensor) -> tuple[float, int]:
    """Return the medians over the samples of the condition of H_i off its null space, and of the size of that."""
    values = torch.linalg.eigvalsh(blocks)
    largest = values[:, -1:]
    curved = values > view.flatness * largest
    smallest = torch.where(curved, values, torch.inf).amin(1, keepdim=True)
    condition = torch.where(largest > 0, largest / smallest, 1.0)
    keep = view.samples.keep
    counted = curved.new_full((len(blocks),), view.outputs, dtype=torch.int64) if keep is None else keep.sum(1)
    flat = (counted - curved.sum(1)).clamp(min=0).double().unsqueeze(-1)
    medians = view.samples.quantile(torch.cat([condition, flat], 1), 0.5)
    return float(medians[0]), int(medians[1])


def _cosine(direction: Tensor, gradient: Tensor, samples: Samples) -> float:
    """Return the weighted mean over the samples that have a gradient."""
    moving = (gradient.norm(dim=1) > 0) & (direction.norm(dim=1) > 0) & (samples.weight > 0)
    if not bool(moving.any()):
        return math.nan
    unit, other = (v[moving] / v[moving].abs().amax(1, keepdim=True) for v in (direction, gradient))
    cosine = torch.nn.functional.cosine_similarity(unit, other, dim=1)
    weight = samples.weight[moving]
    return float((weight * cosine).sum() / weight.sum())
