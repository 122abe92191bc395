"""Checks of an argmin on its first use, and of costs and solutions at every call."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import (
    ContractError,
    DeviceError,
    DtypeError,
    InPlaceError,
    NonFiniteError,
    NumericalWarning,
    ShapeError,
    shorten,
)
from nlcore.inputs import read
from nlcore_decisions._base import Truth
from nlcore_decisions.config import Sense

__all__ = ["TOLERANCE", "check_argmin", "check_finite", "check_result"]

Solve: TypeAlias = Callable[[Tensor, Any], Tensor]
"""Costs [N, *event] and context to solutions."""

_SAMPLES = 16
"""Samples of a batch that are checked."""

_ALONE = 3
"""Samples that are solved alone."""

TOLERANCE = 1e-4
"""Relative to the products that are summed: the gap at which solvers of integer programs stop by default."""


def check_finite(name: str, values: Tensor, what: str) -> bool:
    """Raise unless all values [N, *event] are finite; synchronises with the device once.

    Returns:
        Whether the values can be read; not in a transform, in compiled code or on `meta`.
    """
    total = read(values.sum())  # finite only if every value is
    if total is None or math.isfinite(total):
        return total is not None
    wrong = ~values.flatten(1).isfinite()
    samples = wrong.any(1).nonzero()[:, 0].tolist()
    if not samples:
        return True
    index = int(wrong[samples[0]].nonzero()[0])
    raise NonFiniteError(
        f"{name}: the {what} of samples {shorten(samples)} are NaN or infinite; sample {samples[0]} has "
        f"{float(values[samples[0]].flatten()[index])} at {_place(index, values)}. Check the network's output, the data "
        "and the learning rate; what must not be chosen gets a finite cost above that of every alternative.",
        samples,
    )


def check_result(name: str, costs: Tensor, found: object) -> Tensor:
    """Return what an argmin returned for costs [N, *event], after a check of its type and shape."""
    if not isinstance(found, Tensor):
        raise ContractError(
            f"{name}: the argmin must return a tensor, and returned a {type(found).__name__}. For an array: "
            "torch.as_tensor(array).to(costs)."
        )
    if found.shape != costs.shape:
        raise ShapeError(
            f"{name}: the argmin was given costs of shape {list(costs.shape)} and returned {list(found.shape)}; it must "
            "return a solution of the same shape for each."
        )
    return found.detach() if found.dtype == costs.dtype else found.detach().to(costs.dtype)


def check_argmin(name: str, argmin: Callable[[Tensor, Any], Any], costs: Tensor, truth: Truth, sense: Sense) -> bool:
    """Compare an argmin with itself, and the target with it, on up to 16 samples.

    Args:
        name: What messages begin with.
        argmin: Costs and context to what the function of the user returns.
        costs: [N, *event], N ≥ 1, detached.
        truth: The target, with context.
        sense: For messages.

    Returns:
        Whether two of the solutions differ, so that the checks could find something.

    Raises:
        ContractError: It changes its input, returns another dtype or device, draws random numbers, mixes samples or
            does not minimise; or a target is better than the minimum.
    """

    def solve(costs: Tensor, context: Any) -> Tensor:
        return check_result(name, costs, argmin(costs, context))

    if len(costs) > _SAMPLES:
        spread = torch.linspace(0, len(costs) - 1, _SAMPLES).long().to(costs.device)
        costs, truth = _taken((costs, truth), spread)
    found = _checked_call(name, argmin, costs, truth.context)
    value = _product(costs, found)
    _check_again(name, value, _product(costs, solve(costs, truth.context)), _scale(costs, found))
    _check_alone(name, solve, costs, value, _scale(costs, found), truth.context)
    if truth.context is None:
        _check_least(name, costs, found)
    if truth.solution is not None:
        _check_target(name, costs, found, truth.solution, "the predicted costs", sense)
        if truth.costs is not None:
            best = solve(truth.costs, truth.context)
            _check_target(name, truth.costs, best, truth.solution, "its true costs", sense)
            _warn_of_worse(name, truth.costs, best, truth.solution, sense)
    return bool((found != found[:1]).any()) and len(found) > 1


def _checked_call(name: str, argmin: Callable[[Tensor, Any], Any], costs: Tensor, context: Any) -> Tensor:
    """Return the solutions after checks of what the argmin returns and does."""
    given = costs.clone()
    raw = argmin(given, context)
    found = check_result(name, given, raw)
    if not torch.equal(given, costs):
        raise InPlaceError(f"{name}: the argmin changes its costs in place. Work on a copy, as in costs = costs + 1.")
    if raw.dtype != costs.dtype:
        raise DtypeError(
            f"{name}: the argmin was given {costs.dtype} and returned {raw.dtype}. End it with .to(costs.dtype)."
        )
    if raw.device != costs.device:
        raise DeviceError(
            f"{name}: the argmin was given costs on {costs.device} and returned a tensor on {raw.device}. End it with "
            ".to(costs.device)."
        )
    check_finite(name, found, "solutions")
    return found


def _check_again(name: str, value: Tensor, again: Tensor, scale: Tensor) -> None:
    wrong = _where((again - value).abs() > TOLERANCE * scale)
    if wrong:
        i = wrong[0]
        raise ContractError(
            f"{name}: the argmin is random: called twice with the same costs, it found solutions of cost "
            f"{float(value[i]):.6g} and {float(again[i]):.6g} for sample {i}. It must return the same solution for the "
            "same costs; seed it, or leave the noise to the method."
        )


def _check_alone(name: str, solve: Solve, costs: Tensor, value: Tensor, scale: Tensor, context: Any) -> None:
    for i in range(0, len(costs) if len(costs) > 1 else 0, max(1, (len(costs) - 1) // (_ALONE - 1))):
        one = costs[i : i + 1]
        alone = float(_product(one, solve(one, _taken(context, slice(i, i + 1))))[0])
        if abs(alone - float(value[i])) > TOLERANCE * float(scale[i]):
            raise ContractError(
                f"{name}: the argmin mixes samples: sample {i} has a solution of cost {alone:.6g} alone, and of "
                f"{float(value[i]):.6g} in a batch of {len(costs)}. Each row must depend on its own costs alone."
            )


def _check_least(name: str, costs: Tensor, found: Tensor) -> None:
    """Raise if a solution of another sample is cheaper than a sample's own: the set is the same for all."""
    y = found.flatten(1)
    products = costs.flatten(1) @ y.mT
    excess = products.diagonal()[:, None] - products
    wrong = _where((excess > TOLERANCE * (costs.flatten(1).abs() @ y.abs().mT).clamp(min=1e-30)).any(1))
    if not wrong:
        return
    i = wrong[0]
    j = int(products[i].argmin())
    raise ContractError(
        f"{name}: the argmin does not minimise: for samples {shorten(wrong)} it returns a solution that is not the "
        f"cheapest; with the costs of sample {i} its solution costs {float(products[i, i]):.6g}, and that of sample {j} "
        f"{float(products[i, j]):.6g}. It must return argmin ⟨c, y⟩ over one set for all samples. If the solver "
        "maximises, pass lambda costs: solver(-costs); if the predictions are values, give sense='maximise' as well; "
        "data that differ between samples are a second parameter of the argmin, the context."
    )


def _check_target(name: str, costs: Tensor, found: Tensor, target: Tensor, under: str, sense: Sense) -> None:
    """Raise if a target is cheaper than the minimum."""
    least, given = _product(costs, found), _product(costs, target)
    wrong = _where(least - given > TOLERANCE * torch.maximum(_scale(costs, found), _scale(costs, target)))
    if not wrong:
        return
    i, sign = wrong[0], -1 if sense == "maximise" else 1
    word = "value" if sense == "maximise" else "cost"
    raise ContractError(
        f"{name}: the target of samples {shorten(wrong)} is better than the best solution: under {under}, the target of "
        f"sample {i} has the {word} {sign * float(given[i]):.6g}, and the solution of the argmin {sign * float(least[i]):.6g}"
        ". Either the target is not a solution of this problem (another order of its elements, another size, true costs "
        "in its place), or the argmin does not return the best one (nlcore_decisions.solvers are exact; for one that "
        "maximises, pass lambda costs: solver(-costs) and sense='maximise')."
    )


def _warn_of_worse(name: str, costs: Tensor, best: Tensor, target: Tensor, sense: Sense) -> None:
    """Warn if no target is the best solution under its true costs, as for the other sense."""
    least, given = _product(costs, best), _product(costs, target)
    if bool((given - least <= TOLERANCE * torch.maximum(_scale(costs, best), _scale(costs, target))).any()):
        return
    sign = -1 if sense == "maximise" else 1
    warnings.warn(
        f"{name}: no target is the best solution under its true costs; that of sample 0 has {sign * float(given[0]):.6g}, "
        f"and the argmin finds {sign * float(least[0]):.6g} with sense={sense!r}. Are predictions and true costs values, "
        "which sense='maximise' is for, or costs, for sense='minimise'?",
        NumericalWarning,
        stacklevel=2,
    )


def _taken(tree: Any, index: Any) -> Any:
    """Return some samples of all tensors in a nested structure."""
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, tree)


def _product(costs: Tensor, found: Tensor) -> Tensor:
    return (costs * found).flatten(1).sum(1)


def _scale(costs: Tensor, found: Tensor) -> Tensor:
    return (costs * found).abs().flatten(1).sum(1)


def _where(condition: Tensor) -> list[int]:
    found: list[int] = condition.nonzero()[:, 0].tolist()
    return found


def _place(index: int, values: Tensor) -> int | tuple[int, ...]:
    place = tuple(int(one) for one in torch.unravel_index(torch.tensor(index), values.shape[1:]))
    return place if len(place) > 1 else place[0]
