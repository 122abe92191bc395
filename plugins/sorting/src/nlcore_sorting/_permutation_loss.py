"""Relaxations with a permutation matrix: the matrix, its logarithm, top-k, and the two cross-entropies."""

from __future__ import annotations

from abc import abstractmethod
from operator import index

import torch
from torch import Tensor

from nlcore.errors import ContractError, ShapeError
from nlcore_sorting._cross_entropy import entry_cross_entropy, row_cross_entropy
from nlcore_sorting._lists import Lists, top_rows
from nlcore_sorting._ranking_loss import RankingLoss
from nlcore_sorting.config import Objective

__all__ = ["PermutationLoss"]


class PermutationLoss(RankingLoss):
    """Base of the losses that compare a relaxed permutation matrix P with the true one.

    P[..., i, j] is the weight of item j at rank i, ranks in ascending order; its rows add up to 1. With
    `objective="rows"` the loss of a list of n items is the cross-entropy of the ranks, −(1/n) Σ_j log P[ranks_j, j];
    with `"entries"` it is the binary cross-entropy of all entries, averaged over n². Both averages make losses of lists
    of different n comparable.

    The losses are computed from log P, as a sharp relaxation rounds P to 0 and 1 exactly where a ranking is wrong.
    `SortingNetwork` uses P in float64 on the CPU, for lists in which no true entry of P underflows.
    """

    objective: Objective

    def log_permutation(
        self, scores: Tensor, *, dim: int = -1, descending: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """Return log P; it stays finite and exact where P itself rounds to 0.

        Args:
            scores: [..., n].
            dim: The dimension of the items.
            descending: Reverse the rows.
            mask: Like `scores`, True at padded items.

        Returns:
            [..., n, n], with ranks and items last, wherever the items were. A hugely negative number stands for the
            logarithm of an exact 0, as between real and padded items.
        """
        lists = self._operand(scores, dim, mask)
        return lists.rows(self._log_permutation(lists.scores, lists.length), descending=descending).to(scores.dtype)

    def permutation(
        self, scores: Tensor, *, dim: int = -1, descending: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """Return P, the weight of item j at rank i.

        Args:
            scores: [..., n].
            dim: The dimension of the items.
            descending: Reverse the rows. That is not the matrix of −scores, from which it may differ.
            mask: Like `scores`, True at padded items; they fill the last ranks, each its own with weight 1.

        Returns:
            [..., n, n], with ranks and items last, wherever the items were.
        """
        lists = self._operand(scores, dim, mask)
        return lists.rows(self._permutation(lists.scores, lists.length), descending=descending).to(scores.dtype)

    def topk(
        self, scores: Tensor, k: int, *, dim: int = -1, descending: bool = True, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the relaxed k largest values, largest first, and the weight of every item in each.

        Args:
            scores: [..., n].
            k: From 0 to n.
            dim: The dimension of the items.
            descending: False for the k smallest, smallest first.
            mask: Like `scores`, True at padded items. Places beyond the real items hold value 0 and padding.

        Returns:
            `(values, weights)`: values of the shape of `scores` with k entries along `dim`, weights [..., k, n], the
            first k rows of the matrix.

        Raises:
            ShapeError: k is out of range.
            ContractError: k is not an integer.
        """
        lists = self._operand(scores, dim, mask)
        n = lists.scores.shape[-1]
        try:
            k = index(k)
        except TypeError:
            raise ContractError(f"{self.id}: k is {k!r}; an int from 0 to {n} is needed.") from None
        if not 0 <= k <= n:
            raise ShapeError(f"{self.id}: k = {k} of {n} items; 0 ≤ k ≤ n is needed.")
        rows = torch.arange(k, device=scores.device)
        if descending:
            rows = top_rows(k, lists.length, lists.scores)
        values, weights = self._select(lists.scores, rows, lists.length)
        if lists.length is not None:
            values = torch.where(rows < lists.length, values, 0.0)
        return values.movedim(-1, lists.dim).to(scores.dtype), lists.columns(weights).to(scores.dtype)

    def _loss(self, lists: Lists, target: Tensor) -> Tensor:
        return self._cross_entropy(lists.scores, target, lists.length)

    def _cross_entropy(self, scores: Tensor, target: Tensor, length: Tensor | None) -> Tensor:
        """Return the loss of [batch, n] scores, from the logarithm of P."""
        return self._criterion(self._log_permutation(scores, length), target, length)

    def _criterion(self, log_permutation: Tensor, target: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of the objective, given the logarithm of P."""
        cross_entropy = row_cross_entropy if self.objective == "rows" else entry_cross_entropy
        return cross_entropy(log_permutation, target, length)

    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return (self._permutation(scores, length) @ scores.unsqueeze(-1)).squeeze(-1)

    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the expected rank of every item, Σ_i i·P[i, j] / Σ_i P[i, j]."""
        p = self._permutation(scores, length)
        places = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
        return (places @ p) / p.sum(dim=-2)

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the sorted values at the ranks `rows`, [k] or [..., k], and these rows of P, [..., k, n]."""
        p = self._permutation(scores, length)
        index = rows.expand(*scores.shape[:-1], rows.shape[-1]).unsqueeze(-1)
        weights = p.gather(-2, index.expand(*index.shape[:-1], scores.shape[-1]))
        return (weights @ scores.unsqueeze(-1)).squeeze(-1), weights

    @abstractmethod
    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return log P, ascending, with the identity at padded positions."""

    def _permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return P, ascending, with the identity at padded positions."""
        return self._log_permutation(scores, length).exp()
