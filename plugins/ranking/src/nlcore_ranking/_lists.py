"""Lists of items, checked once and padded: what every loss works on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Lists", "descending_places", "laplacian"]


@dataclass(frozen=True, slots=True)
class Lists:
    """A batch of lists in working precision.

    Attributes:
        scores: [batch, n], 0 at padded items, so that these get no gradient.
        relevance: [batch, n], 0 at padded items.
        valid: bool [batch, n], False at padded items.
        mask: The opposite of `valid`; `None` when no mask was given, and all items are real.
    """

    scores: Tensor
    relevance: Tensor
    valid: Tensor
    mask: Tensor | None

    @classmethod
    def of(cls, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Lists:
        """Blank the padding of lists that have been checked.

        A list of nothing but padding becomes one of a single item with score and relevance 0, so that nothing is
        divided by zero; it has no gradient.
        """
        if mask is None:
            return cls(scores, relevance, torch.ones_like(scores, dtype=torch.bool), None)
        scores, relevance = scores.masked_fill(mask, 0.0), relevance.masked_fill(mask, 0.0)
        stand_in = mask.all(dim=1, keepdim=True) & (torch.arange(mask.shape[1], device=mask.device) == 0)
        return cls(scores, relevance, ~mask | stand_in, mask & ~stand_in)

    @property
    def lengths(self) -> Tensor:
        """[batch], the number of items of each list, in the dtype of the scores."""
        return self.valid.sum(dim=1).to(self.scores.dtype)

    @property
    def lowered(self) -> Tensor:
        """[batch, n], the scores, with a number far below all of them at padded items."""
        return torch.where(self.valid, self.scores, torch.finfo(self.scores.dtype).min / 2)

    @property
    def shifted(self) -> Tensor:
        """[batch, n], the scores less the middle of their range, so that a large offset costs a loss no digits."""
        scores, lowest = self.scores.detach(), torch.finfo(self.scores.dtype).min / 2
        high, low = (torch.where(self.valid, s, lowest).amax(dim=1, keepdim=True) for s in (scores, -scores))
        return self.scores - (high / 2 - low / 2)

    def preferred(self) -> Tensor:
        """Return the pairs with an order, bool [batch, n, n]: item i is more relevant than item j."""
        better = self.relevance.unsqueeze(2) > self.relevance.unsqueeze(1)
        return better & self.valid.unsqueeze(2) & self.valid.unsqueeze(1)

    def in_front(self) -> Lists:
        """Return the lists with the real items in front, in their order."""
        if self.mask is None:
            return self
        order = self.mask.to(torch.int8).argsort(dim=1, stable=True)
        scores, relevance, mask = (t.gather(1, order) for t in (self.scores, self.relevance, self.mask))
        return Lists(scores, relevance, ~mask, mask)


def descending_places(lists: Lists) -> Tensor:
    """Return the 0-based place of every item by descending score, int64 [batch, n]; padded items come last.

    Equal scores are placed by index.
    """
    return lists.lowered.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def laplacian(weights: Tensor) -> Tensor:
    """Return the Laplacian Σ_{i<j} w_ij (e_i − e_j)(e_i − e_j)ᵀ of symmetric weights, positive semi-definite.

    The diagonal is the sum of the weights and not a difference from 1, so that its rows add up to 0 and nothing
    cancels where the weights are tiny.

    Args:
        weights: [..., n, n], symmetric; the diagonal is not read.
    """
    between = weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))
    return torch.diag_embed(between.sum(dim=-1)) - between
