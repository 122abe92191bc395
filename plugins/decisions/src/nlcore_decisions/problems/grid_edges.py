"""Learning the costs of the edges of a grid."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import GridEdgesConfig
from nlcore_decisions.solvers.grid_edges import GridEdges

__all__ = ["GridEdgesLoss"]


class GridEdgesLoss(ProblemLoss, id="decisions/grid_edges-v1", config=GridEdgesConfig):
    r"""Loss of the shortest path through a grid with costs on its edges, which moves right and down.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^E \text{ on the edges of a path from the top left to the bottom right} \}.
    $$

    A path moves right and down; costs may be negative.

    The prediction holds the costs c, or with `sense="maximise"` values, whose negative is c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges, row by row: the horizontal ones, then those to the next row.
        - target: `[batch, E]`, 1 on the edges of the true path; **the true values or costs** for `spo_plus`, the
          ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve takes O(height · width), and the method states how many it needs.

    When it fails:
        Several paths can have the least cost: judge a prediction by its regret, not by whether it is the same path.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
    """

    height: int = 5
    width: int = 5

    def _make_solver(self) -> GridEdges:
        return GridEdges(self.height, self.width)
