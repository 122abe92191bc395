"""Learning the costs of the edges of a graph."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import GraphPathConfig
from nlcore_decisions.solvers.graph_path import GraphPath

__all__ = ["GraphPathLoss"]


class GraphPathLoss(ProblemLoss, id="decisions/graph_path-v1", config=GraphPathConfig):
    r"""Loss of the shortest path in a directed graph with cycles, such as roads; costs on edges.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^E \text{ on the edges of a path from source to goal} \}.
    $$

    Predicted costs have to be positive where there are cycles: for a network's output, use
    torch.nn.functional.softplus(output) + 1e-2. Costs that the method changes are kept above `min_cost`; multiplicative
    noise needs no such bound.

    The prediction holds the costs c, or with `sense="maximise"` values, whose negative is c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges in the order of `edges`.
        - target: `[batch, E]`, 1 on the edges of the true path; **the true values or costs** for `spo_plus`, the
          ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve takes O(E log V) for costs ≥ 0, and up to O(V·E) for others, for V nodes and E edges; the
        method says how many it needs.

    When it fails:
        Predicted costs with a cycle of negative sum are an error that names it. Changed costs below `min_cost` are set
        to it, which biases the gradients of cheap edges.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
    """

    edges: tuple[tuple[int, int], ...] = (
        *((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)),
    )
    source: int = 0
    goal: int = 3
    min_cost: float | None = 1e-3

    def _make_solver(self) -> GraphPath:
        return GraphPath(self.edges, source=self.source, goal=self.goal)
