"""Knapsacks: subsets of items within one or several capacities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property
from importlib import import_module
from itertools import chain
from math import floor, gcd, isfinite
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from nlcore.compiled import has_numba
from nlcore.errors import ConfigError, NumericalError, shorten
from nlcore_decisions.solvers._subsets import by_capacity, by_selections, maximal_selections
from nlcore_decisions.solvers.base import Solver, nested, precise

__all__ = ["Knapsack"]

Numbers: TypeAlias = Sequence[float]

_STEPS = 2**24
"""Items that a search may look at before dynamic programming or HiGHS takes over: some tens of milliseconds."""

_TABLE = 2**28
"""Items times capacity up to which dynamic programming is used: the bytes of its table for one problem."""

_SELECTIONS = 2**24
"""Numbers that all selections may take in memory."""

_SMALL, _FASTER = 2**9, 8
"""Capacity below which dynamic programming is fast anyway, and how much faster the product is for each number."""


@dataclass(frozen=True)
class Knapsack(Solver):
    r"""The cheapest selection of n items within capacities.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in \{0, 1\}^n,\; W y \le b} \langle c, y \rangle.
    $$

    It minimises: for values v to be maximised the costs are −v. Items that cost 0 or more are never taken. Weights are
    read as the decimals they are written as, so that 0.1 and 0.2 fit in a capacity of 0.3.

    Shape:
        costs and solutions `[..., n]`; 1 on the items that are taken.

    Cost:
        Exact, so exponential in the worst case. With numba: branch and bound on one core, about 10 µs for 32 items of
        which some 4 fit. Without it, or on another device: for one resource of whole numbers dynamic programming,
        O(n·capacity); otherwise, if they are few enough, a matrix product with all selections to which nothing can be
        added. Problems too large for either, or for the search, are left to HiGHS, one after the other, whose ties are
        found to 1e-9 only.

    Args:
        weights: n numbers, 0 or more; of several resources n numbers for each, [dims, n].
        capacity: A number, 0 or more; of several resources one for each.

    Raises:
        ConfigError: Weights or capacity are negative, not finite, or do not fit together; on a call, a problem is too
            large for what is installed.

    References:
        Martello, Toth: Knapsack Problems, 1990 (ISBN 0-471-92420-2).

    Example:
        >>> import torch
        >>> values = torch.tensor([[6.0, 5.0, 4.0]])
        >>> Knapsack([3, 2, 2], 4)(-values)
        tensor([[0., 1., 1.]])
    """

    binary: ClassVar[bool] = True

    weights: Numbers | Sequence[Numbers]
    capacity: float | Numbers

    def __post_init__(self) -> None:
        weights, capacity = nested(self.weights), nested(self.capacity)
        several = isinstance(capacity, tuple)
        rows = weights if several else (weights,)
        if not isinstance(rows, tuple) or not all(isinstance(row, tuple) for row in rows):
            form = "[dims, n], as capacity is a list" if several else "[n], as capacity is a number"
            raise ConfigError(f"Knapsack: weights must be numbers {form}.")
        _check(rows, capacity if several else (capacity,))
        self._store(weights=weights, capacity=capacity)

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (len(self._rows[0]),)

    @property
    def _rows(self) -> tuple[tuple[float, ...], ...]:
        return self.weights if isinstance(self.capacity, tuple) else (self.weights,)  # type: ignore[return-value]

    @property
    def _bounds(self) -> tuple[float, ...]:
        return self.capacity if isinstance(self.capacity, tuple) else (self.capacity,)

    @cached_property
    def _whole(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """Weights and capacity of each resource as whole numbers without a common divisor."""
        return tuple(_whole(row, bound) for row, bound in zip(self._rows, self._bounds, strict=True))

    @cached_property
    def _limits(self) -> tuple[Tensor, Tensor]:
        """Weights [n, dims] and capacities [dims] in float64: whole, where that is exact, else with a tolerance."""
        rows, bounds = list[list[float]](), list[float]()
        for row, bound, (whole_row, whole_bound) in zip(self._rows, self._bounds, self._whole, strict=True):
            exact = sum(whole_row) + whole_bound < 2**53
            rows.append([float(one) for one in (whole_row if exact else row)])
            bounds.append(float(whole_bound) if exact else bound * (1 + 1e-12))
        return torch.tensor(rows, dtype=torch.float64).mT.contiguous(), torch.tensor(bounds, dtype=torch.float64)

    @cached_property
    def _selections(self) -> Tensor | None:
        return maximal_selections(*self._limits, _SELECTIONS)

    def _solve(self, costs: Tensor) -> Tensor:
        if costs.device.type != "cpu" or not has_numba():
            return self._in_torch(costs)
        chosen = torch.zeros(costs.shape, dtype=torch.bool)
        finished = torch.ones(len(costs), dtype=torch.bool)
        weights, capacities = self._limits
        budget = min(_STEPS, max(2**16, len(weights) * (self._whole[0][1] + 1))) if self._has_table else _STEPS
        values = costs.double()  # one dtype, for one compilation
        _kernel()(values.numpy(), weights.numpy(), capacities.numpy(), budget, chosen.numpy(), finished.numpy())
        solutions = chosen.to(costs.dtype)
        if not bool(finished.all()):
            solutions[~finished] = self._in_torch(costs[~finished])
        return solutions

    @property
    def _has_table(self) -> bool:
        return len(self._whole) == 1 and self.shape[0] * (self._whole[0][1] + 1) <= _TABLE

    def _in_torch(self, costs: Tensor) -> Tensor:
        capacity = self._whole[0][1]
        selections = None if self._has_table and capacity < _SMALL else self._selections
        if self._has_table and (selections is None or len(selections) > _FASTER * capacity):
            return by_capacity(costs, *self._whole[0])
        if selections is not None:
            return by_selections(costs, selections)
        return self._by_highs(costs)

    def _by_highs(self, costs: Tensor) -> Tensor:
        try:
            from scipy import optimize  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"Knapsack: {self.shape[0]} items have too many selections to be listed. Install numba for branch and "
                "bound on the CPU and scipy for HiGHS: pip install nlcore-decisions[numba,scipy]."
            ) from error
        import numpy as np

        from nlcore_decisions.solvers._highs import Program

        weights, capacities = (one.numpy() for one in self._limits)
        n, dims = weights.shape
        unit = 2.0 ** np.maximum(np.floor(np.log2(np.maximum(capacities, 1))) - 20, 0)  # HiGHS refuses large numbers
        ones = np.ones(n)
        program = Program((weights / unit).T, np.full(dims, -np.inf), capacities / unit, 0 * ones, ones, ones > 0)
        found = program(np.minimum(costs.double().cpu().numpy(), 0))
        solutions = torch.where(costs < 0, torch.from_numpy(found.solutions).to(costs), 0)
        failed = torch.from_numpy(found.status != 0).to(costs.device) | ~self._feasible(solutions)
        if bool(failed.any()):
            raise NumericalError(
                f"Knapsack: HiGHS fails on {int(failed.sum())} problems: {shorten(list(found.messages.values()), 1)}. "
                "Round the weights to fewer decimals, or install numba for branch and bound."
            )
        return solutions

    def _feasible(self, solutions: Tensor) -> Tensor:
        weights, capacities = (one.to(solutions.device) for one in self._limits)
        exact = precise(solutions)
        binary = ((solutions == 0) | (solutions == 1)).all(1)
        return binary & (exact @ weights.to(exact) <= capacities.to(exact)).all(1)


@cache
def _kernel() -> Any:
    return import_module("nlcore_decisions._compiled.knapsacks").solve


def _check(weights: tuple[tuple[float, ...], ...], capacity: tuple[float, ...]) -> None:
    """Raise unless the options are numbers of 0 or more, for the same items and resources."""
    if len(weights) != len(capacity) or not capacity:
        raise ConfigError(
            f"Knapsack: weights of {len(weights)} resources and capacities of {len(capacity)} were given; give one "
            "capacity for each row of weights."
        )
    lengths = sorted({len(row) for row in weights})
    if len(lengths) > 1 or lengths[0] < 1:
        raise ConfigError(f"Knapsack: rows of weights have {lengths} items; give each the same number, at least 1.")
    for name, numbers in (("weights", tuple(chain(*weights))), ("capacity", capacity)):
        for one in numbers:
            if type(one) not in (int, float) or not (isfinite(one) and one >= 0):
                raise ConfigError(f"Knapsack: {name} holds {one!r}; give finite numbers of 0 or more.")


def _whole(weights: tuple[float, ...], capacity: float) -> tuple[tuple[int, ...], int]:
    """Return weights and capacity, read as decimals, in the largest unit in which the weights are whole."""
    numbers = [Decimal(repr(one)) for one in (*weights, capacity)]
    places = max(0, *(-int(one.as_tuple().exponent) for one in numbers))
    whole = [int(one.scaleb(places)) for one in numbers]
    unit = gcd(*whole[:-1]) or 1
    return tuple(one // unit for one in whole[:-1]), floor(whole[-1] // unit)
