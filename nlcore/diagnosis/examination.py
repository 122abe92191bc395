"""The examination behind a diagnosis: precision, curvature at the prediction and further on, the network."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nlcore.diagnosis.figures import CurvatureFigures, Point, View, ahead, curvature_figures
from nlcore.diagnosis.network import NetworkFigures, network_figures
from nlcore.diagnosis.precision import WRONG_ALLOWED, Precision, precision_figures, widest_spread
from nlcore.differences import missing_curvature
from nlcore.errors import ContractError, NlcoreError, NonFiniteError, NumericalWarning, first_line
from nlcore.newton.auto import Auto
from nlcore.newton.derivatives import Kind, differentiate
from nlcore.newton.problem import Problem
from nlcore.newton.step import resolve_curvature
from nlcore.soundness import check_soundness

__all__ = ["Examination", "examine"]

_WHOLE, _PART = 256, 128
"""Number of outputs up to which all are examined, and the number that is examined of more."""

_BUDGET, _SAMPLES, _COMPARED = 2**20, 256, 1024
_MISMATCH = 0.5


@dataclass(frozen=True, slots=True)
class Examination:
    """The measurements of a loss.

    Attributes:
        name: Name of the class of the measured curvature.
        here: The figures at the prediction.
        further: The figures further on; `None` without a second derivative.
        loss_left: The share of the loss that is left there.
        precision: Float32 against float64; `None` where not compared.
        spread: How many times wider the outputs may become before float32 goes wrong.
        broken: Share of the samples that are not finite in float64.
        gradient_norms: Norms of the samples' gradients.
        gradient_ratio: Ratio of the largest to the median norm.
        samples: Number of samples that were examined.
        outputs: Number of outputs that were examined.
        whole: Whether these are all outputs of a sample.
        automatic: Whether `Auto(aim="outputs")` takes the measured curvature, which it does not for a plain callable.
        network: The figures of the network.
        unsound: The text of the first-use checks of the loss; empty if they found nothing.
        notes: Remarks on how the figures were obtained.
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
    whole: bool
    automatic: bool
    network: NetworkFigures
    unsound: str
    notes: tuple[str, ...]


def examine(problem: Problem, prediction: Tensor) -> Examination:
    """Measure a loss, and the network behind a prediction.

    Args:
        problem: The loss at a finite prediction.
        prediction: [N, *event], as it was given.

    Raises:
        NonFiniteError: No sample has a finite loss and gradient.
    """
    notes: list[str] = []
    whole = _in_float64(_view(problem, prediction.dtype), notes)
    precision, spread = _precision(whole, notes)
    usable, broken = _usable(whole)
    chosen = _thinned(usable, notes)
    norms = chosen.gradient(chosen.derivatives(chosen.flat, "gradient")).norm(dim=1)
    middle = float(chosen.samples.quantile(norms.unsqueeze(1), 0.5))
    top = float(norms[chosen.samples.weight > 0].amax())
    name, here, further, left = _curvature(chosen, notes)
    counted = int((chosen.samples.weight > 0).sum())
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
        gradient_norms=tuple(norms[chosen.samples.weight > 0].tolist()),
        gradient_ratio=top / middle if middle > 0 else (math.inf if top > 0 else 1.0),
        samples=counted,
        outputs=chosen.outputs,
        whole=chosen.outputs == chosen.flat.shape[1],
        automatic=type(resolve_curvature(Auto("outputs"), problem.loss, problem)).__name__ == name,
        network=network_figures(problem, prediction, notes),
        unsound=_unsound(problem),
        notes=tuple(notes),
    )


def _unsound(problem: Problem) -> str:
    """Return the warnings of the first-use checks, except those on the Hessian, which is examined in more detail."""
    found = differentiate(problem, "gradient")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        counts = problem.samples.weight > 0
        check_soundness(problem.evaluation, problem.prediction, found.value, found.gradient, counts=counts, second="")
    return " ".join(str(one.message) for one in said if issubclass(one.category, NumericalWarning))


def _view(problem: Problem, dtype: torch.dtype) -> View:
    """Return the loss with the best curvature it can supply."""
    kind: Kind = "gradient"
    if "split" in problem.loss.supplies:
        kind = "gauss_newton"
    elif "hessian" in problem.loss.supplies or problem.loss.traits.order >= 2:
        kind = "hessian"
    return View(problem, kind, slice(0, problem.prediction.shape[1]), dtype)


def _in_float64(view: View, notes: list[str]) -> View:
    """Return the view in float64, or in the precision of the prediction where the loss refuses that."""
    wide = replace(view, problem=view.problem.in_dtype(torch.float64))
    try:
        wide.derivatives(wide.flat, "gradient")
    except Exception as error:  # a loss written for one precision may raise anything in another
        view.derivatives(view.flat, "gradient")
        notes.append(
            f"The loss runs in {view.flat.dtype} alone, so that precision was not compared ({first_line(error)}). A "
            f"tensor of its own follows the prediction by .to(prediction)."
        )
        return view
    return wide


def _precision(view: View, notes: list[str]) -> tuple[Precision | None, float]:
    """Compare float32 with float64 where both can be had for the same draw."""
    if view.flat.dtype != torch.float64:
        return None, math.nan
    if view.problem.loss.traits.stochastic:
        notes.append("The loss is random and draws other numbers in float32, so that precision was not compared.")
        return None, math.nan
    view = _some(view, _COMPARED)
    counts = view.samples.weight > 0

    def gradients(flat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        cast = replace(view, problem=view.problem.at(flat).in_dtype(dtype))
        found = cast.derivatives(cast.flat, "gradient")
        return found.value[counts], cast.samples.kept(found.gradient)[counts]

    try:
        found = precision_figures(gradients, view.flat)
    except Exception as error:  # as above
        notes.append(f"The loss fails in float32, so that precision was not compared ({type(error).__name__}).")
        return None, math.nan
    if found is None or found.wrong > WRONG_ALLOWED:
        return found, 1.0
    spread = widest_spread(gradients, view.flat)
    if spread is not None:
        notes.append(
            f"At outputs {spread:g} times as wide, float32 gradients are wrong: fix the loss if training goes there."
        )
    return found, spread or math.inf


def _usable(view: View) -> tuple[View, float]:
    """Leave out the samples that are not finite, and return their share."""
    found = view.derivatives(view.flat, "gradient")
    finite = torch.isfinite(found.value) & torch.isfinite(view.samples.kept(found.gradient)).all(1)
    counted = view.samples.weight > 0
    if not bool((finite & counted).any()):
        raise NonFiniteError(
            f"{view.problem.loss.name}: no sample has a finite loss and gradient. The loss is at fault."
        )
    broken = float((~finite)[counted].double().mean())
    if broken == 0:
        return view, 0.0
    return _taken(view, (finite & counted).nonzero().flatten()), broken


def _thinned(view: View, notes: list[str]) -> View:
    """Keep the matrices small: adjacent outputs, evenly spread samples."""
    size = view.flat.shape[1]
    if size > _WHOLE:
        start = (size - _PART) // 2
        view = replace(view, moving=slice(start, start + _PART))
        notes.append(
            f"Of {size} outputs the {_PART} from {start} on were looked at and the others held fixed: the condition "
            f"is a lower bound."
        )
    return _some(view, min(_SAMPLES, max(16, min(_BUDGET // view.outputs**2, 2**17 // size))))


def _some(view: View, most: int) -> View:
    """Return at most so many of the samples, evenly spread."""
    count = len(view.flat)
    if count <= most:
        return view
    return _taken(view, torch.linspace(0, count - 1, most, device=view.flat.device).long())


def _taken(view: View, places: Tensor) -> View:
    """Return some of the samples."""
    problem = view.problem
    if problem.loss.traits.stochastic:  # random numbers depend on the batch size; the others get weight 0
        counts = torch.zeros_like(problem.samples.weight, dtype=torch.bool)
        counts[places] = True
        return replace(view, problem=replace(problem, samples=problem.samples.where(counts)))
    part = replace(view, problem=problem.take(places))
    try:
        with torch.no_grad():
            part.problem.evaluation.value(part.flat)
    except NlcoreError:
        raise
    except Exception as error:
        raise ContractError(
            f"{problem.loss.name}: the loss accepts the whole batch and not {len(places)} of its {len(view.flat)} "
            f"samples ({first_line(error)}). Tensors that it needs beside prediction and target have to come as the "
            f"context: nlcore.diagnose(loss, prediction, target, context=…), which nlcore.compose takes as a second "
            f"parameter of inner."
        ) from error
    return part


def _curvature(view: View, notes: list[str]) -> tuple[str, CurvatureFigures, CurvatureFigures | None, float]:
    """Return class and figures of the curvature, here and further on, and the loss left there."""
    start, why = _second(view)
    if start is None:
        if why:
            notes.append(why)
        return "EmpiricalFisher", curvature_figures(view, _fisher(view)), None, math.nan
    there, left = ahead(view, start)
    if left > 0.9:
        notes.append(f"Steps with the samples' own curvature left {left:.0%} of the loss, so 'further on' is near.")
    name = "GaussNewton" if view.kind == "gauss_newton" else "Hessian"
    return name, curvature_figures(view, start), curvature_figures(view, there), left


def _second(view: View) -> tuple[Point | None, str]:
    """Return the curvature at the prediction, or why there is none that could be trusted."""
    loss = view.problem.loss
    if view.kind == "gradient":
        return None, f"The loss says that it has derivatives of order {loss.traits.order} only."
    try:
        start = Point.at(view, view.flat)
    except Exception as error:
        if loss.declared:
            raise
        cause = error.__cause__ or error
        return None, f"It cannot be differentiated twice ({type(cause).__name__}: {first_line(cause)})."
    if not bool(torch.isfinite(start.blocks).all()):
        return None, "Its second derivative is not finite where its gradient is."
    if not bool((start.blocks != 0).any()) and bool((start.gradient != 0).any()):
        return None, "Its second derivative is zero throughout, as of a piecewise linear function."
    if view.kind == "hessian" and "hessian" not in loss.supplies:
        off = _mismatch(view)
        if off > _MISMATCH:
            return None, f"Its second derivative misses differences of its own gradient in {off:.0%} of the samples."
    return start, ""


def _mismatch(view: View) -> float:
    """Return the error of the Hessian relative to a difference of gradients, median over samples."""
    along = torch.zeros_like(view.flat)
    along[:, view.moving] = view.samples.kept(torch.ones_like(along[:, view.moving]))
    return missing_curvature(view.problem.evaluation, view.flat, along)


def _fisher(view: View) -> Point:
    """Return the products of the samples' gradients in place of their curvature."""
    found = view.derivatives(view.flat, "gradient")
    gradient = view.gradient(found)
    unit = gradient.abs().amax().clamp(min=1e-150)
    scaled = gradient / unit
    return Point(view.flat, found.value.double(), gradient, scaled.unsqueeze(-1) * scaled.unsqueeze(-2), None)
