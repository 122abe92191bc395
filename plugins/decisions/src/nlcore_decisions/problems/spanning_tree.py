"""Learning the costs of the edges of a spanning tree."""

from __future__ import annotations

from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import SpanningTreeConfig
from nlcore_decisions.solvers.spanning_tree import SpanningTree

__all__ = ["SpanningTreeLoss"]


class SpanningTreeLoss(ProblemLoss, id="decisions/spanning_tree-v1", config=SpanningTreeConfig):
    r"""Loss of the spanning tree of least cost; costs on the edges of an undirected graph, of any sign.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^E \text{ on the edges of a spanning tree} \}.
    $$

    The prediction holds the costs c, or with `sense="maximise"` values, whose negative is c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, E]`, the costs of the edges in the order of `edges`, or values with `sense="maximise"`.
        - target: `[batch, E]`, 1 on the edges of the true tree; **the true values or costs** for `spo_plus`, the
          ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve takes O(E log V) for V nodes and E edges, and the method states how many it needs.

    When it fails:
        Trees exchange one edge at a time, so few samples of noise leave most edges without a gradient where costs are
        far apart.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
    """

    edges: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

    def _make_solver(self) -> SpanningTree:
        return SpanningTree(self.edges)
