"""Linear programs, with integers or without, by HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isnan
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ConfigError, NumericalError, shorten
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._processes import Processes, check_workers
from nlcore_decisions.solvers.base import Solver, infeasible, needs_scipy, nested, precise

if TYPE_CHECKING:
    from nlcore_decisions.solvers._highs import Program, Solved

__all__ = ["LinearProgram"]

Bound: TypeAlias = tuple[float | None, float | None]
Rows: TypeAlias = Sequence[Sequence[float]]

_CLOSE = 1e-6
"""Tolerance of constraints, relative to their size: that of HiGHS."""


@dataclass(frozen=True, kw_only=True)
class LinearProgram(Solver):
    r"""The solution of a linear program, with integers or without.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y} \langle c, y \rangle \quad \text{subject to} \quad
    A_{ub} y \le b_{ub}, \quad A_{eq} y = b_{eq}, \quad l \le y \le u.
    $$

    Without integers it is a vertex; of several of least cost, which one may depend on the other problems of the batch.
    Options are those of `scipy.optimize.linprog`. Costs of each sample are scaled so
    that the absolute tolerances of HiGHS, about 1e-7, are far below them; integers are rounded.

    Shape:
        costs and solutions `[..., m]`; of any size, in practice up to some thousands of dense constraints.

    Cost:
        HiGHS runs in float64 on the CPU. Up to 64 problems without integers are solved as one, which takes some tenths
        of a millisecond each for a few dozen variables. Those with integers are solved one after the other, in
        milliseconds, at worst in exponential time. With `workers` the batch is divided among so many processes, which
        start with the first call, in about half a second, and serve until the end.

    Ties:
        `solve(costs, ties=True)` finds other solutions whose cost is the same to about 1e-6, relative to the largest
        cost in the solution, if all integers are 0 or 1, or have bounds as close.

    Args:
        A_ub: Rows of numbers [r, m], or None.
        b_ub: r numbers.
        A_eq: Rows of numbers [q, m], or None.
        b_eq: q numbers.
        bounds: One pair (lower, upper) for all variables, or m pairs; None for no bound.
        integer: Whether variables are integers: one answer for all, or m.
        workers: Number of processes; 0 solves in this one.

    Raises:
        ConfigError: Options do not fit together, do not show the number of variables, or are not numbers; or on a call,
            scipy is not installed.

    References:
        Huangfu, Hall: [Parallelizing the dual revised simplex method](https://doi.org/10.1007/s12532-017-0130-5), 2018.

    Example:
        >>> import torch
        >>> program = LinearProgram(A_ub=[[2, 3, 1]], b_ub=[4], bounds=(0, 1))
        >>> program(torch.tensor([[-4.0, -4.0, -1.0]]))
        tensor([[1.0000, 0.6667, 0.0000]])
    """

    A_ub: Rows | None = None
    b_ub: Sequence[float] | None = None
    A_eq: Rows | None = None
    b_eq: Sequence[float] | None = None
    bounds: Bound | Sequence[Bound] = (0, None)
    integer: bool | Sequence[bool] = False
    workers: int = 0

    _resolution: ClassVar[float] = 2.0**-20

    def __post_init__(self) -> None:
        names = ("A_ub", "b_ub", "A_eq", "b_eq", "bounds", "integer")
        self._store(**{name: nested(getattr(self, name)) for name in names})
        check_workers("LinearProgram", self.workers)
        m = self._number()
        for rows, bounds in (("A_ub", "b_ub"), ("A_eq", "b_eq")):
            self._check_rows(rows, bounds, m)
        self._check_bounds(m)
        answers = self.integer if isinstance(self.integer, tuple) else (self.integer,) * m
        if len(answers) != m or not all(isinstance(one, bool) for one in answers):
            raise ConfigError(f"LinearProgram: integer was given {self.integer!r}; give True, False, or {m} of them.")

    @property
    def shape(self) -> tuple[int]:
        """(m,)."""
        return (self._number(),)

    @cached_property
    def _program(self) -> Program:
        needs_scipy("LinearProgram")
        import numpy as np

        from nlcore_decisions.solvers._highs import Program

        m = self._number()
        above, equal = (np.array(rows or (), dtype=np.float64).reshape(-1, m) for rows in (self.A_ub, self.A_eq))
        b_above, b_equal = (np.array(b or (), dtype=np.float64) for b in (self.b_ub, self.b_eq))
        lower, upper = np.array(self._pairs(m), dtype=np.float64).T
        integer = np.broadcast_to(np.array(self.integer), (m,))
        low = np.concatenate([np.full(len(b_above), -np.inf), b_equal])
        return Program(np.concatenate([above, equal]), low, np.concatenate([b_above, b_equal]), lower, upper, integer)

    @cached_property
    def _pool(self) -> Processes:
        return Processes("LinearProgram", self._program, self.workers, parts=4 if self._program.integer.any() else 1)

    def _solve(self, costs: Tensor) -> Tensor:
        needs_scipy("LinearProgram")
        import numpy as np

        values = costs.cpu().double().numpy()
        parts: list[tuple[int, Solved]] = self._pool(values) if self.workers else [(0, self._program(values))]
        self._check_solved(parts)
        return torch.from_numpy(np.concatenate([part.solutions for _, part in parts])).to(costs)

    def _check_solved(self, parts: list[tuple[int, Solved]]) -> None:
        """Raise if a problem was not solved."""
        from nlcore_decisions.solvers._highs import INFEASIBLE, UNBOUNDED

        status = {start + i: int(one) for start, part in parts for i, one in enumerate(part.status) if one}
        messages = {start + i: text for start, part in parts for i, text in part.messages.items()}
        if not status:
            return
        if unsolvable := [sample for sample, one in status.items() if one == INFEASIBLE]:
            raise infeasible(
                "LinearProgram",
                unsolvable,
                "No y meets all constraints, whatever the costs are. Check the signs in A_ub and b_ub, and the bounds, "
                "which are (0, None) unless given.",
            )
        if unbounded := [sample for sample, one in status.items() if one == UNBOUNDED]:
            raise InfeasibleError(
                f"LinearProgram: the costs of samples {shorten(unbounded)} can be made as low as one likes. Bound the "
                "variables, or keep the costs in the range for which a least one exists, as with "
                "torch.nn.functional.softplus.",
                unbounded,
            )
        first = next(iter(status))
        raise NumericalError(
            f"LinearProgram: HiGHS did not solve samples {shorten(list(status))}; of sample {first} it says: "
            f"{messages.get(first, 'nothing')}. Check the range of the coefficients and of the costs."
        )

    def excludes(self, solutions: Tensor) -> Tensor:
        """Return which targets are neither in Y nor, as far as is known, the mean of several elements of it."""
        return super().excludes(solutions) if self._program.integer.any() else ~self.is_feasible(solutions)

    def _feasible(self, solutions: Tensor) -> Tensor:
        program = self._program
        y = precise(solutions)
        rows, low, high, lower, upper = (
            torch.from_numpy(one).to(y)
            for one in (program.rows, program.low, program.high, program.lower, program.upper)
        )
        integer = torch.from_numpy(program.integer.copy()).to(y.device)
        values = y @ rows.mT
        close = _CLOSE if solutions.dtype == torch.float64 else 1e-4
        size = 1 + y.abs() @ rows.abs().mT
        met = ((values >= low - close * size) & (values <= high + close * size)).all(1)
        inside = ((y >= lower - close * (1 + y.abs())) & (y <= upper + close * (1 + y.abs()))).all(1)
        return met & inside & (~integer | (y == y.round())).all(1)

    def _dearer(self, solution: Tensor) -> Tensor:
        """Return the sum of the outer normals of all constraints that hold with equality.

        At a vertex every other feasible point is inside one of them at least.
        """
        program = self._program
        wide = program.integer & (program.upper - program.lower > 1)
        if bool(wide.any()):
            raise ConfigError(
                "LinearProgram: ties cannot be found, as variables are integers with more than two values: "
                f"{shorten(wide.nonzero()[0].tolist())}. Leave out ties=True."
            )
        lower, upper, rows, high = (
            torch.from_numpy(one).to(solution) for one in (program.lower, program.upper, program.rows, program.high)
        )
        close = 10 * _CLOSE
        at_upper, at_lower = ((solution - one).abs() <= close * (1 + solution.abs()) for one in (upper, lower))
        tight = (solution @ rows.mT - high).abs() <= close * (1 + solution.abs() @ rows.abs().mT)
        normals = rows / rows.abs().amax(1, keepdim=True).clamp(min=1e-300)
        return at_upper.to(solution) - at_lower.to(solution) + tight.to(solution) @ normals

    def _number(self) -> int:
        """Return the number of variables, from the first option that shows it."""
        for rows in (self.A_ub, self.A_eq):
            if isinstance(rows, tuple) and rows and isinstance(rows[0], tuple) and rows[0]:
                return len(rows[0])
        if isinstance(self.bounds, tuple) and self.bounds and isinstance(self.bounds[0], tuple):
            return len(self.bounds)
        if isinstance(self.integer, tuple) and self.integer:
            return len(self.integer)
        raise ConfigError("LinearProgram: the number of variables is not known; give A_ub, A_eq, or a list of bounds.")

    def _pairs(self, m: int) -> list[tuple[float, float]]:
        bounds: Any = self.bounds
        pairs = bounds if bounds and isinstance(bounds[0], tuple) else (bounds,) * m
        return [(-inf if low is None else low, inf if high is None else high) for low, high in pairs]

    def _check_rows(self, name: str, limits: str, m: int) -> None:
        rows, numbers = getattr(self, name), getattr(self, limits)
        if rows is None and numbers is None:
            return
        if not (isinstance(rows, tuple) and isinstance(numbers, tuple) and len(rows) == len(numbers)):
            count = [len(one) if isinstance(one, tuple) else 0 for one in (rows, numbers)]
            raise ConfigError(
                f"LinearProgram: {name} has {count[0]} rows and {limits} {count[1]} numbers; give one for each row."
            )
        for index, row in enumerate(rows):
            if not isinstance(row, tuple) or len(row) != m:
                length = len(row) if isinstance(row, tuple) else "no"
                raise ConfigError(f"LinearProgram: row {index} of {name} has {length} numbers for {m} variables.")
            for one in (*row, numbers[index]):
                if type(one) not in (int, float) or isnan(one) or abs(one) == inf:
                    raise ConfigError(f"LinearProgram: row {index} of {name} and {limits} holds {one!r}; give numbers.")

    def _check_bounds(self, m: int) -> None:
        try:
            pairs = self._pairs(m)
            wrong = [pair for pair in pairs if not pair[0] <= pair[1]]
        except (TypeError, ValueError):
            raise ConfigError(
                f"LinearProgram: bounds were given {self.bounds!r}; give (lower, upper), or one pair for each variable."
            ) from None
        if len(pairs) != m or wrong:
            fault = f"the bounds {wrong[0]} are empty" if wrong else f"{len(pairs)} bounds were given for {m} variables"
            raise ConfigError(f"LinearProgram: {fault}.")
