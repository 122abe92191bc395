"""Learning the costs of an assignment."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import AssignmentConfig
from nlcore_decisions.solvers.assignment import Assignment

__all__ = ["AssignmentLoss"]


class AssignmentLoss(ProblemLoss, id="decisions/assignment-v1", config=AssignmentConfig):
    r"""Loss of an assignment: a network predicts a matrix of costs, and each row gets a column of its own.

    The solutions are permutation matrices, or of a rectangle those that assign the shorter side.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, n, k]`, the costs, or values with `sense="maximise"`; any n and k.
        - target: `[batch, n, k]`, 1 where row and column belong together; **the true values or costs** for `spo_plus`,
          the ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Exact assignments, as many as the method needs: see `Assignment`.

    Reference:
        `Assignment`; the reference of the method.
    """

    def _make_solver(self) -> Assignment:
        return Assignment()

    @property
    def _example_shape(self) -> tuple[int, ...]:
        return (4, 4)
