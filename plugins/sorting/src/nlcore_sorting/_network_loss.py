"""The loss of a sorting network as a kernel: from probabilities in float64, where they have not lost their digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nlcore_sorting._crossentropy import entry_cross_entropy
from nlcore_sorting._served import Kernel
from nlcore_sorting.config import Objective

__all__ = ["LEAST", "CrossEntropy", "CrossEntropyKernel", "LogCrossEntropy"]

LEAST = 1e-280
"""Digits are lost below; from here on, paths through a network that float64 rounds to 0 have no share in its matrix."""


class CrossEntropy(Protocol):
    """A loss of P: of the whole of it, [batch, n, n], or of its entries at the true places, [batch, 1, n]."""

    def values(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the smallest probability at a true place of every list, both [batch]."""
        ...

    def slopes(self, p: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative by P, given that by the losses, [batch]."""
        ...


@dataclass(frozen=True, slots=True)
class LogCrossEntropy:
    """A loss of P in torch alone, from its logarithms.

    Attributes:
        objective: Of the rows, from the entries at the true places, or of all entries.
        target: [batch, n], int64, the place of every item.
    """

    objective: Objective
    target: Tensor

    def values(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the smallest probability at a true place of every list, both [batch]."""
        true = p if self.objective == "rows" else p.gather(-2, self.target.unsqueeze(-2))
        return self._value(p), true.amin(dim=(-2, -1))

    def slopes(self, p: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative by P, given that by the losses, [batch]."""
        with torch.enable_grad():
            leaf = p.detach().requires_grad_()
            return torch.autograd.grad(self._value(leaf), leaf, grad)[0]

    def _value(self, p: Tensor) -> Tensor:
        logs = p.clamp(min=LEAST).log()
        return -logs.mean(dim=(-2, -1)) if self.objective == "rows" else entry_cross_entropy(logs, self.target)


@dataclass(frozen=True, slots=True)
class CrossEntropyKernel:
    """The loss of a sorting network as a `Kernel`. Lists that have lost digits are left to the logarithms.

    Attributes:
        network: Computes of P what the loss looks at.
        loss: Of P.
        plain: The loss of some lists: their scores [c, n], and their indices [c].
    """

    network: Kernel
    loss: CrossEntropy
    plain: Callable[[Tensor, Tensor], Tensor]

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the losses [batch] of `scores` [batch, n], and P, the indices of lists that are lost, and the rest."""
        p, kept = self.network.forward(scores.double(), keep=keep)
        losses, least = self.loss.values(p)
        value, lost = losses.to(scores.dtype), (least < LEAST).nonzero().squeeze(-1)
        if lost.numel():
            value[lost] = self.plain(scores[lost], lost)
        return value, (scores, p, lost, *kept)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the losses."""
        scores, p, lost, *rest = kept
        result = self.network.backward(self.loss.slopes(p, grad.double()), rest).to(grad.dtype)
        if lost.numel():
            result[lost] = torch.func.vjp(lambda s: self.plain(s, lost), scores[lost])[1](grad[lost])[0]
        return result
