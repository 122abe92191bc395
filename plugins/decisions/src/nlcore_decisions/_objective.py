"""Losses of a solution, for the methods that differentiate a solver rather than a loss."""

from __future__ import annotations

from torch import Tensor

from nlcore_decisions._base import EstimatedLoss, Truth, inner_product
from nlcore_decisions.config import Objective
from nlcore_decisions.estimated_decision_loss import EstimatedDecisionLoss

__all__ = ["ComparingLoss", "ObjectiveLoss"]


class ComparingLoss(EstimatedLoss):
    """A loss of solutions, by default the number of elements in which solutions of zeros and ones differ."""

    @property
    def _objective(self) -> Objective:
        return "hamming"

    def _compare(self, found: Tensor, truth: Truth) -> Tensor:
        """Return the loss of solutions [..., N, *event], [..., N]."""
        target, ndim = truth.the_solution, self._ndim
        if self._objective == "hamming":
            return inner_product(1 - 2 * target, found, ndim) + target.flatten(1).sum(1)
        if self._objective == "squared_error":
            return (found - target).square().sum(dim=tuple(range(-ndim, 0)))
        return inner_product(truth.the_costs, found - target, ndim)

    def _slope(self, found: Tensor, truth: Truth) -> Tensor:
        """Return the derivative with respect to the solutions, of a shape that broadcasts with them."""
        fixed = self._fixed_slope(truth)
        return 2 * (found - truth.the_solution) if fixed is None else fixed

    def _fixed_slope(self, truth: Truth) -> Tensor | None:
        """Return the derivative of a loss that is linear in the solution, [N, *event], else None."""
        if self._objective == "hamming":
            return 1 - 2 * truth.the_solution
        return truth.the_costs if self._objective == "regret" else None

    def _before_and_after(self, truth: Truth, solved: Tensor, costs: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Return the solutions of costs, and those after a step along the slope of the loss.

        Args:
            truth: The target.
            solved: [N, *event] or [S, N, *event], the costs whose solutions are the first.
            costs: Of the same shape, where the step begins.
            length: Length of the step, in units of the slope.
        """
        fixed = self._fixed_slope(truth)
        if fixed is not None:  # both by one call of the solver
            now, then = self._solutions(truth, solved, self._changed(costs + length * fixed))
            return now, then
        (now,) = self._solutions(truth, solved)
        slope = self._slope(now if now.ndim == self._ndim + 1 else now.mean(0), truth)
        (then,) = self._solutions(truth, self._changed(costs + length * slope))
        return now, then


class ObjectiveLoss(ComparingLoss, EstimatedDecisionLoss):
    """Base of the methods with an option `objective`."""

    objective: Objective

    @property
    def _objective(self) -> Objective:
        return self.objective

    @property
    def _wants(self) -> tuple[str, ...]:
        return ("costs", "solution") if self.objective == "regret" else ("solution",)
