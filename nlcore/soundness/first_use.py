"""First-use checks of a loss: derivatives of its own values, repeatable values, independent samples.

The faults they find would train silently otherwise. Their derivatives are those of `nlcore.differences`, apart from the
engine's.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from nlcore.errors import InPlaceError, NumericalWarning
from nlcore.evaluation import Evaluation, signs, transformed
from nlcore.soundness.inputs import check_mask
from nlcore.soundness.inside import undisturbed
from nlcore.soundness.second import check_second
from nlcore.soundness.values import differs, example, scale, widest

__all__ = ["ENOUGH", "check_first_use", "check_soundness"]

ENOUGH = 3
"""Batches that are checked unless an earlier one is conclusive; one at its optimum, or of one sample, is not."""

_MOVING = 0.1
"""Share of samples whose loss has to change for a zero gradient to be reported."""


def check_first_use(
    evaluation: Evaluation,
    flat: Tensor,
    value: Tensor,
    gradient: Tensor,
    weight: Tensor,
    *,
    second: str,
    checks: int,
    mask_checked: bool,
) -> int:
    """Run the checks that were not run before, of the loss and of the first mask.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        value: [N], the losses there.
        gradient: [N, m], their gradients.
        weight: [N], the weights of the samples.
        second: See `check_soundness`.
        checks: Number of batches that were checked before.
        mask_checked: Whether a mask was.

    Returns:
        The number of batches that were checked; `ENOUGH` once one of them was conclusive.
    """
    if not mask_checked and evaluation.mask is not None:
        check_mask(evaluation, flat, value)
    if checks >= ENOUGH:
        return checks
    conclusive = check_soundness(evaluation, flat, value, gradient, counts=weight > 0, second=second)
    return ENOUGH if conclusive else checks + 1


def check_soundness(
    evaluation: Evaluation, flat: Tensor, value: Tensor, gradient: Tensor, *, counts: Tensor, second: str
) -> bool:
    """Compare a loss with itself at a handful of other inputs.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        value: [N], the losses there.
        gradient: [N, m], their gradients.
        counts: [N] bool, which samples count.
        second: `"hessian"` if its second derivative is going to be used, `"outer"` if that of its outer loss is.

    Returns:
        Whether the batch is conclusive: two evaluations of it differ; or some sample that counts has a gradient that is
        not zero, and two predictions differ.

    Raises:
        InPlaceError: It changes its inputs in place.
        UnsupportedCurvatureError: A second derivative is not that of its gradient, so that a curvature would be wrong.

    Warns:
        NumericalWarning: Its gradient is zero although its value changes; it mixes samples; it differs between two
            calls; its second derivative is zero; its target or context requires a gradient.
    """
    if transformed(flat) or not flat.shape[0]:
        return False
    _check_leaves(evaluation)
    moves = bool(gradient[counts].any())
    with undisturbed(evaluation, flat.device):
        if not _check_repeated(evaluation, flat, value):
            return True
        apart = _check_independent(evaluation, flat, value)
        if "gradient" not in evaluation.loss.supplies and not moves and not _check_moved(evaluation, flat, counts):
            _check_graph(evaluation, flat)
        if second and moves:
            check_second(evaluation, flat, counts, second)
    return moves and apart


def _check_leaves(evaluation: Evaluation) -> None:
    """Warn of tensors beside the prediction that require a gradient: a step gives them none."""
    if any(leaf.requires_grad for leaf in evaluation.leaves()):
        warnings.warn(
            f"{evaluation.loss.name}: the target or the context asks for a gradient, and gets none: a Newton step is "
            f"one of the prediction. Detach it, or make it a part of the prediction.",
            NumericalWarning,
            stacklevel=2,
        )


def _check_repeated(evaluation: Evaluation, flat: Tensor, value: Tensor) -> bool:
    """Evaluate the loss again, and return whether it gives the same values."""
    name, before = evaluation.loss.name, _versions(evaluation, flat)
    with torch.no_grad():
        again = evaluation.value(flat)
    if _versions(evaluation, flat) != before:
        raise InPlaceError(f"{name} changes its prediction or target in place. Work on a copy, as in y = y + 1.")
    if not differs(value, again):
        return True
    warnings.warn(
        f"{name}: two evaluations of the same batch differ ({example(value, again)}), as with dropout in training "
        f"mode or a random number. Call .eval() on the modules in it, or draw the numbers outside and pass them as the "
        f"context; an AlgorithmicLoss may also declare Traits(stochastic=True) and draw from `generator` alone.",
        NumericalWarning,
        stacklevel=2,
    )
    return False


def _check_independent(evaluation: Evaluation, flat: Tensor, value: Tensor) -> bool:
    """Replace every second sample by its neighbour, with target and context; warn if losses of the others change.

    Returns:
        Whether that changed any prediction.
    """
    place = torch.arange(len(flat), device=flat.device)
    moved = place % 2 == 0
    index = torch.where(moved, place.roll(1), place)
    if len(flat) == 1 or torch.equal(flat[index], flat):
        return False
    try:
        with torch.no_grad():
            beside = replace(evaluation.take(index), mask=evaluation.mask).value(flat[index])
    except Exception:  # a loss may refuse a sample that occurs twice
        return True
    if differs(value[~moved], beside[~moved]):
        target = evaluation.target
        broadcast, same = "", ""
        if isinstance(target, Tensor) and target.shape != evaluation.shape:
            shapes = f"{list(evaluation.shape)} and {list(target.shape)}"
            broadcast = f"when prediction and target are broadcast against each other (shapes {shapes}), "
            same = "Give both the same shape, call"
        warnings.warn(
            f"{evaluation.loss.name}: the loss of a sample changes with the predictions or targets of others "
            f"({example(value[~moved], beside[~moved])}), as {broadcast}with batch normalisation in training mode, or "
            f"with a mean over the batch. Samples have to be independent: the curvature is taken sample by sample. "
            f"{same or 'Call'} .eval() on the modules in the loss, or normalise over a sample.",
            NumericalWarning,
            stacklevel=2,
        )
    return True


def _check_graph(evaluation: Evaluation, flat: Tensor) -> None:
    """Warn if the value of a loss has no graph at all, for which torch would raise an error."""
    with torch.enable_grad():
        value = evaluation.value(flat.detach().requires_grad_())
    if value.requires_grad:
        return
    warnings.warn(
        f"{evaluation.loss.name}: the loss has no derivative with respect to the prediction, so the gradient is zero "
        f"for every sample, where loss.backward() of torch raises an error. It does not depend on the prediction, or "
        f"only through an argmax, a comparison or a rounding. The network learns nothing from it.",
        NumericalWarning,
        stacklevel=2,
    )


def _check_moved(evaluation: Evaluation, flat: Tensor, counts: Tensor) -> bool:
    """Warn if a loss with zero gradients changes in proportion to a small step, which it does not at an optimum.

    Returns:
        Whether it did.
    """
    evaluation, flat = widest(evaluation, flat)
    along = signs(flat, tuple(flat.shape))
    step = torch.finfo(flat.dtype).eps ** 0.25 * scale(evaluation, flat)
    try:
        with torch.no_grad():
            up, down, here, half_up, half_down = (
                evaluation.value(flat + share * step * along).double() for share in (1.0, -1.0, 0.0, 0.5, -0.5)
            )
    except Exception:  # a loss may refuse outputs outside its domain as it likes
        return False
    odd, even, half = (up - down).abs(), (up - 2 * here + down).abs(), (half_up - half_down).abs()
    rounding = 100 * torch.finfo(flat.dtype).eps * here.abs().clamp(min=torch.finfo(flat.dtype).tiny)
    linear = (odd < 3 * half) & (half < odd)  # a cubic term would give an eighth at half the step
    moved = (linear & (odd > 2 * even) & (odd > rounding))[counts]
    if not moved.numel() or float(moved.double().mean()) < _MOVING:
        return False
    warnings.warn(
        f"{evaluation.loss.name}: the gradient is exactly zero for every sample, although the loss changes with the "
        f"prediction. Its graph is cut: look for .detach(), .data, .item(), torch.no_grad() or a trip through NumPy, "
        f"and define the derivative in a torch.autograd.Function or a method `gradient`. The network learns nothing "
        f"otherwise.",
        NumericalWarning,
        stacklevel=2,
    )
    return True


def _versions(evaluation: Evaluation, flat: Tensor) -> list[int]:
    """Return how often each input was changed in place."""
    return [0 if tensor.is_inference() else tensor._version for tensor in (flat, *evaluation.leaves())]
