"""First-use checks of a loss: derivatives of its own values, repeatable values, independent samples, a sensible mask.

The faults they find would train silently otherwise. Their derivatives are those of `nlcore.differences`, apart from the
engine's.
"""

from __future__ import annotations

import inspect
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nlcore.differences import gradient_of, missing_share, outer_gradient_of, second_product
from nlcore.errors import InPlaceError, NumericalWarning, UnsupportedCurvatureError, shorten
from nlcore.evaluation import Evaluation, graph_nodes, per_sample, signs, transformed

__all__ = [
    "ENOUGH",
    "check_first_use",
    "check_mask",
    "check_second",
    "check_soundness",
    "check_weight",
    "modules_in",
    "parameters_in",
    "undisturbed",
    "warn_of_invalid_weights",
]

ENOUGH = 3
"""Batches that are checked unless an earlier one is conclusive; one at its optimum, or of one sample, is not."""

_ROUNDING = 1e-5
"""Relative change of a sample's loss that rounding explains, between two evaluations of one batch."""

_MOVING = 0.1
"""Share of samples whose loss has to change for a zero gradient to be reported."""


_TURNS = 12
"""Products with the second derivative of an outer loss by which a negative curvature is looked for."""

_SHARE = 0.25
"""Share of samples with a wrong second derivative above which an error is raised."""


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


def check_mask(evaluation: Evaluation, flat: Tensor, value: Tensor) -> None:
    """Check whether a mask looks inverted, and whether the loss ignores padded outputs.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        value: [N], the losses there.

    Warns:
        NumericalWarning: The mask marks nearly everything, or the first outputs and not the last ones; or the loss
            depends on padded outputs.
    """
    if evaluation.mask is None or transformed(evaluation.mask) or not evaluation.mask.numel():
        return
    mask = per_sample(evaluation.mask)
    name, padded = evaluation.loss.name, mask.double().mean(0)
    half, share = len(padded) // 2, float(padded.mean())
    first, last = (float(part.mean()) if len(part) else 0.0 for part in (padded[:half], padded[half:]))
    inverted = first > 0.5 > last and float(padded[0]) > 0.9 and float(padded[-1]) < 0.5
    if not inverted and share <= 0.95:
        _check_heeded(evaluation, flat, value, mask)
        return
    what = "most first outputs and few last ones" if inverted else f"{share:.0%} of the outputs"
    warnings.warn(
        f"{name}: the mask marks {what} as padding. True means padded here, the opposite of an attention mask; if "
        f"yours is True at real outputs, give mask=~mask.",
        NumericalWarning,
        stacklevel=2,
    )


def _check_heeded(evaluation: Evaluation, flat: Tensor, value: Tensor, mask: Tensor) -> None:
    """Replace the padded outputs of each sample by those of another one, and warn if its loss changes."""
    other = torch.where(mask, flat.nan_to_num(posinf=0.0, neginf=0.0).roll(1, 0) + _scale(evaluation, flat), flat)
    try:
        with torch.no_grad(), undisturbed(evaluation, flat.device):
            beside = evaluation.value(other)
    except Exception:  # a loss may refuse outputs outside its domain as it likes
        return
    if _differs(value, beside):
        warnings.warn(
            f"{evaluation.loss.name} has a parameter `mask`, but its loss changes with what stands at padded outputs "
            f"({_example(value, beside)}): the padding counts. Leave padded outputs out, as by masked_fill.",
            NumericalWarning,
            stacklevel=2,
        )


def check_weight(name: str, weight: Any) -> None:
    """Warn of weights that require a gradient: a step gives them none."""
    if isinstance(weight, Tensor) and weight.requires_grad:
        warnings.warn(
            f"{name}: weight requires a gradient, and gets none: the curvature is taken at fixed weights. Detach it, "
            f"or leave it out and multiply the losses by it, as in (weight * criterion(…)).sum() with "
            f"reduction='none'.",
            NumericalWarning,
            stacklevel=2,
        )


def warn_of_invalid_weights(name: str, weight: Any) -> bool:
    """Warn of weights that are negative or not finite, and count as 0; waits for the device.

    Args:
        name: Of the loss.
        weight: [N]; one of another form, or whose values cannot be read, is left alone.

    Returns:
        Whether there are any.
    """
    if not isinstance(weight, Tensor) or weight.ndim != 1 or weight.is_meta or transformed(weight):
        return False
    weight = weight.detach()
    invalid = ~((weight >= 0) & weight.isfinite())
    if not bool(invalid.any()):
        return False
    samples, values = invalid.nonzero().flatten().tolist(), weight[invalid].tolist()
    warnings.warn(
        f"{name}: the weight of the samples {shorten(samples)} is negative or not finite, and counts as 0: "
        f"{shorten(values)}. A mean curvature has no meaning with such weights. Clamp them; or, to ascend the loss of "
        f"some samples, leave weight out and multiply the losses, as in (weight * criterion(…)).mean() with "
        f"reduction='none'. criterion.stats['invalid_weights'] counts them at every step.",
        NumericalWarning,
        stacklevel=2,
    )
    return True


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
    if _differs(value[~moved], beside[~moved]):
        target = evaluation.target
        broadcast, same = "", ""
        if isinstance(target, Tensor) and target.shape != evaluation.shape:
            shapes = f"{list(evaluation.shape)} and {list(target.shape)}"
            broadcast = f"when prediction and target are broadcast against each other (shapes {shapes}), "
            same = "Give both the same shape, call"
        warnings.warn(
            f"{evaluation.loss.name}: the loss of a sample changes with the predictions or targets of others "
            f"({_example(value[~moved], beside[~moved])}), as {broadcast}with batch normalisation in training mode, or "
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
    evaluation, flat = _widest(evaluation, flat)
    along = signs(flat, tuple(flat.shape))
    step = torch.finfo(flat.dtype).eps ** 0.25 * _scale(evaluation, flat)
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
        f"and give a derivative by an autograd Function or a method `gradient`. The network learns nothing otherwise.",
        NumericalWarning,
        stacklevel=2,
    )
    return True


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
    name, (evaluation, flat) = evaluation.loss.name, _widest(evaluation, flat)
    if evaluation.mask is not None:
        flat = flat.masked_fill(per_sample(evaluation.mask), 0.0)
    try:
        gradient, at, written = _second_of(evaluation, flat, second)
        if at is None:
            return
        if not bool(second_product(gradient, at, signs(at, tuple(at.shape))).any()) and not written:
            _warn_of_zero(name, gradient(at), second)
            return
        curvature = _lowest_curvature(gradient, at, counts) if second == "outer" else 0.0
        near = at + 0.1 * at.abs().nan_to_num(posinf=0.0).mean() * signs(at, tuple(at.shape))
        share = min(missing_share(gradient, point, counts) for point in (at, near)) if written else 0.0
    except Exception:  # outside its domain, or a derivative is missing: the engine then names the remedies
        return
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


def _widest(evaluation: Evaluation, flat: Tensor) -> tuple[Evaluation, Tensor]:
    """Return loss and prediction in float64, or as they are where the loss is written for one precision."""
    try:
        wide = evaluation.in_dtype(torch.float64)
        with torch.no_grad():
            wide.value(flat.double())
    except Exception:  # such a loss may raise anything
        return evaluation, flat
    return wide, flat.double()


@contextmanager
def undisturbed(evaluation: Evaluation, device: torch.device) -> Iterator[None]:
    """Restore what further evaluations may change: random states, and buffers of modules in the loss.

    The evaluations see copies of the buffers. A buffer that is changed and restored in place would break a graph that
    has saved it, as batch normalisation in training mode saves its running statistics.
    """
    numpy: Any = sys.modules.get("numpy")
    states = random.getstate(), None if numpy is None else numpy.random.get_state()
    drawn = None if evaluation.generator is None else evaluation.generator.get_state()
    modules = [one for module in modules_in(evaluation.loss.function) for one in module.modules()]
    buffers = [(one, name, held) for one in modules for name, held in one._buffers.items() if held is not None]
    copies = {held: held.clone() for _, _, held in buffers}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        try:
            for module, name, buffer in buffers:
                module._buffers[name] = copies[buffer]
            yield
        finally:
            for module, name, buffer in buffers:
                module._buffers[name] = buffer
            random.setstate(states[0])
            if numpy is not None:
                numpy.random.set_state(states[1])
            if evaluation.generator is not None and drawn is not None:
                evaluation.generator.set_state(drawn)


def modules_in(function: Any, depth: int = 3) -> list[nn.Module]:
    """Return the modules that a function is or refers to: by its binding, fields, closure or global names."""
    return [one for one in _referred(function, depth) if isinstance(one, nn.Module)]


def parameters_in(function: Any, depth: int = 3) -> list[nn.Parameter]:
    """Return the parameters that a function refers to in the same way, apart from those of modules."""
    return [one for one in _referred(function, depth) if isinstance(one, nn.Parameter)]


def _referred(function: Any, depth: int) -> list[Any]:
    """Return the modules and parameters that a function is or refers to."""
    if isinstance(function, nn.Module | nn.Parameter):
        return [function]
    if depth == 0 or isinstance(function, type):
        return []
    parts: list[Any] = []
    if inspect.isfunction(function):
        known = inspect.getclosurevars(function)
        parts = [*known.nonlocals.values(), *known.globals.values(), *(function.__defaults__ or ())]
    elif inspect.ismethod(function):
        parts = [function.__self__]
    elif isinstance(function, partial):
        parts = [function.func, *function.args, *function.keywords.values()]
    elif hasattr(function, "__dict__"):
        parts = list(vars(function).values())
    wanted = (part for part in parts if callable(part) or isinstance(part, nn.Parameter))
    return [one for part in wanted for one in _referred(part, depth - 1)]


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
    return bool((gap > _ROUNDING * size).any())


def _example(one: Tensor, other: Tensor) -> str:
    place = int((one - other).abs().nan_to_num().argmax())
    return f"{float(one[place]):.6g}, then {float(other[place]):.6g}"
