"""Assignments: each row of a matrix of costs gets a column of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlcore_decisions.solvers.base import Solver, needs_scipy

__all__ = ["Assignment"]


@dataclass(frozen=True)
class Assignment(Solver):
    r"""The cheapest assignment of rows to columns.

    $$
    y^*(c) = \operatorname*{arg\,min}_y \sum_{ij} c_{ij} y_{ij}, \quad
    y \in \{0, 1\}^{n \times k}, \quad \sum_j y_{ij} \le 1, \quad \sum_i y_{ij} \le 1, \quad
    \sum_{ij} y_{ij} = \min(n, k).
    $$

    With n = k it is a permutation matrix. In a rectangle each element of the shorter side is assigned.

    Shape:
        costs and solutions `[..., n, k]`, of any n and k.

    Cost:
        O(min(n, k)²·max(n, k)) on one core, by scipy's `linear_sum_assignment` for one problem after the other: some
        microseconds each for n = k = 10. Costs on another device are copied to the CPU.

    Raises:
        ConfigError: On a call, if scipy is not installed.

    References:
        Crouse: [On implementing 2D rectangular assignment algorithms](https://doi.org/10.1109/TAES.2016.140952), 2016.

    Example:
        >>> import torch
        >>> Assignment()(torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]]))
        tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 0., 1.]])
    """

    _sizes: ClassVar[tuple[str, ...]] = ("n", "k")
    binary: ClassVar[bool] = True

    def _solve(self, costs: Tensor) -> Tensor:
        needs_scipy("Assignment")
        tall = costs.shape[1] > costs.shape[2]
        values = (costs.mT if tall else costs).cpu().double().contiguous()
        columns = torch.from_numpy(_columns(values.numpy())).to(costs.device)
        solutions = torch.zeros(values.shape, dtype=costs.dtype, device=costs.device)
        solutions.scatter_(2, columns[..., None], 1)
        return solutions.mT if tall else solutions

    def _feasible(self, solutions: Tensor) -> Tensor:
        binary = ((solutions == 0) | (solutions == 1)).flatten(1).all(1)
        rows, columns = solutions.sum(2), solutions.sum(1)
        whole = rows.sum(1) == min(solutions.shape[1:])
        return binary & whole & (rows <= 1).all(1) & (columns <= 1).all(1)


def _columns(costs: Any) -> Any:
    """Return the column of each row, [N, n], of costs [N, n, k] with n ≤ k."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    return np.stack([linear_sum_assignment(one)[1] for one in costs]).astype(np.int64)
