"""The loss of a sorting network as a kernel: from probabilities in float64, where they have not lost their digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nlcore_sorting._dispatch import Kernel
from nlcore_sorting.config import Objective

__all__ = ["LEAST", "CrossEntropy", "CrossEntropyKernel", "PlainCrossEntropy"]

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
class PlainCrossEntropy:
    """A loss of P in torch alone.

    Attributes:
        objective: Of the rows, from the entries at the true places, or of all entries.
        target: [batch, n], int64, the place of every item.
    """

    objective: Objective
    target: Tensor

    def values(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the smallest probability at a true place of every list, both [batch]."""
        if self.objective == "rows":
            return -p.clamp(min=LEAST).log().mean(dim=(-2, -1)), p.amin(dim=(-2, -1))
        places = self.target.unsqueeze(-2)
        factors = _complement(p)[0].scatter_(-2, places, p.gather(-2, places).clamp(min=LEAST))
        return -factors.log_().mean(dim=(-2, -1)), p.gather(-2, places).amin(dim=(-2, -1))

    def slopes(self, p: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative by P, given that by the losses, [batch]."""
        scale = grad.view(-1, 1, 1) / p[0].numel()
        if self.objective == "rows":
            return -scale / p.clamp(min=LEAST)
        complement, top, others = _complement(p)
        wrong = top != self.target.argsort(dim=-1).unsqueeze(-1)
        places = self.target.unsqueeze(-2)
        slope = complement.reciprocal_().scatter_(-2, places, -1 / p.gather(-2, places).clamp(min=LEAST))
        slope -= torch.where(wrong, 1 / others, 0.0)  # of the largest entry the others are the complement
        return slope.scatter_(-1, top, torch.where(wrong, 0.0, slope.gather(-1, top))).mul_(scale)


def _complement(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 − P to full relative precision, the largest entry of every row, and the sum of the others."""
    top = p.argmax(dim=-1, keepdim=True)
    others = p.scatter(-1, top, 0.0).sum(dim=-1, keepdim=True).clamp(min=LEAST)
    return (1 - p).scatter_(-1, top, others), top, others


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
