"""The base class of the methods that supply their gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore_decisions._base import EstimatedLoss
from nlcore_decisions.decision_loss import DecisionLoss

__all__ = ["EstimatedDecisionLoss"]


class EstimatedDecisionLoss(EstimatedLoss, DecisionLoss):
    """Base of the methods that supply their gradient."""

    def __call__(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, *event], the predicted costs, or values with `sense="maximise"`.
            target: [batch, *event], the true solution or the true costs, whichever the method compares with; or a dict
                with "costs", "solution" or both, which saves a solution where both are needed.
            generator: Source of random numbers of a stochastic loss.
            context: Tensors, batch first, for an argmin that takes a context.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or the first use shows that the argmin does not
                minimise, or the target is not a solution.
            NonFiniteError: A cost is NaN or infinite.
        """
        return self._estimate(prediction, target, generator, context)

    def gradient(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the gradient of each sample's loss as the method defines it.

        Args:
            prediction: [batch, *event], as in the call.
            target: As in the call.
            generator: Random numbers; the same state as for a call gives the same draw.
            context: As in the call.

        Returns:
            [batch, *event], the dtype and device of `prediction`; not differentiable.
        """
        gradient = self._supplied(prediction, target, generator, context)
        return gradient if self._sign == 1 else -gradient
