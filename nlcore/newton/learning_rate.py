"""The effective learning rate of an optimiser whose steps are proportional to the gradient, as SGD's are.

Under such an optimiser a direction twice as long makes a step twice as long. Adam, Muon and SOAP divide by the lengths
of the gradients so far, each in its own way. It is seen at the parameters, and includes any clipping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["EffectiveLearningRate", "entries"]

_SHARE = 0.9
"""Share of the squared change of the parameters that is along the change asked for, each parameter by itself, from
which the steps count as proportional. For normal numbers, 2/π of Adam's first step is along the gradient."""

_ENTRIES = 256
"""Entries of a parameter that are compared, up to twice as many."""


class EffectiveLearningRate:
    """How far a step changes the parameters, relative to the change that its direction asks for.

    Attributes:
        value: The largest ratio seen so far; zero if the first step was not proportional, `None` before it.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._leaves: Sequence[Tensor] = ()
        self._before: Tensor | None = None
        self._asked: Mapping[int, Tensor] = {}
        self._taken: tuple[Tensor, float] | None = None

    @property
    def wanted(self) -> bool:
        """Whether further steps are to be looked at."""
        return self.value is None or self.value > 0

    def ask(self, leaves: Sequence[Tensor], asked: Mapping[int, Tensor]) -> None:
        """Keep a few entries of the parameters before a step.

        Args:
            leaves: The parameters.
            asked: By direction, the `entries` of the change of the parameters that a step of unit length asks for.
        """
        self._leaves, self._before, self._asked, self._taken = leaves, entries(leaves), asked, None

    def see(self, direction: int, length: float) -> None:
        """Compare the change of the parameters since `ask` with the one asked for; wait if there is none yet.

        An optimiser that steps once for several batches has not moved them.

        Args:
            direction: The direction of the step after `ask`.
            length: The length of that step.
        """
        if self._before is None:
            return
        asked, length = self._taken = self._taken or (self._asked[direction], length)
        now, before = entries(self._leaves), self._before
        if now.shape == before.shape and now.device == before.device:  # not if the network was moved or resized
            moved, sizes = now - before, [_few(leaf).numel() for leaf in self._leaves]
            products = torch.stack([moved * asked, asked.square(), moved.square()]).double().cpu()
            along, whole, change = torch.stack([one.sum(1) for one in products.split(sizes, 1)], 1)
            if not bool(change.any()):
                return
            several = torch.tensor(sizes, device="cpu") > 1  # one entry is always along what was asked for
            self._judge(along[several], whole[several], change[several], length)
        self._leaves, self._before, self._asked = (), None, {}

    def _judge(self, along: Tensor, whole: Tensor, change: Tensor, length: float) -> None:
        explained = torch.where(whole > 0, along.square() / whole, 0.0).sum() / change.sum()
        if not length > 0:
            return
        if self.value or float(explained) >= _SHARE:
            self.value = max(self.value or 0.0, -float(along.sum() / whole.sum()) / length)  # a NaN does not count
        elif self.value is None:
            self.value = 0.0

    def farthest(self, reach: float) -> float:
        """Return the length of a step to the best point of a line search; infinity if steps are not proportional.

        Args:
            reach: The length of the change of the outputs to that point, per unit of the effective learning rate.
        """
        return reach / self.value if self.value else math.inf


def entries(tensors: Sequence[Tensor]) -> Tensor:
    """Return a few entries of each tensor, spread evenly, as one float32 vector."""
    return torch.cat([_few(one).to(tensors[0].device) for one in tensors])


def _few(tensor: Tensor) -> Tensor:
    flat = tensor.detach().flatten()
    flat = flat[:: max(1, flat.numel() // _ENTRIES)]
    return (torch.view_as_real(flat).flatten() if flat.is_complex() else flat).float()
