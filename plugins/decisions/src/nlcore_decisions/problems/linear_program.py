"""Learning the costs of a linear program."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import LinearProgramConfig
from nlcore_decisions.solvers.linear_program import LinearProgram

__all__ = ["LinearProgramLoss"]


class LinearProgramLoss(ProblemLoss, id="decisions/linear_program-v1", config=LinearProgramConfig):
    r"""Loss of a linear program, with integers or without: a network predicts the objective.

    The solutions are $y$ with $A_{ub} y \le b_{ub}$, $A_{eq} y = b_{eq}$ and within the bounds; where asked
    for, of integers.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, m]`, the costs of the variables, or values with `sense="maximise"`.
        - target: `[batch, m]`, the true solution; **the true values or costs** for `spo_plus`, the ranking methods and
          `objective="regret"`.
        - value: that of the method.

    Cost:
        HiGHS, as often as the method needs: see `LinearProgram`.

    Reference:
        `LinearProgram`; the reference of the method.
    """

    A_ub: tuple[tuple[float, ...], ...] | None = None
    b_ub: tuple[float, ...] | None = None
    A_eq: tuple[tuple[float, ...], ...] | None = ((1.0, 1.0, 1.0, 1.0),)
    b_eq: tuple[float, ...] | None = (2.0,)
    bounds: tuple[float | None, float | None] | tuple[tuple[float | None, float | None], ...] = (0.0, 1.0)
    integer: bool | tuple[bool, ...] = False
    workers: int = 0

    def _make_solver(self) -> LinearProgram:
        return LinearProgram(
            A_ub=self.A_ub,
            b_ub=self.b_ub,
            A_eq=self.A_eq,
            b_eq=self.b_eq,
            bounds=self.bounds,
            integer=self.integer,
            workers=self.workers,
        )
