"""Learning the costs of the edges of a directed acyclic graph."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import DagPathConfig
from nlcore_decisions.solvers.dag_path import DagPath

__all__ = ["DagPathLoss"]


class DagPathLoss(ProblemLoss, id="decisions/dag_path-v1", config=DagPathConfig):
    r"""Loss of the shortest path in a directed acyclic graph; costs on edges, of any sign.

    The solutions are 1 on the edges of a path from `source` to `goal`.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges in the order of `edges`, or values with `sense="maximise"`.
        - target: `[batch, E]`, 1 on the edges of the true path; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Shortest paths, as many as the method needs: see `DagPath`.

    Reference:
        `DagPath`; the reference of the method.
    """

    edges: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4))
    source: int = 0
    goal: int = 4

    def _make_solver(self) -> DagPath:
        return DagPath(self.edges, source=self.source, goal=self.goal)
