"""Linear programs, with integers or without, by HiGHS in scipy; does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INFEASIBLE", "OPTIMAL", "UNBOUNDED", "Program", "Solved"]

_Array = NDArray[Any]

OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 2, 3
"""Status of a solution, as scipy numbers them; others are failures."""

_LARGEST = 2.0**13
"""The largest cost that HiGHS is given: its tolerances are absolute, about 1e-7."""


@dataclass(frozen=True)
class Solved:
    """Results of a batch.

    Attributes:
        solutions: [N, m], float64; 0 where there is none.
        status: int64, [N].
        messages: What HiGHS says of each failure, by its index.
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
        status, messages = np.zeros(len(costs), np.int64), dict[int, str]()
        solutions = np.zeros(costs.shape)
        for index, one in enumerate(costs):
            largest = np.abs(one).max()
            found = self._solve(one * 2.0 ** np.floor(np.log2(_LARGEST / largest)) if largest > 0 else one)
            status[index] = found.status
            if found.status != OPTIMAL:
                messages[index] = str(found.message)
                if "unbounded" in messages[index]:  # or infeasible, which is not decided always
                    feasible = self._solve(np.zeros_like(one)).status == OPTIMAL
                    status[index] = UNBOUNDED if feasible else INFEASIBLE
            else:
                solutions[index] = np.clip(np.where(self.integer, np.rint(found.x), found.x), self.lower, self.upper)
        return Solved(solutions, status, messages)

    def _solve(self, costs: _Array) -> Any:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csc_array

        return milp(
            costs,
            integrality=self.integer.astype(np.int64),
            bounds=Bounds(self.lower, self.upper),
            constraints=LinearConstraint(csc_array(self.rows), self.low, self.high) if len(self.rows) else None,
            options={"mip_rel_gap": 0.0},
        )
