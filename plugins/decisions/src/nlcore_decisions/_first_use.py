"""Checks of an argmin and of targets on their first use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import ContractError, DeviceError, DtypeError, InPlaceError, NlcoreError, NumericalWarning, shorten
from nlcore_decisions._base import Truth
from nlcore_decisions._checks import TOLERANCE, check_finite, check_result, whole
from nlcore_decisions.config import Sense
from nlcore_decisions.solvers.base import Solver

__all__ = ["CheckedArgmin"]

_SAMPLES = 16
"""Samples of a batch on which an argmin is compared with itself."""

_TARGETS = 64
"""Targets that are compared with the solutions of their true costs."""

_ALONE = 3
"""Samples that are solved alone."""

_MANY = 8
"""Samples among which one with a solution that is not 0 is to be expected."""


@dataclass(frozen=True)
class CheckedArgmin:
    """An argmin on its first use.

    Attributes:
        name: The beginning of messages.
        function: Costs and context to what the function of the user returns.
        sense: For messages, and the sign of true numbers.
        solver: The argmin, if it is one that says what is feasible.
    """

    name: str
    function: Callable[[Tensor, Any], Any]
    sense: Sense
    solver: Solver | None

    def check(self, costs: Tensor, truth: Truth, *, plain: bool) -> bool:
        """Compare an argmin with itself on up to 16 samples, and the target with it on up to 64.

        Args:
            costs: [N, *event], N ≥ 1, detached.
            truth: The target, with context.
            plain: Whether the target is a tensor, and nothing says whether it holds costs or solutions.

        Returns:
            Whether two of the solutions differ, so that the checks could find something.

        Raises:
            ContractError: It changes its input, returns another dtype or device, draws random numbers, mixes samples or
                does not minimise; or a target is better than the minimum, or cannot be a solution.

        Warns:
            NumericalWarning: A target is not the best under its true costs, or all solutions are 0.
        """
        first = self._problems(costs, truth.context, _SAMPLES)
        first.check_again()
        first.check_alone()
        solution, true = truth.solution, None
        if truth.costs is not None:
            true = self._problems(truth.costs, truth.context, _SAMPLES if solution is None else _TARGETS)
        if truth.context is None:
            first.check_least(true)
        if self.solver is not None:
            self._check_membership(self.solver, truth, plain=plain)
        if solution is not None:
            known, under = (first, "the predicted numbers") if true is None else (true, "its true numbers")
            target = solution[known.samples]
            known.check_target(target, under)
            if true is not None:
                true.warn_of_worse(target)
        if true is not None:
            first.warn_of_zeros(true)
        return len(costs) > 1 and bool((first.found != first.found[:1]).any())

    def _problems(self, costs: Tensor, context: Any, most: int) -> _FirstUse:
        samples = torch.linspace(0, len(costs) - 1, most).long().tolist() if len(costs) > most else [*range(len(costs))]
        costs, context = _taken((costs, context), samples)
        return _FirstUse(self.name, self._called, costs, context, self.sense, samples)

    def _called(self, costs: Tensor, context: Any) -> Any:
        """Call the argmin; an error of a function of the user's own says what it was given."""
        try:
            return self.function(costs, context)
        except NlcoreError:
            raise
        except Exception as error:
            if self.solver is None:
                error.add_note(
                    f"{self.name}: the argmin was called with a batch of costs, {list(costs.shape)}. If the function "
                    "solves one problem at a time, wrap it: Instances(function). If it uses data of each sample, "
                    "take them as a second parameter, and give context=…: this batch is only a part of yours."
                )
            raise

    def _check_membership(self, solver: Solver, truth: Truth, *, plain: bool) -> None:
        """Raise unless the true solutions may be solutions of the problem, and true costs are something else."""
        if truth.solution is not None:
            wrong = _where(solver.excludes(whole(truth.solution)))
            if wrong:
                raise ContractError(
                    f"{self.name}: the target of samples {shorten(wrong)} is not a solution of "
                    f"{type(solver).__name__}: that of sample {wrong[0]} is {_written(truth.solution[wrong[0]])}. Is "
                    "it that of another problem, of another order of the elements, or are these true costs? Those "
                    "belong under the key 'costs' of a dict."
                )
        elif plain and truth.costs is not None and len(truth.costs) >= _MANY and solver.feasibility_known:
            numbers = -truth.costs if self.sense == "maximise" else truth.costs
            if bool(solver.is_feasible(numbers).all()) and bool((self.function(truth.costs, None) != numbers).any()):
                raise ContractError(
                    f"{self.name}: the target is the true costs or values, and those of every sample are a solution of "
                    f"{type(solver).__name__}: that of sample 0 is {_written(numbers[0])}. Solutions alone do not say "
                    "what they cost. If they are costs indeed, give {'costs': …}."
                )


@dataclass(frozen=True)
class _FirstUse:
    """Some problems, with their indices in the batch, and the solutions that an argmin finds for them."""

    name: str
    argmin: Callable[[Tensor, Any], Any]
    costs: Tensor
    context: Any
    sense: Sense
    samples: list[int]

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
        cure = "The costs are finite: call the argmin with those of this sample alone."
        check_finite(self.name, found, "argmin's solutions", samples=self.samples, cure=cure)
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
        first = self.value  # before the second call, which is given the costs themselves
        again = self._product(check_result(self.name, self.costs, self.argmin(self.costs, self.context)))
        wrong = _where((again - first).abs() > self.allowed)
        if wrong:
            i = wrong[0]
            raise ContractError(
                f"{self.name}: the argmin is random: called twice with the same costs, it found solutions of cost "
                f"{float(first[i]):.6g} and {float(again[i]):.6g} for sample {self.samples[i]}. It must return the "
                "same solution for the same costs; seed it, or leave the noise to the method."
            )

    def check_alone(self) -> None:
        """Raise if a sample has another solution alone than in the batch."""
        count = len(self.costs)
        for i in range(0, count if count > 1 else 0, max(1, (count - 1) // (_ALONE - 1))):
            costs, context = _taken((self.costs, self.context), slice(i, i + 1))
            found = check_result(self.name, costs, self.argmin(costs, context))
            alone = float((costs * whole(found)).sum())
            if abs(alone - float(self.value[i])) > float(self.allowed[i]):
                raise ContractError(
                    f"{self.name}: the argmin mixes samples: sample {self.samples[i]} has a solution of cost "
                    f"{alone:.6g} alone, and of {float(self.value[i]):.6g} in a batch of {count}. Each row must depend "
                    "on its own costs alone."
                )

    def check_least(self, other: _FirstUse | None) -> None:
        """Raise if a solution of another sample is cheaper than a sample's own: the set is the same for all."""
        parts = [self] if other is None else [self, other]
        c = torch.cat([part.costs for part in parts]).flatten(1)
        y = whole(torch.cat([part.found for part in parts]).flatten(1))
        products = c @ y.mT
        excess = products.diagonal()[:, None] - products
        wrong = _where((excess > TOLERANCE * (c.abs() @ y.abs().mT)).any(1))
        if not wrong:
            return
        i, count = wrong[0], len(self.costs)
        samples = [sample for part in parts for sample in part.samples]
        j = int(excess[i].argmax())
        raise ContractError(
            f"{self.name}: the argmin does not minimise: for samples {shorten(sorted({samples[k] for k in wrong}))} it "
            f"returns a solution that is not the cheapest; with the {'predicted' if i < count else 'true'} costs "
            f"of sample {samples[i]} its solution costs {float(products[i, i]):.6g}, and that of sample "
            f"{samples[j]} {float(products[i, j]):.6g}. It must return argmin ⟨c, y⟩ over one set for all samples. "
            "If the solver maximises, pass lambda costs: solver(-costs); if the predictions are values, give "
            "sense='maximise' as well; data that differ between samples are a second parameter of the argmin, the "
            "context."
        )

    def check_target(self, target: Tensor, under: str) -> None:
        """Raise if a target is cheaper than the minimum."""
        given = self._product(target)
        wrong = _where(self.value - given > self._allowed_of(target))
        if not wrong:
            return
        target_is, best_is = self._objectives(given, wrong[0])
        raise ContractError(
            f"{self.name}: the target of samples {shorten([self.samples[i] for i in wrong])} is better than the best "
            f"solution: with {under}, the target of sample {self.samples[wrong[0]]} has the objective {target_is}, and "
            f"the solution of the argmin {best_is} (sense={self.sense!r}). Either the target is not a solution of this "
            "problem (another order or size, true costs in its place), or the argmin does not return the best one: it "
            "always minimises; for a solver that maximises, pass lambda costs: solver(-costs)."
        )

    def warn_of_worse(self, target: Tensor) -> None:
        """Warn if targets are not the best solutions, as for the other sense."""
        given = self._product(target)
        wrong = _where(given - self.value > self._allowed_of(target))
        if not wrong:
            return
        target_is, best_is = self._objectives(given, wrong[0])
        if len(wrong) == len(given):
            cure = "Are they values, which sense='maximise' is for, or costs, for sense='minimise'?"
        else:
            cure = "Leave 'solution' out, and the true costs are solved."
        warnings.warn(
            f"{self.name}: the target of samples {shorten([self.samples[i] for i in wrong])} is not the best solution "
            f"under its true numbers; that of sample {self.samples[wrong[0]]} has the objective {target_is}, and the "
            f"argmin finds {best_is} (sense={self.sense!r}). {cure}",
            NumericalWarning,
            stacklevel=2,
        )

    def warn_of_zeros(self, true: _FirstUse) -> None:
        """Warn if every solution is 0, for predicted and for true costs, as where a maximiser is given costs."""
        if len(self.costs) < _MANY or bool(self.found.any() | true.found.any()) or not bool(true.costs.any()):
            return
        warnings.warn(
            f"{self.name}: every solution is 0, for the predicted and the true numbers of all {len(self.costs)} "
            f"samples that were looked at (sense={self.sense!r}), so there is nothing to learn. Values need "
            "sense='maximise', costs sense='minimise'; an argmin always minimises: for a solver that maximises, pass "
            "lambda costs: solver(-costs).",
            NumericalWarning,
            stacklevel=2,
        )

    def _objectives(self, given: Tensor, i: int) -> tuple[str, str]:
        """Return the objectives of the target and of the best solution with the sign of the sense."""
        sign = -1 if self.sense == "maximise" else 1
        return f"{sign * float(given[i]) + 0.0:.6g}", f"{sign * float(self.value[i]) + 0.0:.6g}"

    def _allowed_of(self, target: Tensor) -> Tensor:
        return torch.maximum(self.allowed, TOLERANCE * self._scale(target))

    def _product(self, solutions: Tensor) -> Tensor:
        return (self.costs * whole(solutions)).flatten(1).sum(1)

    def _scale(self, solutions: Tensor) -> Tensor:
        return (self.costs * whole(solutions)).abs().flatten(1).sum(1)


def _taken(tree: Any, index: Any) -> Any:
    """Return some samples of all tensors in a nested structure."""
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, tree)


def _written(numbers: Tensor) -> str:
    flat = numbers.flatten()
    return f"[{', '.join(f'{float(one):g}' for one in flat[:8])}{', …' if len(flat) > 8 else ''}]"


def _where(condition: Tensor) -> list[int]:
    found: list[int] = condition.nonzero()[:, 0].tolist()
    return found
