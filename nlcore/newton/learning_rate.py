"""The effective learning rate of an optimiser whose steps are proportional to the gradient, as SGD's are.

Under such an optimiser a direction twice as long makes a step twice as long. Adam, Muon and SOAP divide by the lengths
of the gradients so far, each in its own way. The learning rate is measured at the parameters, and includes any
clipping. With momentum, an update repeats a share of the update before it, which is subtracted first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["EffectiveLearningRate", "entries"]

_SHARE = 0.9
"""Share of the squared change of the parameters that is along the change asked for, each parameter by itself, from
which the steps count as proportional. For normal numbers, 2/π of Adam's first step is along the gradient."""

_ENTRIES = 256
"""Entries of a parameter that are compared, up to twice as many."""

_APART = 1e-6
"""Smallest part of the squared last update that is orthogonal to the change asked for; below it, the two changes cannot
be distinguished, and momentum counts as zero."""


class EffectiveLearningRate:
    """How far a step changes the parameters, relative to the change that its direction asks for.

    Attributes:
        value: The largest ratio seen so far; zero if the first step was not proportional, `None` before it.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._leaves: Sequence[Tensor] = ()
        self._earlier: Tensor | None = None
        self._before: Tensor | None = None
        self._asked: Tensor | None = None
        self._length: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether further steps are to be looked at."""
        return self.value is None or self.value > 0

    def remember(self) -> None:
        """Keep a few entries of the parameters at the step before a probe, so that its update is known there."""
        self._earlier = entries(self._leaves) if self._leaves and self.wanted else None

    def ask(self, leaves: Sequence[Tensor], asked: Tensor) -> None:
        """Keep a few entries of the parameters before a step.

        Args:
            leaves: The parameters.
            asked: The `entries` of the change of the parameters that a step of unit length asks for.
        """
        self._leaves, self._before, self._asked, self._length = leaves, entries(leaves), asked, None

    def see(self, length: float) -> None:
        """Compare the change of the parameters since `ask` with the one asked for; wait if there is none yet.

        An optimiser that steps once for several batches has not moved them.

        Args:
            length: The length of the last step.
        """
        if self._before is None or self._asked is None:
            return
        self._length = length if self._length is None else self._length
        now, before = entries(self._leaves), self._before
        if _comparable(now, before):  # not if the network was moved or resized
            sizes = [_few(leaf).numel() for leaf in self._leaves]
            earlier = before if self._earlier is None else self._earlier
            last = before - earlier if _comparable(earlier, before) else torch.zeros_like(before)
            changes = torch.stack([now - before, self._asked, last]).double()
            products = torch.stack([part @ part.T for part in changes.cpu().split(sizes, 1)])
            if not bool(products[:, 0, 0].any()):
                return
            several = torch.tensor(sizes, device="cpu") > 1  # one entry is always along what was asked for
            self._judge(products[several], self._length)
        self._earlier = self._before = self._asked = None
        if not self.wanted:
            self._leaves = ()

    def _judge(self, products: Tensor, length: float) -> None:
        """Fit the ratio by least squares: a change is a multiple of the one asked for, plus a share of the last update.

        The multiple is fitted for each parameter, the share for all of them together.

        Args:
            products: [parameters, 3, 3], the inner products of three vectors for each parameter: its change, the change
                asked for, and the last update.
            length: The length of the step.
        """
        if not length > 0:
            return
        along, whole, repeated = products[:, 0, 1], products[:, 1, 1], products[:, 1, 2]
        inverse = torch.where(whole > 0, 1 / whole, 0.0)
        explained = (along.square() * inverse).sum() / products[:, 0, 0].sum()
        if self.value is None and not float(explained) >= _SHARE:
            self.value = 0.0
            return
        last, apart = products[:, 2, 2].sum(), (products[:, 2, 2] - repeated.square() * inverse).sum()
        share = (products[:, 0, 2] - along * repeated * inverse).sum() / apart if apart > _APART * last else 0.0
        ratio = float((share * repeated - along).sum() / whole.sum()) / length
        self.value = max(self.value or 0.0, ratio)  # a NaN does not count

    def farthest(self, reach: float) -> float:
        """Return the length of a step to the best point of a line search; infinity if steps are not proportional.

        Args:
            reach: The length of the change of the outputs to that point, per unit of the effective learning rate.
        """
        return reach / self.value if self.value else math.inf


def _comparable(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device


def entries(tensors: Sequence[Tensor]) -> Tensor:
    """Return a few entries of each tensor, spread evenly, as one float32 vector."""
    return torch.cat([_few(one).to(tensors[0].device) for one in tensors])


def _few(tensor: Tensor) -> Tensor:
    flat = tensor.detach().flatten()
    flat = flat[:: max(1, flat.numel() // _ENTRIES)]
    return (torch.view_as_real(flat).flatten() if flat.is_complex() else flat).float()
