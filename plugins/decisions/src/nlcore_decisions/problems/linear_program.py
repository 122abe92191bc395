"""Learning the costs of a linear program."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import LinearProgramConfig
from nlcore_decisions.solvers.linear_program import LinearProgram

__all__ = ["LinearProgramLoss"]


class LinearProgramLoss(ProblemLoss, id="decisions/linear_program-v1", config=LinearProgramConfig):
    r"""Loss of a linear program, with integers or without: a network predicts the objective.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : A_{ub} y \le b_{ub}, \quad A_{eq} y = b_{eq}, \quad l \le y \le u \}.
    $$

    With `integer`, variables are whole numbers.

    The prediction holds the costs c, or with `sense="maximise"` values, whose negative is c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, m]`, the costs of the variables, or values with `sense="maximise"`.
        - target: `[batch, m]`, the true solution; **the true values or costs** for `spo_plus`, the ranking methods,
          `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve is a call of HiGHS, one sample after the other with integers, and the method states how many
        it needs.

    When it fails:
        A problem that is unbounded for some costs is an error that names the samples: give bounds. For solutions
        between 0 and 1 "hamming" is not a distance: use `objective="squared_error"`.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
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
