"""Criteria of training: the mean of a loss, and a criterion of flattened predictions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["FlatLoss", "MeanLoss", "mask_option"]


class MeanLoss(nn.Module):
    """The mean of a loss over the batch, for methods without curvature.

    Args:
        loss: `(prediction, target) -> [batch]`, with `mask=` if the batch has one.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prediction: Tensor, target: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the mean loss, a scalar."""
        losses: Tensor = self.loss(prediction, target, **mask_option(mask))
        return losses.mean()


class FlatLoss(nn.Module):
    """A criterion of [batch, m] for predictions of more dimensions, such as maps.

    Args:
        criterion: `(prediction, target) -> scalar`.
    """

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the criterion of prediction and target, [batch, *event] each."""
        loss: Tensor = self.criterion(prediction.flatten(1), target.flatten(1))
        return loss


def mask_option(mask: Tensor | None) -> dict[str, Tensor]:
    """Return the keyword argument of a mask; nothing without one."""
    return {} if mask is None else {"mask": mask}
