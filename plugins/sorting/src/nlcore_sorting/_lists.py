"""Lists along any dimension and of any length, in the form that the algorithms work on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Lists",
    "Padding",
    "identity_at_padding",
    "log_of_zero",
    "mean_of",
    "order_of",
    "real_items",
    "top_rows",
]


@dataclass(frozen=True, slots=True)
class Padding:
    """Where the real items of lists are.

    Attributes:
        length: [..., 1] int64, the number of real items.
        order: [..., n] int64, the item that stands at each position, real items in front.
        position: [..., n] int64, the position of each item.
    """

    length: Tensor
    order: Tensor
    position: Tensor


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists with the items in the last dimension and, where there is padding, the real items in front.

    Attributes:
        scores: [..., n], in the precision of the computation; 0 at padded items.
        padding: `None` when all items are real.
        dim: The dimension of the input along which the items were.
    """

    scores: Tensor
    padding: Padding | None = None
    dim: int = -1

    @property
    def length(self) -> Tensor | None:
        """[..., 1] int64, the number of real items; `None` when all are real."""
        return None if self.padding is None else self.padding.length

    @classmethod
    def of(cls, scores: Tensor, dim: int, mask: Tensor | None) -> Lists:
        """Bring scores that are in working precision into form.

        Args:
            scores: With the items along `dim`.
            dim: Where the items are.
            mask: Like `scores`, True at padded items; their scores are never read.
        """
        if dim != -1:
            scores = scores.movedim(dim, -1)
        if mask is None:
            return cls(scores, None, dim)
        mask = mask.movedim(dim, -1)
        order = mask.to(torch.int8).argsort(dim=-1, stable=True)
        length = (~mask).sum(dim=-1, keepdim=True)
        padding = Padding(length, order, order.argsort(dim=-1))
        return cls(scores.masked_fill(mask, 0.0).gather(-1, order), padding, dim)

    def places(self, values: Tensor, *, descending: bool) -> Tensor:
        """Return the values at every rank, [..., n], with the items back along `dim`, 0 at padded ranks."""
        if self.length is not None:
            values = torch.where(real_items(self.length, values.shape[-1]), values, 0.0)
        if descending:
            values = values.flip(-1) if self.length is None else values.gather(-1, self._reversed())
        return values.movedim(-1, self.dim)

    def items(self, places: Tensor, *, descending: bool) -> Tensor:
        """Return the rank of every item, [..., n], with the items back along `dim`; padding has the last ranks."""
        n = self.scores.shape[-1]
        if self.padding is None:
            return ((n - 1) - places if descending else places).movedim(-1, self.dim)
        length = self.padding.length
        last = torch.arange(n, dtype=places.dtype, device=places.device)
        turned = (length - 1) - places if descending else places
        placed = torch.where(real_items(length, n), turned, last)
        return placed.gather(-1, self.padding.position).movedim(-1, self.dim)

    def rows(self, matrix: Tensor, *, descending: bool) -> Tensor:
        """Return a matrix [..., n, n] of ranks and positions as one of ranks and items."""
        if descending and self.length is None:
            matrix = matrix.flip(-2)
        elif descending:
            matrix = matrix.gather(-2, self._reversed().unsqueeze(-1).expand(matrix.shape))
        return self.columns(matrix)

    def columns(self, matrix: Tensor) -> Tensor:
        """Return [..., k, n] with the positions of the last dimension replaced by items."""
        if self.padding is None:
            return matrix
        return matrix.gather(-1, self.padding.position.unsqueeze(-2).expand(matrix.shape))

    def square(self, matrix: Tensor) -> Tensor:
        """Return [..., n, n] with the positions of both dimensions replaced by items."""
        if self.padding is None:
            return matrix
        return self.columns(matrix.gather(-2, self.padding.position.unsqueeze(-1).expand(matrix.shape)))

    def target(self, ranks: Tensor) -> Tensor:
        """Return the ranks of the real items among themselves, by position; padding gets the last ranks."""
        if self.padding is None:
            return ranks
        moved = ranks.gather(-1, self.padding.order)
        real = real_items(self.padding.length, ranks.shape[-1])
        return moved.masked_fill(~real, torch.iinfo(torch.int64).max).argsort(dim=-1, stable=True).argsort(dim=-1)

    def _reversed(self) -> Tensor:
        return top_rows(self.scores.shape[-1], self.length, self.scores)


def top_rows(k: int, length: Tensor | None, scores: Tensor) -> Tensor:
    """Return the ascending ranks of the k largest items, largest first: [k], or [..., k] with padding.

    Places of padding, of which there are some when k exceeds the length, stay what they are.
    """
    count = torch.arange(k, device=scores.device)
    if length is None:
        return scores.shape[-1] - 1 - count
    return torch.where(count < length, length - 1 - count, count)


def real_items(length: Tensor, n: int) -> Tensor:
    """Return [..., n] bool, True at the first `length` [..., 1] positions."""
    return torch.arange(n, device=length.device) < length


def order_of(scores: Tensor, length: Tensor | None, *, descending: bool = False) -> Tensor:
    """Return the indices of the items in sorted order, [..., n], padding last; equal scores stay in their order."""
    key = scores.detach()
    if length is not None:
        key = torch.where(real_items(length, key.shape[-1]), key, -torch.inf if descending else torch.inf)
    return key.argsort(dim=-1, stable=True, descending=descending)


def log_of_zero(dtype: torch.dtype) -> float:
    """Return the number that stands for log 0; its exponential is exactly 0, and so are derivatives with respect to it.

    With −∞ they would be NaN: ∞ − ∞ in a sum of exponentials, 0·∞ in a cross-entropy. A quarter of the lowest number
    leaves room for sums: a network adds two of these and logarithms that are at most an eighth of the largest number.
    """
    return torch.finfo(dtype).min / 4


def mean_of(values: Tensor, length: Tensor | None) -> Tensor:
    """Return the mean over the real items, [..., 1]; `values` is 0 at padded ones."""
    if length is None:
        return values.mean(dim=-1, keepdim=True)
    return values.sum(dim=-1, keepdim=True) / length.clamp(min=1)


def identity_at_padding(
    matrix: Tensor, length: Tensor | None, rows: Tensor | None = None, *, on: float, off: float
) -> Tensor:
    """Return a matrix with the rows and columns of padding replaced by those of the identity.

    Args:
        matrix: [..., k, n].
        length: [..., 1], the number of real items; `None` where all are real.
        rows: [k] or [..., k], which rows of the whole matrix are given; `None` for all.
        on: The entry that stands for 1.
        off: The entry that stands for 0.
    """
    if length is None:
        return matrix
    places = torch.arange(matrix.shape[-1], device=matrix.device)
    rows = places if rows is None else rows
    real = (rows < length).unsqueeze(-1) & (places < length).unsqueeze(-2)
    return torch.where(real, matrix, off).masked_fill((rows.unsqueeze(-1) == places) & ~real, on)
