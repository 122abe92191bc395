"""Linear programs, with integers or without, by HiGHS in scipy; does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INFEASIBLE", "OPTIMAL", "UNBOUNDED", "Program", "Solved"]

_Array = NDArray[Any]

OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 2, 3
"""Status of a solution, as scipy numbers them; others are failures."""

_LARGEST = 2.0**13
"""The largest cost that HiGHS is given: its tolerances are absolute, about 1e-7."""

_TOGETHER, _VARIABLES = 64, 2**14
"""Problems without integers that are solved as one, and how many variables they may have: a call costs as much as
several small problems."""


@dataclass(frozen=True)
class Solved:
    """Results of a batch.

    Attributes:
        solutions: [N, m], float64; 0 where there is none.
        status: int64, [N].
        messages: The words of HiGHS on each failure, by its index.
    """

    solutions: _Array
    status: _Array
    messages: dict[int, str]


@dataclass(frozen=True)
class Program:
    """The set of a linear program: rows of constraints, bounds, and which variables are integers.

    Attributes:
        rows: [r, m].
        low: [r], lower bounds of the rows, −∞ for none.
        high: [r], upper bounds of the rows.
        lower: [m], lower bounds of the variables.
        upper: [m], upper bounds of the variables.
        integer: bool, [m].
    """

    rows: _Array
    low: _Array
    high: _Array
    lower: _Array
    upper: _Array
    integer: _Array

    def __call__(self, costs: _Array) -> Solved:
        """Return the solutions of least cost for costs [N, m]."""
        count, m = costs.shape
        largest = np.maximum(np.abs(costs).max(1), 2.0**-1000)
        scaled = costs * 2.0 ** np.floor(np.log2(_LARGEST / largest))[:, None]
        together = 1 if self.integer.any() else max(1, min(_TOGETHER, count, _VARIABLES // m))
        solved = Solved(np.zeros(costs.shape), np.zeros(count, np.int64), {})
        many, one = self._solver(together), self._solver(1)
        for start in range(0, count, together):
            part = scaled[start : start + together]
            found = many(part.ravel()) if together > 1 and len(part) == together else None
            if found is not None and found.status == OPTIMAL:
                solved.solutions[start : start + together] = found.x.reshape(part.shape)
                continue
            for index, single in enumerate(part, start):
                self._record(solved, index, one(single), one)
        rounded = np.where(self.integer, np.rint(solved.solutions), solved.solutions)
        done = (solved.status == OPTIMAL)[:, None]
        return replace(solved, solutions=np.where(done, np.clip(rounded, self.lower, self.upper), 0))

    def _record(self, solved: Solved, index: int, found: Any, solve: Callable[[_Array], Any]) -> None:
        """Note the result of one problem."""
        if found.status == OPTIMAL:
            solved.solutions[index] = found.x
            return
        solved.status[index], solved.messages[index] = found.status, str(found.message)
        if "unbounded" in found.message:  # "or infeasible": HiGHS does not always decide which
            feasible = solve(np.zeros_like(self.lower)).status == OPTIMAL
            solved.status[index] = UNBOUNDED if feasible else INFEASIBLE

    def _solver(self, copies: int) -> Callable[[_Array], Any]:
        """Return a function that solves several independent problems as one, for all their costs in a row."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import block_diag, csc_array

        constraints = None
        if len(self.rows):
            rows = csc_array(block_diag([csc_array(self.rows)] * copies))
            constraints = LinearConstraint(rows, np.tile(self.low, copies), np.tile(self.high, copies))
        return partial(
            milp,
            integrality=np.tile(self.integer.astype(np.int64), copies),
            bounds=Bounds(np.tile(self.lower, copies), np.tile(self.upper, copies)),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
