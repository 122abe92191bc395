"""Checks of an argmin on its first use, and of costs and solutions at every call."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    place = tuple(int(one) for one in torch.unravel_index(torch.tensor(index), values.shape[1:]))
    value = float(values[samples[0]].flatten()[index])
    raise NonFiniteError(
        f"{name}: the {what} of samples {shorten(samples)} are NaN or infinite; sample {samples[0]} has {value} at "
        f"{place if len(place) > 1 else place[0]}. Check the network's output, the data and the learning rate; what "
        "must not be chosen gets a finite cost above that of every alternative.",
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
            f"{name}: the argmin was given costs of shape {list(costs.shape)} and returned {list(found.shape)}; it "
            "must return a solution of the same shape for each."
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

    Warns:
        NumericalWarning: No target is the best under its true costs.
    """
    if len(costs) > _SAMPLES:
        spread = torch.linspace(0, len(costs) - 1, _SAMPLES).long().to(costs.device)
        costs, truth = _taken((costs, truth), spread)
    first = _FirstUse(name, argmin, costs, truth.context, sense)
    first.check_again()
    first.check_alone()
    if truth.context is None:
        first.check_least()
    if truth.solution is not None and truth.costs is None:
        first.check_target(truth.solution, "the predicted numbers")
    elif truth.solution is not None and truth.costs is not None:
        true = _FirstUse(name, argmin, truth.costs, truth.context, sense)
        true.check_target(truth.solution, "its true numbers")
        true.warn_of_worse(truth.solution)
    return len(costs) > 1 and bool((first.found != first.found[:1]).any())


@dataclass(frozen=True)
class _FirstUse:
    """Some problems, and the solutions that an argmin finds for them."""

    name: str
    argmin: Callable[[Tensor, Any], Any]
    costs: Tensor
    context: Any
    sense: Sense

    @cached_property
    def found(self) -> Tensor:
        """The solutions, after checks of what the argmin returns and does."""
        given = self.costs.clone()
        raw = self.argmin(given, self.context)
        found = check_result(self.name, given, raw)
        if not torch.equal(given, self.costs):
            raise InPlaceError(
                f"{self.name}: the argmin changes its costs in place. Work on a copy, as in costs = costs + 1."
            )
        if raw.dtype != given.dtype:
            raise DtypeError(
                f"{self.name}: the argmin was given {given.dtype} and returned {raw.dtype}. End it with "
                ".to(costs.dtype)."
            )
        if raw.device != given.device:
            raise DeviceError(
                f"{self.name}: the argmin was given costs on {given.device} and returned a tensor on {raw.device}. End "
                "it with .to(costs.device)."
            )
        check_finite(self.name, found, "solutions")
        return found

    @cached_property
    def value(self) -> Tensor:
        """The costs of the solutions, [N]."""
        return self._product(self.found)

    @cached_property
    def allowed(self) -> Tensor:
        """The differences of costs that are rounding, or the gap of a solver, [N]."""
        return TOLERANCE * self._scale(self.found)

    def check_again(self) -> None:
        """Raise if a second call finds other solutions."""
        again = self._product(check_result(self.name, self.costs, self.argmin(self.costs, self.context)))
        wrong = _where((again - self.value).abs() > self.allowed)
        if wrong:
            i = wrong[0]
            raise ContractError(
                f"{self.name}: the argmin is random: called twice with the same costs, it found solutions of cost "
                f"{float(self.value[i]):.6g} and {float(again[i]):.6g} for sample {i}. It must return the same "
                "solution for the same costs; seed it, or leave the noise to the method."
            )

    def check_alone(self) -> None:
        """Raise if a sample has another solution alone than in the batch."""
        count = len(self.costs)
        for i in range(0, count if count > 1 else 0, max(1, (count - 1) // (_ALONE - 1))):
            costs, context = _taken((self.costs, self.context), slice(i, i + 1))
            alone = float((costs * check_result(self.name, costs, self.argmin(costs, context))).sum())
            if abs(alone - float(self.value[i])) > float(self.allowed[i]):
                raise ContractError(
                    f"{self.name}: the argmin mixes samples: sample {i} has a solution of cost {alone:.6g} alone, and "
                    f"of {float(self.value[i]):.6g} in a batch of {count}. Each row must depend on its own costs alone."
                )

    def check_least(self) -> None:
        """Raise if a solution of another sample is cheaper than a sample's own: the set is the same for all."""
        c, y = self.costs.flatten(1), self.found.flatten(1)
        products = c @ y.mT
        excess = products.diagonal()[:, None] - products
        wrong = _where((excess > TOLERANCE * (c.abs() @ y.abs().mT)).any(1))
        if not wrong:
            return
        i = wrong[0]
        j = int(products[i].argmin())
        raise ContractError(
            f"{self.name}: the argmin does not minimise: for samples {shorten(wrong)} it returns a solution that is "
            f"not the cheapest; with the costs of sample {i} its solution costs {float(products[i, i]):.6g}, and that "
            f"of sample {j} {float(products[i, j]):.6g}. It must return argmin ⟨c, y⟩ over one set for all samples. If "
            "the solver maximises, pass lambda costs: solver(-costs); if the predictions are values, give "
            "sense='maximise' as well; data that differ between samples are a second parameter of the argmin, the "
            "context."
        )

    def check_target(self, target: Tensor, under: str) -> None:
        """Raise if a target is cheaper than the minimum."""
        given = self._product(target)
        wrong = _where(self.value - given > torch.maximum(self.allowed, TOLERANCE * self._scale(target)))
        if not wrong:
            return
        i, (target_is, best_is) = wrong[0], self._objectives(given, wrong[0])
        raise ContractError(
            f"{self.name}: the target of samples {shorten(wrong)} is better than the best solution: with {under}, the "
            f"target of sample {i} has the objective {target_is}, and the solution of the argmin {best_is} "
            f"(sense={self.sense!r}). Either the target is not a solution of this problem (another order or size, true "
            "costs in its place), or the argmin does not return the best one: it always minimises; for a solver that "
            "maximises, pass lambda costs: solver(-costs)."
        )

    def warn_of_worse(self, target: Tensor) -> None:
        """Warn if no target is the best solution, as for the other sense."""
        given = self._product(target)
        if bool((given - self.value <= torch.maximum(self.allowed, TOLERANCE * self._scale(target))).any()):
            return
        target_is, best_is = self._objectives(given, 0)
        warnings.warn(
            f"{self.name}: no target is the best solution under its true numbers; that of sample 0 has the objective "
            f"{target_is}, and the argmin finds {best_is} (sense={self.sense!r}). Are they values, which "
            "sense='maximise' is for, or costs, for sense='minimise'?",
            NumericalWarning,
            stacklevel=2,
        )

    def _objectives(self, given: Tensor, i: int) -> tuple[str, str]:
        """Return the objectives of the target and of the best solution as the user knows them."""
        sign = -1 if self.sense == "maximise" else 1
        return f"{sign * float(given[i]):.6g}", f"{sign * float(self.value[i]):.6g}"

    def _product(self, solutions: Tensor) -> Tensor:
        return (self.costs * solutions).flatten(1).sum(1)

    def _scale(self, solutions: Tensor) -> Tensor:
        return (self.costs * solutions).abs().flatten(1).sum(1)


def _taken(tree: Any, index: Any) -> Any:
    """Return some samples of all tensors in a nested structure."""
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, tree)


def _where(condition: Tensor) -> list[int]:
    found: list[int] = condition.nonzero()[:, 0].tolist()
    return found
