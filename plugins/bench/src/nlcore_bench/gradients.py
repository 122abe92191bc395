"""The gradient of a method: the protocol of an `update`, and a criterion with a backward pass."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nlcore_bench.tasks.base import Batch

__all__ = ["Backward", "Gradient"]


class Gradient(Protocol):
    """The gradient of a method with `update`: a function that `update(loss, network, **options)` returns."""

    def __call__(self, batch: Batch, target: Any) -> Tensor:
        """Add to the gradient of every parameter, and return the mean loss, a scalar.

        Args:
            batch: The batch.
            target: The target that the loss receives, one of `batch.targets()`.
        """
        ...


class Backward:
    """The gradient of a criterion, by a backward pass.

    Args:
        network: The network.
        criterion: `(prediction, target) -> scalar`.

    Attributes:
        watched: Whether the gradient that the prediction receives is kept for `received`.
    """

    def __init__(self, network: nn.Module, criterion: nn.Module) -> None:
        self.network, self.criterion = network, criterion
        self.state_dict, self.load_state_dict = criterion.state_dict, criterion.load_state_dict
        self.watched = False
        self._prediction = torch.empty(0)

    @property
    def received(self) -> Tensor:
        """[batch], the norms of the gradients that the predictions received in the last step, times the batch size."""
        gradient = self._prediction.grad
        if gradient is None:
            raise RuntimeError("set `watched` and take a step before reading `received`")
        norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return len(gradient) * norms

    def __call__(self, batch: Batch, target: Any) -> Tensor:
        """Add to the gradient of every parameter, and return the mean loss, a scalar."""
        prediction = self.network(batch.inputs)
        value: Tensor = self.criterion(prediction, target, **batch.options)
        if math.isfinite(value.item()):
            if self.watched:
                self._prediction = prediction
                prediction.retain_grad()
            value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    @property
    def pending(self) -> bool:
        """Whether a probe of the network waits for the next batch."""
        return bool(getattr(self.criterion, "pending", False))
