"""Learning to choose k of n."""

from __future__ import annotations

from nlcore_decisions.config import Sense
from nlcore_decisions.problems._base import ProblemLoss
from nlcore_decisions.problems.config import TopKConfig
from nlcore_decisions.solvers.top_k import TopK

__all__ = ["TopKLoss"]


class TopKLoss(ProblemLoss, id="decisions/top_k-v1", config=TopKConfig):
    r"""Loss of the k best of n elements: a network predicts values, and the k largest are taken.

    The solutions are $y \in \{0, 1\}^n$ with $\sum_i y_i = k$.

    `method` is how it is trained: its page, and that of its options, is the class of the method's name, which also
    takes solvers of one's own.

    Shape:
        - prediction: `[batch, n]`, the values, or costs with `sense="minimise"`; any n ≥ k.
        - target: `[batch, n]`, 1 on the elements that should be taken; **the true values or costs** for `spo_plus`, the
          ranking methods and `objective="regret"`.
        - value: that of the method.

    Cost:
        A sort for each solution that the method needs.

    Reference:
        `TopK`; the reference of the method.
    """

    k: int = 1
    sense: Sense = "maximise"

    def _make_solver(self) -> TopK:
        return TopK(self.k)

    @property
    def _example_shape(self) -> tuple[int, ...]:
        return (self.k + 4,)
