"""What all ranking losses have in common: the call, masks, the example, identity and immutability."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.inputs import warn_of_a_column, working
from nlcore.protocol import Traits
from nlcore_ranking._checks import check_mask, check_relevance, check_scores, check_values
from nlcore_ranking._lists import Lists

__all__ = ["CURVED", "SMOOTH", "ListLoss"]

SMOOTH = Traits(takes_mask=True)
"""Twice differentiable almost everywhere; the Hessian may be indefinite."""

CURVED = Traits(takes_mask=True, convex=True)
"""Twice differentiable, the Hessian positive semi-definite wherever it exists."""

_EXAMPLE_ITEMS = 5
_HIGHEST_GRADE = 4


class ListLoss(Configured, ABC):
    """Base of the losses from scores and relevance: one list a sample, one number a list.

    `prediction` holds the scores [batch, n], `target` the relevance [batch, n]: grades ≥ 0, real or whole numbers, the
    more the better. `mask` [batch, n] is True at padded items; what stands there is not looked at, and the loss is that
    of the shorter list. A list that is padding throughout has loss 0 and gradient 0, and the engine does not count it
    as a sample. Scores [batch, 1] are lists of one item each, which have nothing to be ranked, and are warned of. Half
    precision is computed in float32 and rounded at the end.

    Objects are immutable, hashable, equal by their options, and serve every n.
    """

    id: ClassVar[str]
    _traits: ClassVar[Traits]

    @property
    def traits(self) -> Traits:
        """What the engine may assume; told in the docstring of the class."""
        return self._traits

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each list.

        Args:
            prediction: [batch, n], the scores.
            target: [batch, n], the relevance of every item, ≥ 0; any real dtype.
            mask: [batch, n] bool, True at padded items.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or a grade is negative.
            NonFiniteError: A score or grade is NaN or infinite, or a score so large that the loss would overflow.
        """
        loss = self._loss(self._lists(prediction, target, mask))
        return (loss if mask is None else loss.masked_fill(mask.all(dim=1), 0.0)).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random scores of lists of five items and grades from 0 to 4.

        Args:
            batch_size: Number of lists.
            generator: Source of random numbers; the numbers are drawn on its device.
            dtype: Of scores and grades.
            device: Of scores and grades.
        """
        source = generator.device if generator is not None else device
        shape = (batch_size, _EXAMPLE_ITEMS)
        scores = torch.randn(shape, generator=generator, device=source)
        grades = torch.randint(_HIGHEST_GRADE + 1, shape, generator=generator, device=source)
        return scores.to(device, dtype), grades.to(device, dtype)

    @abstractmethod
    def _loss(self, lists: Lists) -> Tensor:
        """Return the loss of each list, [batch], in working precision."""

    def _slope(self) -> float:
        """Return how much larger than the scores the numbers are that the loss makes of them, apart from n."""
        return 1.0

    def _limit(self, scores: Tensor) -> float:
        """Return the largest magnitude of a score for which no intermediate result overflows."""
        limit: float = torch.finfo(scores.dtype).max / (16 * scores.shape[1] ** 2 * max(1.0, self._slope()))
        return limit

    def _lists(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Lists:
        """Return the lists, checked, in working precision."""
        check_scores(self.id, prediction)
        check_relevance(self.id, prediction, target)
        return self._padded(prediction, target.to(working(prediction).dtype), mask)

    def _padded(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Lists:
        """Return the lists with their padding blanked, after a check of all values."""
        warn_of_a_column(self.id, prediction)
        if mask is not None:
            check_mask(self.id, prediction, mask)
        valid = torch.ones_like(prediction, dtype=torch.bool) if mask is None else ~mask
        scores = working(prediction)
        check_values(self.id, scores, target, valid, limit=self._limit(scores))
        if target.ndim == 1:
            classes = target if mask is None else target.masked_fill(mask.all(dim=1), 0)
            places = torch.arange(scores.shape[1], device=scores.device)
            target = (classes.unsqueeze(1) == places).to(scores.dtype)  # one_hot reads values, which vmap forbids
        return Lists.of(scores, target, mask)
