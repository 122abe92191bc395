"""Learning the values of items for a knapsack."""

from __future__ import annotations

from torch import Tensor

from nlcore_decisions.config import Sense
from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import KnapsackConfig
from nlcore_decisions.solvers.knapsack import Knapsack

__all__ = ["KnapsackLoss"]


class KnapsackLoss(ProblemLoss, id="decisions/knapsack-v1", config=KnapsackConfig):
    r"""Loss of a 0/1 knapsack: a network predicts the values of items, and the most valuable that fit are taken.

    $$
    y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle, \qquad
    Y = \{ y : y \in \{0, 1\}^n, \quad W y \le b \}.
    $$

    W holds the weights of the items and b the capacity, of one or several resources.

    The prediction holds values, whose negative is c, or with `sense="minimise"` the costs c. Let t be the true solution
    and Z standard normal. The loss of the default method is

    $$
    \ell(c, t) = \langle c, t \rangle - \mathbb{E} \min_{y \in Y} \langle c + \sigma Z, y \rangle.
    $$

    `method` selects another loss: `"spo_plus"` is that of the class `nlcore_decisions.SPOPlus`, and so on. The
    reference of these classes gives their formulas, options and number of exact solves. With them you can train through
    a solver of your own.

    Shape:
        - prediction: `[batch, n]`, the values, or costs with `sense="minimise"`.
        - target: `[batch, n]`, 1 on the items to take; **the true values or costs** for `spo_plus`, the
          ranking methods, `objective="regret"`, and `maximum_a_posteriori` with a margin.
        - value: as defined by the method.

    Cost:
        With one resource, and if weights and capacity are whole numbers, an exact solve takes O(n·capacity) or less;
        otherwise it takes exponential time in the worst case. The number of exact solves depends on the method.

    When it fails:
        With `sense="minimise"` the empty knapsack is the best for any positive costs. The solver is exact, and slow for
        hundreds of items with a large capacity.

    Reference:
        Berthet, Blondel, Teboul, Cuturi, Vert, Bach, [Learning with Differentiable Perturbed
        Optimizers](https://arxiv.org/abs/2002.08676), NeurIPS 2020, for the default method.

    Example:
        >>> import torch
        >>> loss = KnapsackLoss(weights=[3, 2, 2], capacity=4, method="spo_plus")
        >>> values = torch.tensor([[6.0, 5.0, 4.0]])
        >>> loss.decide(values), loss(values, values)
        (tensor([[0., 1., 1.]]), tensor([0.]))
    """

    weights: tuple[tuple[float, ...], ...] | tuple[float, ...] = (3.0, 4.0, 5.0, 6.0, 7.0)
    capacity: float | tuple[float, ...] = 12.0
    sense: Sense = "maximise"

    def _make_solver(self) -> Knapsack:
        return Knapsack(self.weights, self.capacity)

    def _random_costs(self, normal: Tensor) -> Tensor:
        return -(normal.abs() + 0.1)
