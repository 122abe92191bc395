"""Learning the costs of the edges of a spanning tree."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import SpanningTreeConfig
from nlcore_decisions.solvers.spanning_tree import SpanningTree

__all__ = ["SpanningTreeLoss"]


class SpanningTreeLoss(ProblemLoss, id="decisions/spanning_tree-v1", config=SpanningTreeConfig):
    r"""Loss of the spanning tree of least cost; costs on the edges of an undirected graph, of any sign.

    The solutions are 1 on the V − 1 edges of a tree.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges in the order of `edges`, or values with `sense="maximise"`.
        - target: `[batch, E]`, 1 on the edges of the true tree; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Spanning trees, as many as the method needs: see `SpanningTree`.

    Reference:
        `SpanningTree`; the reference of the method.
    """

    edges: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

    def _make_solver(self) -> SpanningTree:
        return SpanningTree(self.edges)
