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

    The solutions are $y \in \{0, 1\}^n$ with $W y \le b$, of one or several resources.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, n]`, the values, or costs with `sense="minimise"`.
        - target: `[batch, n]`, 1 on the items that should be taken; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        Exact knapsacks, as many as the method needs: see `Knapsack`.

    Reference:
        `Knapsack`; the reference of the method.

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
