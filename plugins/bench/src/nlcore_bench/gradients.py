"""The gradient of a method: the protocol of an `update`, and a criterion with a backward pass."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nlcore_bench.tasks.base import Batch

__all__ = ["Backward", "Gradient"]


class Gradient(Protocol):
    """The gradient that a method's `update` makes: `update(loss, network, **options)` returns such a function."""

    def __call__(self, batch: Batch, target: Any) -> Tensor:
        """Add to the gradient of every parameter, and return the mean loss, a scalar.

        Args:
            batch: The batch.
            target: That of its targets which the loss receives.
        """
        ...


class Backward:
    """The gradient by a criterion and a backward pass.

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
        """[batch], after a step, the norm that each sample's prediction has received times the batch size."""
        gradient = self._prediction.grad
        if gradient is None:
            raise RuntimeError("there is no gradient before a watched step")
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
