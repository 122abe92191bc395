"""Learning the costs of the edges of a graph."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import GraphPathConfig
from nlcore_decisions.solvers.graph_path import GraphPath

__all__ = ["GraphPathLoss"]


class GraphPathLoss(ProblemLoss, id="decisions/graph_path-v1", config=GraphPathConfig):
    r"""Loss of the shortest path in a directed graph with cycles, such as roads; costs on edges.

    The solutions are 1 on the edges of a path from `source` to `goal`. Predicted costs have to be positive where there
    are cycles: for a network's output, use torch.nn.functional.softplus(output) + 1e-2. Costs that the method changes
    are kept above `min_cost`; multiplicative noise needs no such bound.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges in the order of `edges`.
        - target: `[batch, E]`, 1 on the edges of the true path; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Shortest paths, as many as the method needs: see `GraphPath`.

    Reference:
        `GraphPath`; the reference of the method.
    """

    edges: tuple[tuple[int, int], ...] = (
        *((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)),
    )
    source: int = 0
    goal: int = 3
    min_cost: float | None = 1e-3

    def _make_solver(self) -> GraphPath:
        return GraphPath(self.edges, source=self.source, goal=self.goal)
