"""Learning to choose k of n."""

from __future__ import annotations

from nlcore_decisions.config import Sense
from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import TopKConfig
from nlcore_decisions.solvers.top_k import TopK

__all__ = ["TopKLoss"]


class TopKLoss(ProblemLoss, id="decisions/top_k-v1", config=TopKConfig):
    r"""Loss of the k best of n elements: a network predicts values, and the k largest are taken.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^n, \quad \sum_i y_i = k \}.
    $$

    The prediction holds values, whose negative is c, or with `sense="minimise"` the costs c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, n]`, the values, or costs with `sense="minimise"`; any n ≥ k.
        - target: `[batch, n]`, 1 on the elements to take; **the true values or costs** for `spo_plus`, the
          ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        An exact solve is a sort, O(n log n).

    When it fails:
        If the values around the k-th largest are far apart compared with `sigma`, no perturbation changes the subset,
        and the gradient is that of a perceptron.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.
    """

    k: int = 1
    sense: Sense = "maximise"

    def _make_solver(self) -> TopK:
        return TopK(self.k)

    @property
    def _example_shape(self) -> tuple[int, ...]:
        return (self.k + 4,)
