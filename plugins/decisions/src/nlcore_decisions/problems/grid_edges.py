"""Learning the costs of the edges of a grid."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import GridEdgesConfig
from nlcore_decisions.solvers.grid_edges import GridEdges

__all__ = ["GridEdgesLoss"]


class GridEdgesLoss(ProblemLoss, id="decisions/grid_edges-v1", config=GridEdgesConfig):
    r"""Loss of the shortest path through a grid with costs on its edges, which moves right and down.

    The solutions are 1 on the edges of a path from the top-left to the bottom-right node; costs may be negative.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges, row by row: the horizontal ones, then those to the next row.
        - target: `[batch, E]`, 1 on the edges of the true path; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Shortest paths, as many as the method needs: see `GridEdges`.

    Reference:
        `GridEdges`; the reference of the method.
    """

    height: int = 5
    width: int = 5

    def _make_solver(self) -> GridEdges:
        return GridEdges(self.height, self.width)
