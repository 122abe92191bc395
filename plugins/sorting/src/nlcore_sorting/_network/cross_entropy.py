"""The loss of a sorting network as a kernel: from probabilities in float64, where they have not lost their digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore_sorting._cross_entropy import LEAST
from nlcore_sorting._dispatch import Kernel
from nlcore_sorting._lists import real_items
from nlcore_sorting.config import Objective

__all__ = ["CrossEntropy", "CrossEntropyKernel"]


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """A cross-entropy of P: of the whole of it, [batch, n, n], or of its entries at the true places, [batch, 1, n].

    The complement of an entry above ½, of which a row has at most one, is the sum of the others; subtracting it from 1
    would round to 0 where the row is sharp.

    Attributes:
        objective: `"rows"`, which reads the entries at the true places alone, or `"entries"`.
        target: [batch, n], int64, the place of every item.
        length: [batch, 1], the number of real items of every list; `None` for all.
    """

    objective: Objective
    target: Tensor
    length: Tensor | None = None

    def values(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the smallest probability at a true place of every list, both [batch]."""
        p = self._filled(p)
        if self.objective == "rows":
            factors = true = p
        else:
            places = self.target.unsqueeze(-2)
            true = p.gather(-2, places)
            factors = _complement(p)[0].scatter_(-2, places, true)
        return -factors.clamp(min=LEAST).log_().sum(dim=(-2, -1)) / self._count(p), true.amin(dim=(-2, -1))

    def slopes(self, p: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative with respect to P, given that with respect to the losses, [batch]; 0 at padding."""
        padding, scale = self._padding(p), (grad / self._count(p)).view(-1, 1, 1)
        p = self._filled(p)
        if self.objective == "rows":
            slope = -scale / p.clamp(min=LEAST)
        else:
            (slope, large, others), places = _complement(p), self.target.unsqueeze(-2)
            large.scatter_(-2, places, False)
            slope = slope.reciprocal_().masked_fill_(large, 0.0)
            slope.scatter_(-2, places, -1 / p.gather(-2, places).clamp(min=LEAST))
            shared = torch.where(large.any(dim=-1, keepdim=True), 1 / others, 0.0)
            slope = slope.sub_(shared.expand_as(slope).masked_fill(large, 0.0)).mul_(scale)
        return slope if padding is None else slope.masked_fill_(padding, 0.0)

    def bends(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the roots of the second derivatives with respect to P, which are not negative; 0 at padding.

        They are diagonal, except where the complement of an entry is the sum of the others of its row.

        Returns:
            Those with respect to the entries, like `p`; where an entry is such a complement, like `p`; and the one with
            respect to the sum of the others, [batch, n, 1], 0 in rows without one.
        """
        padding, scale = self._padding(p), self._count(p) ** -0.5
        scale = scale.view(-1, 1, 1) if isinstance(scale, Tensor) else scale
        p = self._filled(p)
        root, large, others = _complement(p)
        if self.objective == "rows":
            root, large = p.clamp(min=LEAST).reciprocal_(), torch.zeros_like(large)
        else:
            places = self.target.unsqueeze(-2)
            large.scatter_(-2, places, False)
            root = root.reciprocal_().masked_fill_(large, 0.0)
            root.scatter_(-2, places, 1 / p.gather(-2, places).clamp(min=LEAST))
        rest = torch.where(large.any(dim=-1, keepdim=True), scale / others, 0.0)
        return root.mul_(scale) if padding is None else root.mul_(scale).masked_fill_(padding, 0.0), large, rest

    def _count(self, p: Tensor) -> Tensor | int:
        """Return the number of terms of a loss, [batch] or the same for all."""
        n: Tensor | int = p.shape[-1] if self.length is None else self.length.squeeze(-1).clamp(min=1).to(p.dtype)
        return n if self.objective == "rows" else n * n

    def _filled(self, p: Tensor) -> Tensor:
        """Return P with the rows and columns of padding replaced by those of the true matrix."""
        padding = self._padding(p)
        if padding is None:
            return p
        places = torch.arange(p.shape[-2], device=p.device).unsqueeze(-1)
        return torch.where(padding, (self.target.unsqueeze(-2) == places) | (p.shape[-2] == 1), p)

    def _padding(self, p: Tensor) -> Tensor | None:
        """Return where the place or the item is padding; of the entries at true places, a single row, the item."""
        if self.length is None:
            return None
        padded = ~real_items(self.length, p.shape[-1])
        return padded.unsqueeze(-2) if p.shape[-2] == 1 else padded.unsqueeze(-2) | padded.unsqueeze(-1)


def _complement(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 − P to full relative precision, where P is above ½, and the sum of every row without such an entry."""
    large = p > 0.5
    others = p.masked_fill(large, 0.0).sum(dim=-1, keepdim=True).clamp(min=LEAST)
    return torch.where(large, others, 1 - p), large, others


@dataclass(frozen=True, slots=True)
class CrossEntropyKernel:
    """The loss of a sorting network as a `Kernel`. Lists that have lost digits are left to the logarithms.

    Attributes:
        network: Computes what the loss reads of P.
        loss: Of P.
        plain: The loss of some lists: their scores [c, n], and their indices [c].
    """

    network: Kernel
    loss: CrossEntropy
    plain: Callable[[Tensor, Tensor], Tensor]

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the losses [batch] of `scores` [batch, n], and P, the indices of lost lists, and the network's own."""
        p, kept = self.network.forward(scores.double(), keep=keep)
        losses, least = self.loss.values(p)
        value, lost = losses.to(scores.dtype), (least < LEAST).nonzero().squeeze(-1)
        if lost.numel():
            value[lost] = self.plain(scores[lost], lost)
        return value, (scores, p, lost, *kept)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative with respect to the scores, given that with respect to the losses."""
        scores, p, lost, *rest = kept
        result = self.network.backward(self.loss.slopes(p, grad.double()), rest).to(grad.dtype)
        if lost.numel():
            result[lost] = torch.func.vjp(lambda s: self.plain(s, lost), scores[lost])[1](grad[lost])[0]
        return result
