"""Learning the costs of an assignment."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import AssignmentConfig
from nlcore_decisions.solvers.assignment import Assignment

__all__ = ["AssignmentLoss"]


class AssignmentLoss(ProblemLoss, id="decisions/assignment-v1", config=AssignmentConfig):
    r"""Loss of an assignment: a network predicts a matrix of costs, and each row gets a column of its own.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^{n \times k}, \quad \sum_j y_{ij} \le 1, \quad \sum_i y_{ij} \le 1, \quad
    \sum_{ij} y_{ij} = \min(n, k) \}.
    $$

    With n = k these are the permutation matrices.

    The prediction holds the costs c, or with `sense="maximise"` values, whose negative is c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, n, k]`, the costs, or values with `sense="maximise"`; any n and k.
        - target: `[batch, n, k]`, 1 where row and column belong together; **the true values or costs** for `spo_plus`,
          the ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve takes O(min(n, k)²·max(n, k)), one sample after the other, and the method states how
        many it needs.

    When it fails:
        An assignment has n² costs and one solution a sample: large matrices need more samples of noise. Ties are broken
        by scipy.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
    """

    def _make_solver(self) -> Assignment:
        return Assignment()

    @property
    def _example_shape(self) -> tuple[int, ...]:
        return (4, 4)
