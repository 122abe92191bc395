"""First-use check of a second derivative: it is compared with differences of the gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from nlcore.differences import gradient_of, missing_share, outer_gradient_of, second_product
from nlcore.errors import NumericalWarning, UnsupportedCurvatureError
from nlcore.evaluation import Evaluation, graph_nodes, per_sample, signs
from nlcore.soundness.values import widest

__all__ = ["check_second"]

_TURNS = 12
"""Products with the second derivative of an outer loss by which a negative curvature is looked for."""

_SHARE = 0.25
"""Share of samples with a wrong second derivative above which an error is raised."""


def check_second(evaluation: Evaluation, flat: Tensor, counts: Tensor, second: str) -> None:
    """Compare a second derivative with differences of the gradient, at the prediction and at a point near it.

    Only hand-written backward passes lose a part of it silently; a stop-gradient is the user's choice.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        counts: [N] bool, which samples count.
        second: `"hessian"` for the second derivative of the loss, `"outer"` for that of its outer loss.

    Raises:
        UnsupportedCurvatureError: A part of it is missing.

    Warns:
        NumericalWarning: It is zero, or the outer loss is not convex.
    """
    name, (evaluation, flat) = evaluation.loss.name, widest(evaluation, flat)
    if evaluation.mask is not None:
        flat = flat.masked_fill(per_sample(evaluation.mask), 0.0)
    curvature = share = 0.0
    try:
        gradient, at, written = _second_of(evaluation, flat, second)
        if at is None:
            return
        slope = gradient(at)
        zero = not bool(second_product(gradient, at, signs(at, tuple(at.shape))).any()) and not written
        if not zero and second == "outer":
            curvature = _lowest_curvature(gradient, at, counts)
        if not zero and written:
            near = at + 0.1 * at.abs().nan_to_num(posinf=0.0).mean() * signs(at, tuple(at.shape))
            share = min(missing_share(gradient, point, counts) for point in (at, near))
    except Exception:  # outside its domain, or a derivative is missing: the engine then names the remedies
        return
    if zero:
        _warn_of_zero(name, slope, second)
    if curvature < 0:
        _warn_of_no_convexity(name, curvature)
    if share <= _SHARE:
        return
    what = "second derivative" if second == "hessian" else "second derivative of the outer loss"
    other = "nlcore.GaussNewton() or " if second == "hessian" and "split" in evaluation.loss.supplies else ""
    raise UnsupportedCurvatureError(
        f"{name}: the {what} misses differences of the gradient in {share:.0%} of the samples. A part of it is "
        f"missing, as for a backward that torch cannot differentiate. Write that backward in differentiable "
        f"operations, or use {other}nlcore.EmpiricalFisher(): first derivatives suffice there."
    )


def _second_of(evaluation: Evaluation, flat: Tensor, second: str) -> tuple[Callable[..., Tensor], Tensor | None, bool]:
    """Return the gradient to differentiate, the point, and whether the gradient comes from a hand-written backward."""
    if second == "hessian":
        written = "gradient" in evaluation.loss.supplies
        with torch.enable_grad():
            value = evaluation.value(flat.detach().requires_grad_())
        return partial(gradient_of, evaluation), flat, written or _hand_written(value)
    with torch.no_grad():
        features = evaluation.inner(flat)
    if not features.is_floating_point():
        return partial(outer_gradient_of, evaluation), None, False
    shape = features.shape

    def gradient(at: Tensor, *, graph: bool = False) -> Tensor:
        return per_sample(outer_gradient_of(evaluation, at.reshape(shape), graph=graph))

    with torch.enable_grad():
        value = evaluation.outer(features.detach().requires_grad_())
    return gradient, per_sample(features), _hand_written(value)


def _lowest_curvature(gradient: Callable[..., Tensor], at: Tensor, counts: Tensor) -> float:
    """Return the lowest curvature over the directions of two power iterations, relative to the highest; 0 if convex.

    The first iteration, with the second derivative C, finds its largest eigenvalue λ, the second, with λI − C, the
    smallest one. A negative curvature along any direction proves that the loss is not convex.
    """
    along, highest, lowest = signs(at, tuple(at.shape)), at.new_zeros(len(at), 1), at.new_zeros(len(at), 1)
    for turn in range(_TURNS):
        along = along / along.norm(dim=1, keepdim=True).clamp(min=torch.finfo(at.dtype).tiny)
        product = second_product(gradient, at, along)
        curvature = (along * product).sum(1, keepdim=True)
        lowest, highest = torch.minimum(lowest, curvature), torch.maximum(highest, product.norm(dim=1, keepdim=True))
        along = product if 2 * turn < _TURNS else highest * along - product
    negative = lowest / highest.clamp(min=torch.finfo(at.dtype).tiny)
    rounding = torch.finfo(at.dtype).eps ** 0.5
    return float(torch.where((negative < -rounding).squeeze(1) & counts, negative.squeeze(1), 0.0).min())


def _warn_of_no_convexity(name: str, curvature: float) -> None:
    warnings.warn(
        f"{name}: the outer loss is not convex in the features: it has a negative curvature of {-curvature:.2g} times "
        f"its largest, so the Gauss–Newton matrix may be indefinite and a step may climb. Move the part that is not "
        f'convex into the inner function, or use nlcore.Hessian(psd="abs") or nlcore.EmpiricalFisher().',
        NumericalWarning,
        stacklevel=2,
    )


def _hand_written(value: Tensor) -> bool:
    """Return whether an autograd Function of Python or C++ stands in the graph of a value."""
    written = torch.autograd.function.BackwardCFunction
    return any(isinstance(node, written) or "Cpp" in node.name() for node in graph_nodes([value.grad_fn]))


def _warn_of_zero(name: str, gradient: Tensor, second: str) -> None:
    if not bool(gradient.any()):
        return
    what = "the second derivative" if second == "hessian" else "the second derivative of the outer loss"
    warnings.warn(
        f"{name}: {what} is zero for every sample, so the direction is a multiple of the gradient. "
        f"Use nlcore.EmpiricalFisher(), which needs the first derivative alone.",
        NumericalWarning,
        stacklevel=2,
    )
