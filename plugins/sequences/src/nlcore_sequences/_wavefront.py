"""Soft-DTW by anti-diagonals in torch, differentiable any number of times.

Anti-diagonal d holds the cells (i, d − i) of a cost matrix. `skewed` arrays are [diagonals, batch, n], with cells that
do not exist or are not allowed where `open` is False.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Skewed", "alignment_of", "product_of", "value_of"]


class Skewed:
    """The anti-diagonals of cost matrices with the cells that may be used.

    Args:
        bounds: [batch, n, 2] int64, first and last j of every i; the first is above the last where there is none.
        lengths: [batch, 2] int64, the last cell is (lengths − 1).
        m: Width of the matrices.
    """

    def __init__(self, bounds: Tensor, lengths: Tensor, m: int) -> None:
        n = bounds.shape[1]
        self.n, self.m = n, m
        i = torch.arange(n, device=bounds.device)
        d = torch.arange(n + m - 1, device=bounds.device).unsqueeze(1)
        j = d - i
        self.column = j.clamp(0, m - 1)  # [diagonals, n]
        self.open = (j.unsqueeze(1) >= bounds[..., 0]) & (j.unsqueeze(1) <= bounds[..., 1])
        last = (lengths - 1).unsqueeze(0)
        self.last = (i == last[..., :1]) & (j.unsqueeze(1) == last[..., 1:])  # the last cell of every sample

    def skew(self, matrices: Tensor) -> Tensor:
        """Return the anti-diagonals of [*, batch, n, m], [diagonals, *, batch, n]."""
        column = self.column.T.expand(*matrices.shape[:-1], -1)
        return matrices.gather(-1, column).movedim(-1, 0)

    def unskew(self, diagonals: Tensor) -> Tensor:
        """Return the matrices of anti-diagonals, with zeros at cells that are not open."""
        kept = torch.where(self._beside(self.open, diagonals), diagonals, 0.0).movedim(0, -1)
        d = torch.arange(self.n, device=diagonals.device).unsqueeze(1) + torch.arange(self.m, device=diagonals.device)
        return kept.gather(-1, d.expand(*kept.shape[:-1], -1))

    def _beside(self, cells: Tensor, diagonals: Tensor) -> Tensor:
        return cells.reshape(len(cells), *[1] * (diagonals.ndim - 3), *cells.shape[1:])


def value_of(costs: Tensor, cells: Skewed) -> tuple[Tensor, Tensor]:
    """Return soft-DTW for γ = 1, and the shares of the predecessors.

    The weights of an anti-diagonal are kept relative to the largest one, so that float32 resolves them.

    Args:
        costs: [batch, n, m], divided by γ.
        cells: The cells that may be used.

    Returns:
        [batch], infinite where no path exists; and [diagonals, 3, batch, n], the probability that a path which visits a
        cell comes from the one at its diagonal, from above, from its left.
    """
    big = torch.finfo(costs.dtype).max / 16
    skewed = torch.where(cells.open, cells.skew(costs), big).clamp(max=big)
    before = last = torch.full_like(skewed[0], big)
    start = F.pad(torch.zeros_like(skewed[0, :, :1]), (0, cells.n - 1), value=big)  # the cell before the first
    rows, came, lows = [], [], []
    for d, cost in enumerate(skewed):
        diagonal = start if d == 0 else _down(before, big)
        scores = -torch.stack([diagonal, _down(last, big), last])
        row = cost - scores.logsumexp(0)
        low = row.detach().amin(-1, keepdim=True)
        low = torch.where(low < big / 4, low, 0.0)
        before, last = last - low, (row - low).clamp(max=big)
        rows.append(last)
        came.append(scores)
        lows.append(low)
    found = torch.where(cells.last, torch.stack(rows), 0.0).sum((0, -1))
    value = found + torch.stack(lows).sum((0, -1))
    scores = torch.stack(came)
    faint = torch.finfo(costs.dtype).tiny ** 0.8
    ahead = (scores - scores.detach().amax(1, keepdim=True)).clamp(min=1.1 * math.log(faint))
    shares = F.hardshrink(ahead.softmax(1), faint)
    return torch.where(found < big / 4, value, torch.inf), shares


def alignment_of(shares: Tensor, cells: Skewed) -> Tensor:
    """Return the probability that a path visits each cell, the derivative of the value, [diagonals, batch, n]."""
    return _from_behind(cells.last.to(shares.dtype), shares)


def product_of(shares: Tensor, alignment: Tensor, cells: Skewed, along: Tensor) -> Tensor:
    """Return the derivatives of the alignment along changes of the costs, for γ = 1.

    It is minus the covariance of visits and the total change along a path.

    Args:
        shares: Of `value_of`.
        alignment: Of `alignment_of`.
        cells: The cells that may be used.
        along: [K, batch, n, m].

    Returns:
        [K, batch, n, m].
    """
    changes = torch.where(cells.open.unsqueeze(1), cells.skew(along), 0.0)
    zeros = torch.zeros_like(changes[0])
    up_to = [zeros, zeros]  # the mean change of the paths up to a cell, its own included
    for change, (diagonal, up, left) in zip(changes, shares, strict=True):
        up_to.append(change + diagonal * _down(up_to[-2]) + up * _down(up_to[-1]) + left * up_to[-1])
    means = torch.stack(up_to[2:])
    total = torch.where(cells.last.unsqueeze(1), means, 0.0).sum((0, -1)).unsqueeze(-1)
    weights = alignment.unsqueeze(1)
    from_here = _from_behind(-weights * changes, shares)
    return cells.unskew(from_here + weights * (total + changes - means))


def _from_behind(own: Tensor, shares: Tensor) -> Tensor:
    """Return what every cell has of its own and gets of its successors' by their shares, like `own`."""
    faint = torch.finfo(own.dtype).tiny ** 0.8
    diagonal = up = left = torch.zeros_like(own[0])
    waiting = diagonal
    rows = []
    for row, (p, q, r) in zip(own.flip(0), shares.flip(0), strict=True):
        total = F.hardshrink(row + _up(waiting + up) + left, faint)
        rows.append(total)
        waiting, diagonal, up, left = diagonal, p * total, q * total, r * total
    return torch.stack(rows[::-1])


def _down(row: Tensor, first: float = 0.0) -> Tensor:
    """Return what cell i reads of cell i − 1."""
    return F.pad(row[..., :-1], (1, 0), value=first)


def _up(row: Tensor) -> Tensor:
    """Return what cell i reads of cell i + 1."""
    return F.pad(row[..., 1:], (0, 1))
