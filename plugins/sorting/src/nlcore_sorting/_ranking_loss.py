"""Base of all ranking losses: the call, sort and rank, and the ranks of values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.inputs import warn_of_a_column, working
from nlcore.protocol import Traits
from nlcore_sorting._lists import Lists
from nlcore_sorting._validation import check_finite, check_mask, check_ranking, check_scores

__all__ = ["RankingLoss", "ranks"]

_EXAMPLE_ITEMS = 5


def ranks(values: Tensor, *, dim: int = -1, descending: bool = False, mask: Tensor | None = None) -> Tensor:
    """Return the rank of every item in sorted order.

    Args:
        values: [..., n], any real dtype. Equal values are placed by their index.
        dim: The dimension of the items.
        descending: Count the ranks from the largest value.
        mask: Like `values`, True at padded items; they get the last ranks, in the order of their indices.

    Returns:
        [..., n], int64: a permutation of 0 … n − 1 along `dim`.

    Example:
        >>> import torch
        >>> ranks(torch.tensor([30, 10, 20, 10]))
        tensor([3, 0, 2, 1])
    """
    order = values.argsort(dim=dim, stable=True, descending=descending)
    if mask is not None:
        order = order.gather(dim, mask.gather(dim, order).to(torch.int8).argsort(dim=dim, stable=True))
        # Padding by index, whatever values stand there.
        padded = mask.gather(dim, order)
        last = torch.where(padded, order, -1).sort(dim=dim).values
        order = torch.where(padded, last, order)
    return order.argsort(dim=dim)


class RankingLoss(Configured, ABC):
    """Base of the losses that supervise a ranking through a differentiable sort.

    The target is the true rank of every item, `ranks(values)`. The relaxed operators are public too: `sort` and `rank`
    here, `permutation` and `topk` where the relaxation has a matrix (`PermutationLoss`). All of them take lists along
    any dimension `dim`, whatever the other dimensions are, and lists of different length through `mask`, True at padded
    items. Padded items come last, ascending and descending alike, and are ignored: the real items are treated exactly
    as a shorter list. The values at padded items are never read.

    A loss warns of scores [batch, 1], a batch of lists of one item each, which have nothing to be ranked.

    Half precision is computed in float32 and rounded at the end. NaN, infinities and scores so large that the
    computation would overflow are refused.

    Objects are immutable, hashable, equal by their options, and serve every n.
    """

    id: ClassVar[str]

    @property
    def traits(self) -> Traits:
        """Twice differentiable almost everywhere, deterministic, with a Hessian that can be indefinite."""
        return _TRAITS

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each list.

        Args:
            prediction: [batch, n], the scores.
            target: [batch, n], int64; the 0-based rank of every item, ascending (see `ranks`). With a mask only
                the order of the real items' ranks counts.
            generator: Not used; the loss is deterministic.
            mask: [batch, n] bool, True at padded items. A list that is all padding has loss 0.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or a row of the target is not a permutation.
            NonFiniteError: A score is NaN, infinite, or so large that the loss would overflow.
        """
        lists, true_ranks = self._checked(prediction, target, mask)
        return self._loss(lists, true_ranks).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random scores of lists of five items and the ranks of other random values.

        Args:
            batch_size: Number of lists.
            generator: Source of random numbers; the numbers are drawn on its device.
            dtype: Of the scores.
            device: Of scores and ranks.
        """
        source = generator.device if generator is not None else device
        shape = (2, batch_size, _EXAMPLE_ITEMS)
        scores, values = torch.randn(shape, generator=generator, device=source).to(device)
        return scores.to(dtype), ranks(values)

    def sort(self, scores: Tensor, *, dim: int = -1, descending: bool = False, mask: Tensor | None = None) -> Tensor:
        """Return the relaxed sorted list.

        Args:
            scores: [..., n].
            dim: The dimension of the items.
            descending: Largest first: the ascending list reversed.
            mask: Like `scores`, True at padded items; the last ranks hold 0 for them.

        Returns:
            The shape of `scores`.
        """
        lists = self._operand(scores, dim, mask)
        return lists.places(self._sort(lists.scores, lists.length), descending=descending).to(scores.dtype)

    def rank(self, scores: Tensor, *, dim: int = -1, descending: bool = False, mask: Tensor | None = None) -> Tensor:
        """Return the relaxed rank of every item, from 0 to n − 1.

        Args:
            scores: [..., n].
            dim: The dimension of the items.
            descending: Count the ranks from the largest.
            mask: Like `scores`, True at padded items; they get the last ranks.

        Returns:
            The shape of `scores`.
        """
        lists = self._operand(scores, dim, mask)
        return lists.items(self._rank(lists.scores, lists.length), descending=descending).to(scores.dtype)

    # The methods below take scores [..., n] in working precision. `length` [..., 1] is the number of real items, which
    # stand in front, or None if all are real; the values that are returned for the others are not read.

    @abstractmethod
    def _loss(self, lists: Lists, target: Tensor) -> Tensor:
        """Return the loss of [batch, n] lists, with the target in the order of the scores."""

    @abstractmethod
    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the relaxed sorted lists, ascending."""

    @abstractmethod
    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the relaxed ascending ranks."""

    @abstractmethod
    def _limit(self, n: int, dtype: torch.dtype) -> float:
        """Return the largest magnitude of a score for which no intermediate result overflows."""

    def _operand(self, scores: Tensor, dim: int = -1, mask: Tensor | None = None) -> Lists:
        check_scores(self.id, scores, dim)
        if mask is not None:
            check_mask(self.id, mask, scores)
        lists = Lists.of(working(scores), dim, mask)
        check_finite(self.id, lists.scores, self._limit(lists.scores.shape[-1], lists.scores.dtype))
        return lists

    def _checked(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Lists, Tensor]:
        lists = self._operand(prediction, mask=mask)
        check_ranking(self.id, prediction, target, mask=mask)
        warn_of_a_column(self.id, prediction)
        return lists, lists.target(target)


_TRAITS = Traits(takes_mask=True)
