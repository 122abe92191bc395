"""Refuse what no step can be taken from; where the batch is spread over ranks, on all of them alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from nlcore.errors import (
    ConfigError,
    ContractError,
    NonFiniteError,
    NumericalError,
    NumericalWarning,
    ShapeError,
    SingularCurvatureError,
    nearest,
    shorten,
)
from nlcore.newton.adapt import LossInfo, per_sample
from nlcore.newton.auto import Auto
from nlcore.newton.batch import Batch, Group
from nlcore.newton.curvature import Curvature
from nlcore.newton.derivatives import Kind
from nlcore.newton.result import Result
from nlcore.newton.taken import CurvatureStep

__all__ = [
    "check_choice",
    "check_curvature",
    "flat_mask",
    "or_tell",
    "require_finite",
    "require_inputs",
    "require_solved",
    "sample_weight",
]

_Made = TypeVar("_Made")


def check_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ConfigError: With the choices and the nearest one.
    """
    if given not in choices:
        raise ConfigError(
            f"{name}={given!r}: choose one of {', '.join(map(repr, choices))}{nearest(str(given), choices)}."
        )


def check_curvature(info: LossInfo, curvature: object, size: int | None) -> Curvature:
    """Return the curvature to use for a loss.

    Raises:
        ConfigError: It is none.
        UnsupportedCurvatureError: The loss cannot supply it.
    """
    if curvature is None:
        curvature = Auto()
    if isinstance(curvature, Auto):
        curvature = curvature.choose(info, size)[0]
    if not isinstance(curvature, Curvature):
        raise ConfigError(
            f"{curvature!r} is no curvature. Give nlcore.Hessian(), nlcore.GaussNewton(), "
            f"nlcore.EmpiricalFisher() or nlcore.Auto(), an instance and not the class."
        )
    curvature.check(info)
    return curvature


def sample_weight(info: LossInfo, prediction: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weights [N] in float64, ones by default.

    Raises:
        ShapeError: They do not have one number per sample.
        DeviceError: They are elsewhere.
    """
    if weight is None:
        return torch.ones(prediction.shape[0], dtype=torch.float64, device=prediction.device)
    if not isinstance(weight, Tensor) or weight.shape != prediction.shape[:1]:
        got = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ShapeError(
            f"{info.name}: weight needs one number per sample, shape {list(prediction.shape[:1])}, got {got}."
        )
    return weight.detach().to(prediction.device, torch.float64)


def flat_mask(info: LossInfo, prediction: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask as [N, m], True at padded outputs.

    Raises:
        ContractError: It is not bool or has another shape than the prediction.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != prediction.shape:
        got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ContractError(
            f"{info.name}: mask must be bool and of the prediction's shape {list(prediction.shape)}, True at padded "
            f"outputs, and is {got}."
        )
    return per_sample(mask)


def or_tell(group: Group, device: torch.device, make: Callable[[], _Made]) -> _Made:
    """Return `make()`; when it fails, let the other ranks know, which wait for this one at their next check."""
    if group is None:
        return make()
    try:
        return make()
    except Exception:
        Batch(torch.ones(0), group=group).total(torch.ones((), dtype=torch.int64, device=device))
        raise


def require_inputs(info: LossInfo, batch: Batch, finite: Tensor) -> None:
    """Refuse predictions that are not finite and weights that mean nothing.

    Args:
        info: The loss.
        batch: With the weights as they were given.
        finite: [N] bool, which predictions are finite.

    Raises:
        ContractError: A weight is negative or not finite.
        NonFiniteError: A prediction is NaN or infinite.
        NumericalError: Either is so on another rank.
    """
    sound = (batch.weight >= 0) & (batch.weight < math.inf)
    if not _wrong(batch, finite & sound):
        return
    weights = _places(sound)
    if weights:
        raise ContractError(
            f"{info.name}: weight must be finite and not negative, and is {shorten(batch.weight[~sound].tolist())} for "
            f"the samples {shorten(weights)}. A mean curvature has no meaning with others."
        )
    _raise_nonfinite(info, finite, "the prediction is NaN or infinite", "Look at the network.")


def require_finite(info: LossInfo, batch: Batch, usable: Tensor) -> None:
    """Refuse losses or gradients that are not finite.

    Raises:
        NonFiniteError: A loss or its gradient is NaN or infinite.
        NumericalError: It is so on another rank.
    """
    if _wrong(batch, usable):
        what = "the loss or its gradient is NaN or infinite, at predictions that are finite,"
        _raise_nonfinite(info, usable, what, "The loss is at fault there.")


def require_solved(info: LossInfo, batch: Batch, kind: Kind, codes: Tensor, taken: CurvatureStep) -> None:
    """Refuse directions that failed.

    Raises:
        NonFiniteError: A curvature or direction is NaN or infinite.
        SingularCurvatureError: The damped curvature has no inverse.
        NumericalError: It is so on another rank.

    Warns:
        NumericalWarning: The second derivative of a plain callable is zero for every sample.
    """
    flat = taken.largest is not None and not info.declared and kind == "hessian" and not bool(taken.largest)
    if flat and bool((taken.solution.direction != 0).any()):
        warnings.warn(
            f"{info.name}: the second derivative is zero for every sample, so it says nothing and the direction is a "
            f"multiple of the gradient. Use nlcore.EmpiricalFisher(), which needs the first derivative alone.",
            NumericalWarning,
            stacklevel=5,
        )
    worst = int(batch.largest(codes if batch.group is None else codes.to(torch.int64)))
    if worst <= Result.indefinite.value:
        return
    samples = _places(codes != worst)
    if not samples:
        raise _elsewhere(info)
    where = f"for {len(samples)} of {codes.shape[0]} samples: {shorten(samples)}"
    strength = float(taken.strength.max())
    if worst == Result.nonfinite.value:
        raise NonFiniteError(
            f"{info.name}: the curvature or the direction is NaN or infinite {where} (λ = {strength:.3g}). Use "
            f"nlcore.EmpiricalFisher(), which needs no second derivative, or on_failure='fallback' to take the plain "
            f"gradient there.",
            samples,
        )
    condition = float(taken.solution.condition.max()) if taken.solution.condition.numel() else math.nan
    raise SingularCurvatureError(
        f"{info.name}: the curvature plus λ = {strength:.3g} is singular (condition about {condition:.1e}) {where}. "
        f"Increase the damping, for example damping=nlcore.Relative(0.1); a loss that does not change when all "
        f"outputs shift always needs some.",
        samples,
    )


def _wrong(batch: Batch, fine: Tensor) -> bool:
    """Whether a sample of any rank is not fine; waits for the device."""
    if batch.group is None:
        return not bool(fine.all())
    return bool(batch.total((~fine).sum()))


def _places(fine: Tensor) -> list[int]:
    return [int(i) for i in (~fine).nonzero().flatten()]


def _raise_nonfinite(info: LossInfo, fine: Tensor, what: str, remedy: str) -> None:
    samples = _places(fine)
    if not samples:
        raise _elsewhere(info)
    raise NonFiniteError(
        f"{info.name}: {what} in {len(samples)} of {fine.shape[0]} samples: {shorten(samples)}. {remedy} With "
        f"on_failure='fallback' such samples take no step and are counted.",
        samples,
    )


def _elsewhere(info: LossInfo) -> NumericalError:
    return NumericalError(f"{info.name}: another rank could not take its step; the error there says why.")
