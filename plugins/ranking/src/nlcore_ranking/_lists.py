"""Lists of items, checked once and padded: what every loss works on."""

from __future__ import annotations

from collections.abc import Callable
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
        padded: Whether a mask was given; without one all of `valid` is True.
    """

    scores: Tensor
    relevance: Tensor
    valid: Tensor
    padded: bool

    @property
    def lengths(self) -> Tensor:
        """[batch], the number of items of each list, in the dtype of the scores."""
        return self.valid.sum(dim=1).to(self.scores.dtype)

    @property
    def lowered(self) -> Tensor:
        """[batch, n], the scores, with a number far below all of them at padded items."""
        return torch.where(self.valid, self.scores, torch.finfo(self.scores.dtype).min / 2)

    def preferred(self) -> Tensor:
        """Return the pairs with an order, bool [batch, n, n]: item i is more relevant than item j."""
        better = self.relevance.unsqueeze(2) > self.relevance.unsqueeze(1)
        return better & self.valid.unsqueeze(2) & self.valid.unsqueeze(1)

    def each(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return `function(scores, relevance)` of lists without their padding, [batch].

        Lists of one length go together, so a batch costs one call for every length in it; without a mask, one call.

        Args:
            function: Maps scores and relevance, both [lists, length], to one number per list.
        """
        if not self.padded:
            return function(self.scores, self.relevance)
        order = self.valid.logical_not().to(torch.int8).argsort(dim=1, stable=True)
        scores, relevance = self.scores.gather(1, order), self.relevance.gather(1, order)
        lengths = self.valid.sum(dim=1)
        results, places = [self.scores.sum(dim=1)[:0]], [lengths[:0]]
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0]
            results.append(function(scores[rows, :length], relevance[rows, :length]))
            places.append(rows)
        return torch.cat(results)[torch.cat(places).argsort()]


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
