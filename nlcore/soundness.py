"""First-use checks of a loss: derivatives of its own values, repeatable values, independent samples, a sensible mask.

What they find trains in silence otherwise. They take derivatives in the plainest way there is, apart from the engine's.
"""

from __future__ import annotations

import math
import warnings
from typing import Protocol

import torch
from torch import Tensor

from nlcore.errors import InPlaceError, NumericalWarning, UnsupportedCurvatureError
from nlcore.evaluation import Evaluation, per_sample, signs, transformed

__all__ = ["check_first_use", "check_mask", "check_soundness", "curvature_gap"]

_TOLERANCE = {torch.float64: 1e-2, torch.float32: 1e-1}
"""Largest relative error of a Hessian product against a central difference of the gradient."""

_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative change of a sample's loss that rounding explains, between two evaluations of one batch."""

_MOVING = 0.1
"""Share of samples that have to move for a zero gradient to be suspicious."""


class _Seen(Protocol):
    """What was checked before."""

    @property
    def sound(self) -> bool: ...

    @property
    def masked(self) -> bool: ...


def check_first_use(
    evaluation: Evaluation,
    flat: Tensor,
    value: Tensor,
    gradient: Tensor,
    weight: Tensor,
    *,
    hessian: bool,
    memory: _Seen,
) -> None:
    """Run the checks that were not run before: of the loss once, and of the first mask."""
    if not memory.sound:
        check_soundness(evaluation, flat, value, gradient, counts=weight > 0, hessian=hessian)
    if not memory.masked:
        check_mask(evaluation)


def check_soundness(
    evaluation: Evaluation, flat: Tensor, value: Tensor, gradient: Tensor, *, counts: Tensor, hessian: bool
) -> None:
    """Compare a loss with itself at a handful of other inputs.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        value: [N], the losses there.
        gradient: [N, m], their gradients.
        counts: [N] bool, which samples count.
        hessian: Whether its second derivative is going to be used.

    Raises:
        InPlaceError: It changes its inputs in place.
        UnsupportedCurvatureError: Its second derivative is not that of its gradient, so that a Hessian would be wrong.

    Warns:
        NumericalWarning: Its gradient is zero although it moves; it mixes samples; it differs between two calls.
    """
    if transformed(flat) or not flat.shape[0]:
        return
    generator = evaluation.generator
    state = None if generator is None else generator.get_state()
    with torch.random.fork_rng([flat.device] if flat.device.type == "cuda" else []):
        if _check_repeated(evaluation, flat, value):
            _check_independent(evaluation, flat, value)
            if "gradient" not in evaluation.loss.supplies and not bool(gradient.any()):
                _check_moved(evaluation, flat, counts)
            if hessian:
                _check_hessian(evaluation, flat, counts)
    if generator is not None and state is not None:
        generator.set_state(state)


def check_mask(evaluation: Evaluation) -> None:
    """Look whether a mask is the inverse of what it should be.

    Warns:
        NumericalWarning: It marks nearly everything, or the first outputs and not the last ones.
    """
    if evaluation.mask is None or transformed(evaluation.mask) or not evaluation.mask.numel():
        return
    name, padded = evaluation.loss.name, per_sample(evaluation.mask).double().mean(0)
    half, share = len(padded) // 2, float(padded.mean())
    first, last = (float(part.mean()) if len(part) else 0.0 for part in (padded[:half], padded[half:]))
    inverted = first > 0.5 > last and float(padded[0]) > 0.9 and float(padded[-1]) < 0.5
    if not inverted and share <= 0.95:
        return
    what = "most first outputs and few last ones" if inverted else f"{share:.0%} of the outputs"
    warnings.warn(
        f"{name}: the mask marks {what} as padding. True means padded here, the opposite of an attention mask; if "
        f"yours is True at real outputs, give mask=~mask.",
        NumericalWarning,
        stacklevel=2,
    )


def curvature_gap(evaluation: Evaluation, flat: Tensor, along: Tensor, factor: float = 1.0) -> Tensor:
    """Return by how much Hessian products miss a central difference of the gradient, relative, [N]; zero in rounding.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        along: [N, m], the direction.
        factor: Shortens the step of the difference.
    """
    eps, scale = torch.finfo(flat.dtype).eps, _scale(evaluation, flat)
    step = factor * eps ** (1 / 3) * scale
    up, down = (_gradient(evaluation, flat + s * step * along) for s in (1, -1))
    difference = ((up - down) / (2 * step)).double()
    exact = _product(evaluation, flat, along).double()
    size = torch.maximum(difference.norm(dim=1), exact.norm(dim=1))
    known = size[torch.isfinite(size)]
    typical = float(known.median()) if known.numel() else 0.0
    rounding = 1e3 * eps / float(step) * max(float((up.abs() + down.abs()).nan_to_num(posinf=0.0).mean()), 1.0)
    gap: Tensor = (difference - exact).norm(dim=1) / size.clamp(min=max(1e-3 * typical, 1e-300))
    return torch.where(size < rounding, 0.0, gap)


def _gradient(evaluation: Evaluation, flat: Tensor, *, graph: bool = False) -> Tensor:
    """Return the gradients at outputs [N, m], [N, m]; with a graph to `flat` if asked for."""
    with torch.enable_grad():
        y = flat if graph else flat.detach().requires_grad_()
        if "gradient" in evaluation.loss.supplies:
            supplied = evaluation.supplied("gradient", y, tuple(y.shape))
            return supplied if graph else supplied.detach()
        value = evaluation.value(y)
        if not value.requires_grad:
            return torch.zeros_like(y)
        (gradient,) = torch.autograd.grad(value.sum(), y, create_graph=graph, allow_unused=True)
        return torch.zeros_like(y) if gradient is None else gradient


def _product(evaluation: Evaluation, flat: Tensor, along: Tensor) -> Tensor:
    """Return every sample's Hessian times its direction, [N, m]."""
    y = flat.detach().requires_grad_()
    gradient = _gradient(evaluation, y, graph=True)
    if not gradient.requires_grad:
        return torch.zeros_like(flat)
    (product,) = torch.autograd.grad(gradient, y, along, allow_unused=True)
    return torch.zeros_like(flat) if product is None else product


def _check_repeated(evaluation: Evaluation, flat: Tensor, value: Tensor) -> bool:
    """Evaluate the loss again, and return whether it gives the same values."""
    name, before = evaluation.loss.name, _versions(evaluation, flat)
    with torch.no_grad():
        again = evaluation.value(flat)
    if _versions(evaluation, flat) != before:
        raise InPlaceError(f"{name} changes its prediction or target in place. Work on a copy, as in y = y + 1.")
    if not _differs(value, again):
        return True
    warnings.warn(
        f"{name}: two evaluations of the same batch differ ({_example(value, again)}), as with dropout in training "
        f"mode or a random number. Call .eval() on the modules in it, or declare Traits(stochastic=True) and draw from "
        f"`generator` alone.",
        NumericalWarning,
        stacklevel=2,
    )
    return False


def _check_independent(evaluation: Evaluation, flat: Tensor, value: Tensor) -> None:
    """Move every other sample and look whether the losses of the rest stay."""
    moved = torch.arange(len(flat), device=flat.device) % 2 == 0
    if len(flat) == 1:
        return
    other = torch.where(
        moved.unsqueeze(1), 1.25 * flat + 0.25 * _scale(evaluation, flat) * signs(flat, tuple(flat.shape)), flat
    )
    try:
        with torch.no_grad():
            beside = evaluation.value(other)
    except Exception:  # a loss may refuse outputs outside its domain as it likes
        return
    if not _differs(value[~moved], beside[~moved]):
        return
    warnings.warn(
        f"{evaluation.loss.name}: the loss of a sample changes with the predictions of others "
        f"({_example(value[~moved], beside[~moved])}), as with batch normalisation in training mode or a mean over the "
        f"batch. Samples have to be independent: the curvature is taken sample by sample. Call .eval() on the modules "
        f"in it, or normalise over a sample.",
        NumericalWarning,
        stacklevel=2,
    )


def _check_moved(evaluation: Evaluation, flat: Tensor, counts: Tensor) -> None:
    """Look whether a loss with zero gradients moves in proportion to a small step, as it does not at an optimum."""
    along = signs(flat, tuple(flat.shape))
    step = torch.finfo(flat.dtype).eps ** 0.25 * _scale(evaluation, flat)
    with torch.no_grad():
        up, down, here, half_up, half_down = (
            evaluation.value(flat + share * step * along).double() for share in (1.0, -1.0, 0.0, 0.5, -0.5)
        )
    odd, even, half = (up - down).abs(), (up - 2 * here + down).abs(), (half_up - half_down).abs()
    rounding = 100 * torch.finfo(flat.dtype).eps * here.abs().clamp(min=torch.finfo(flat.dtype).tiny)
    linear = (odd < 3 * half) & (half < odd)  # a cubic term would give an eighth at half the step
    moved = (linear & (odd > 2 * even) & (odd > rounding))[counts]
    if not moved.numel() or float(moved.double().mean()) < _MOVING:
        return
    warnings.warn(
        f"{evaluation.loss.name}: the gradient is exactly zero for every sample, although the loss changes with the "
        f"prediction. Its graph is cut: look for .detach(), .data, .item(), torch.no_grad() or a trip through NumPy, "
        f"and give a derivative by an autograd Function or a method `gradient`. As it is, nothing is learned.",
        NumericalWarning,
        stacklevel=2,
    )


def _check_hessian(evaluation: Evaluation, flat: Tensor, counts: Tensor) -> None:
    """Hold the second derivative against differences of the gradient, at the prediction and at a point near it."""
    name = evaluation.loss.name
    evaluation, flat = _widest(evaluation, flat)
    along = signs(flat, tuple(flat.shape))
    along = along if evaluation.mask is None else along.masked_fill(per_sample(evaluation.mask), 0.0)
    try:
        product = _product(evaluation, flat, along)
    except RuntimeError:  # the engine meets the same error and names the remedies
        return
    near = flat + 0.1 * _scale(evaluation, flat) * along
    gap = math.inf
    for point, factor in ((flat, 1.0), (near, 1.0), (flat, 0.1), (near, 0.1)):  # a kink spoils a difference
        gaps = curvature_gap(evaluation, point, along, factor)
        gaps = gaps[counts & torch.isfinite(gaps)]
        gap = min(gap, float(gaps.median())) if gaps.numel() else 0.0
        if gap <= _TOLERANCE[flat.dtype]:
            if not evaluation.loss.declared and not bool(product.any()):
                _warn_of_zero(name, _gradient(evaluation, flat))
            return
    other = "nlcore.GaussNewton() or " if "split" in evaluation.loss.supplies else ""
    raise UnsupportedCurvatureError(
        f"{name}: the second derivative misses differences of the gradient by {gap:.0%}. A part of it is missing, as "
        f"of a backward that torch cannot differentiate. Write that backward in differentiable operations, or use "
        f"{other}nlcore.EmpiricalFisher(): first derivatives suffice there."
    )


def _warn_of_zero(name: str, gradient: Tensor) -> None:
    if bool(gradient.any()):
        warnings.warn(
            f"{name}: the second derivative is zero for every sample, so it says nothing and the direction is a "
            f"multiple of the gradient. Use nlcore.EmpiricalFisher(), which needs the first derivative alone.",
            NumericalWarning,
            stacklevel=2,
        )


def _widest(evaluation: Evaluation, flat: Tensor) -> tuple[Evaluation, Tensor]:
    """Return loss and prediction in float64, or as they are where the loss is written for one precision."""
    try:
        wide = evaluation.in_dtype(torch.float64)
        _gradient(wide, flat.double())
    except Exception:  # whatever such a loss raises
        return evaluation, flat
    return wide, flat.double()


def _scale(evaluation: Evaluation, flat: Tensor) -> Tensor:
    """Return the mean size of the outputs that are finite and not padded, [], at least 1e-3."""
    size = flat.abs().nan_to_num(posinf=0.0)
    if evaluation.mask is None:
        return size.mean().clamp(min=1e-3)
    keep = ~per_sample(evaluation.mask)
    return (torch.where(keep, size, 0.0).sum() / keep.sum().clamp(min=1)).clamp(min=1e-3)


def _versions(evaluation: Evaluation, flat: Tensor) -> list[int]:
    """Return how often each input was changed in place."""
    return [0 if tensor.is_inference() else tensor._version for tensor in (flat, *evaluation.leaves())]


def _differs(one: Tensor, other: Tensor) -> bool:
    gap = (one - other).abs()
    size = torch.maximum(one.abs(), other.abs()).clamp(min=float(one.abs().mean().nan_to_num(posinf=0.0)))
    return bool((gap > _ROUNDING.get(one.dtype, 1e-2) * size).any())


def _example(one: Tensor, other: Tensor) -> str:
    place = int((one - other).abs().nan_to_num().argmax())
    return f"{float(one[place]):.6g}, then {float(other[place]):.6g}"
