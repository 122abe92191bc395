"""Carries out a diagnosis: precision first, then curvature at the prediction and further on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import NonFiniteError
from nlcore.newton.adapt import LossInfo, per_sample
from nlcore.newton.batch import Batch
from nlcore.newton.derivatives import Kind
from nlcore.newton.measure import (
    CurvatureFigures,
    Point,
    Problem,
    ahead,
    curvature_figures,
    in_dtype,
    mismatch,
)
from nlcore.newton.precision import Precision, precision_figures, widest_spread
from nlcore.newton.verdict import WRONG_ALLOWED

__all__ = ["Examination", "examine"]

_WHOLE, _PART = 256, 128
"""Outputs up to which all are looked at, and how many of more."""

_BUDGET, _SAMPLES, _COMPARED = 2**20, 256, 1024
_MISMATCH = 0.1


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was measured of a loss.

    Attributes:
        name: Class of the curvature that the figures are of.
        here: The figures at the prediction.
        further: Those further on; `None` without a second derivative.
        loss_left: The share of the loss that is left there.
        precision: Float32 against float64; `None` where not compared.
        spread: How many times wider the outputs may become before float32 goes wrong.
        broken: Share of the samples that are not finite in float64.
        gradient_norms: Of the samples.
        gradient_ratio: Largest to median of them.
        samples: How many were looked at.
        outputs: How many were looked at.
        all_outputs: How many there are.
        notes: In words.
    """

    name: str
    here: CurvatureFigures
    further: CurvatureFigures | None
    loss_left: float
    precision: Precision | None
    spread: float
    broken: float
    gradient_norms: tuple[float, ...]
    gradient_ratio: float
    samples: int
    outputs: int
    all_outputs: int
    notes: tuple[str, ...]


def examine(
    info: LossInfo, prediction: Tensor, target: Any, *, weight: Tensor, mask: Tensor | None, state: Tensor | None
) -> Examination:
    """Measure a loss.

    Args:
        info: The loss.
        prediction: [N, *event], finite.
        target: Handed to the loss.
        weight: [N].
        mask: [N, *event] bool or `None`.
        state: Of the random numbers, for a loss that uses any.

    Raises:
        NonFiniteError: No sample has a finite loss and gradient.
    """
    notes: list[str] = []
    whole = _in_float64(_problem(info, prediction, target, weight, mask=mask, state=state), target, notes)
    precision, spread = _precision(whole, notes)
    problem, broken = _usable(whole)
    chosen = _thinned(problem, notes)
    norms = chosen.gradient(chosen.derivatives(chosen.flat, "gradient")).norm(dim=1)
    middle = float(chosen.batch.quantile(norms.unsqueeze(1), 0.5))
    top = float(norms[chosen.batch.weight > 0].amax())
    name, here, further, left = _curvature(chosen, notes)
    counted = int((chosen.batch.weight > 0).sum())
    if counted < 8:
        notes.append(f"Only {counted} samples: the figures that compare samples say little. Give fifty or more.")
    return Examination(
        name=name,
        here=here,
        further=further,
        loss_left=left,
        precision=precision,
        spread=spread,
        broken=broken,
        gradient_norms=tuple(norms[chosen.batch.weight > 0].tolist()),
        gradient_ratio=top / middle if middle > 0 else (math.inf if top > 0 else 1.0),
        samples=counted,
        outputs=chosen.moving.stop - chosen.moving.start,
        all_outputs=chosen.flat.shape[1],
        notes=tuple(notes),
    )


def _problem(
    info: LossInfo, prediction: Tensor, target: Any, weight: Tensor, *, mask: Tensor | None, state: Tensor | None
) -> Problem:
    """Return the loss as a problem in float64, with the best curvature it can supply."""
    kind: Kind = "gradient"
    if info.splits:
        kind = "gauss_newton"
    elif info.supplies_hessian or info.traits.order >= 2:
        kind = "hessian"
    keep = None if mask is None else ~per_sample(mask)
    return Problem(
        info=info,
        shape=prediction.shape,
        flat=per_sample(prediction).double(),
        target=in_dtype(target, torch.float64),
        kind=kind,
        batch=Batch(weight if keep is None else torch.where(keep.any(1), weight, 0.0), keep),
        moving=slice(0, math.prod(prediction.shape[1:])),
        mask=mask,
        state=state,
        dtype=prediction.dtype,
    )


def _in_float64(problem: Problem, target: Any, notes: list[str]) -> Problem:
    """Return the problem, in the precision of the prediction where the loss refuses float64."""
    try:
        problem.derivatives(problem.flat, "gradient")
    except Exception as error:  # whatever a loss that is written for one precision raises in another
        own = torch.float32 if problem.dtype.itemsize < 4 else problem.dtype
        problem = replace(problem, flat=problem.flat.to(own), target=target)
        problem.derivatives(problem.flat, "gradient")
        notes.append(f"The loss runs in {own} alone, so that precision was not compared ({type(error).__name__}).")
    return problem


def _precision(problem: Problem, notes: list[str]) -> tuple[Precision | None, float]:
    """Compare float32 with float64 where both can be had for the same draw."""
    if problem.flat.dtype != torch.float64:
        return None, math.nan
    if problem.info.traits.stochastic:
        notes.append("The loss is random and draws other numbers in float32, so that precision was not compared.")
        return None, math.nan
    problem = _some(problem, _COMPARED)
    counts = problem.batch.weight > 0

    def gradients(flat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        cast = replace(problem, flat=flat.to(dtype), target=in_dtype(problem.target, dtype))
        found = cast.derivatives(cast.flat, "gradient")
        return found.value[counts], cast.batch.kept(found.gradient)[counts]

    try:
        found = precision_figures(gradients, problem.flat)
    except Exception as error:  # as above
        notes.append(f"The loss fails in float32, so that precision was not compared ({type(error).__name__}).")
        return None, math.nan
    if found is None or found.wrong > WRONG_ALLOWED:
        return found, 1.0
    spread = widest_spread(gradients, problem.flat, WRONG_ALLOWED)
    if spread is not None:
        notes.append(
            f"At outputs {spread:g} times as wide, float32 gradients are wrong: mend the loss if training goes there."
        )
    return found, spread or math.inf


def _usable(problem: Problem) -> tuple[Problem, float]:
    """Leave out the samples that are not finite, and return their share."""
    found = problem.derivatives(problem.flat, "gradient")
    finite = torch.isfinite(found.value) & torch.isfinite(problem.batch.kept(found.gradient)).all(1)
    counted = problem.batch.weight > 0
    if not bool((finite & counted).any()):
        raise NonFiniteError(f"{problem.info.name}: no sample has a finite loss and gradient. The loss is at fault.")
    broken = float((~finite)[counted].double().mean())
    if broken == 0:
        return problem, 0.0
    good = (finite & counted).nonzero().flatten()
    return _taken(problem, good), broken


def _thinned(problem: Problem, notes: list[str]) -> Problem:
    """Keep the matrices small: adjacent outputs, evenly spread samples."""
    size = problem.flat.shape[1]
    if size > _WHOLE:
        start = (size - _PART) // 2
        keep = problem.batch.keep
        moving = slice(start, start + _PART)
        batch = replace(problem.batch, keep=None if keep is None else keep[:, moving])
        problem = replace(problem, moving=moving, batch=batch)
        notes.append(
            f"Of {size} outputs the {_PART} from {start} on were looked at and the others held fixed: the condition "
            f"is a lower bound."
        )
    moved = problem.moving.stop - problem.moving.start
    return _some(problem, min(_SAMPLES, max(16, min(_BUDGET // moved**2, 2**17 // size))))


def _some(problem: Problem, most: int) -> Problem:
    """Return at most so many of the samples, evenly spread."""
    count = len(problem.flat)
    if count <= most:
        return problem
    return _taken(problem, torch.linspace(0, count - 1, most, device=problem.flat.device).long())


def _taken(problem: Problem, places: Tensor) -> Problem:
    """Return the samples at some places."""
    if problem.info.traits.stochastic:  # its random numbers depend on the size of the batch; others count for nothing
        weight = torch.zeros_like(problem.batch.weight)
        weight[places] = problem.batch.weight[places]
        return replace(problem, batch=replace(problem.batch, weight=weight))
    keep = problem.batch.keep
    return replace(
        problem,
        shape=torch.Size((len(places), *problem.shape[1:])),
        flat=problem.flat[places],
        target=pytree.tree_map(lambda leaf: leaf[places] if isinstance(leaf, Tensor) else leaf, problem.target),
        batch=Batch(problem.batch.weight[places], None if keep is None else keep[places]),
        mask=None if problem.mask is None else problem.mask[places],
    )


def _curvature(problem: Problem, notes: list[str]) -> tuple[str, CurvatureFigures, CurvatureFigures | None, float]:
    """Return class and figures of the curvature, here and further on, and the loss left there."""
    start, why = _second(problem)
    if start is None:
        if why:
            notes.append(why)
        return "EmpiricalFisher", curvature_figures(problem, _fisher(problem)), None, math.nan
    there, left = ahead(problem, start)
    if left > 0.9:
        notes.append(f"Steps with the samples' own curvature left {left:.0%} of the loss, so 'further on' is near.")
    name = "GaussNewton" if problem.kind == "gauss_newton" else "Hessian"
    return name, curvature_figures(problem, start), curvature_figures(problem, there), left


def _second(problem: Problem) -> tuple[Point | None, str]:
    """Return the curvature at the prediction, or why there is none that could be trusted."""
    info = problem.info
    if problem.kind == "gradient":
        return None, f"The loss says that it has derivatives of order {info.traits.order} only."
    try:
        start = Point.at(problem, problem.flat)
    except Exception as error:
        if info.declared:
            raise
        return None, f"It cannot be differentiated twice ({type(error).__name__}: {str(error).splitlines()[0]})."
    if not bool(torch.isfinite(start.blocks).all()):
        return None, "Its second derivative is not finite where its gradient is."
    if not bool((start.blocks != 0).any()) and bool((start.gradient != 0).any()):
        return None, "Its second derivative is zero throughout, as of a piecewise linear function."
    if problem.kind == "hessian" and not info.supplies_hessian:
        off = mismatch(problem, start)
        if off > _MISMATCH:
            return None, f"Its second derivative misses differences of its own gradient by {off:.0%}."
    return start, ""


def _fisher(problem: Problem) -> Point:
    """Return the products of the samples' gradients in place of their curvature."""
    found = problem.derivatives(problem.flat, "gradient")
    gradient = problem.gradient(found)
    unit = gradient.abs().amax().clamp(min=1e-150)
    scaled = gradient / unit
    return Point(problem.flat, found.value.double(), gradient, scaled.unsqueeze(-1) * scaled.unsqueeze(-2), None)
