"""Base class of the ranking losses: call, masks, validation and example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.inputs import warn_of_a_column, working
from nlcore.protocol import Traits
from nlcore_ranking._lists import RELEVANCE, Lists

__all__ = ["CURVED", "SMOOTH", "ListLoss"]

SMOOTH = Traits(takes_mask=True)
"""Twice differentiable almost everywhere; the Hessian may be indefinite."""

CURVED = Traits(takes_mask=True, psd_hessian=True)
"""Twice differentiable, the Hessian positive semi-definite wherever it exists."""

_EXAMPLE_ITEMS = 5
_HIGHEST_GRADE = 4


class ListLoss(Configured, ABC):
    """Base of the losses from scores and relevance: one list a sample, one number a list.

    `prediction` holds the scores [batch, n], `target` the relevance [batch, n]: grades ≥ 0, real or whole numbers, the
    more the better. `mask` [batch, n] is True at padded items; values there are ignored, and the loss is that of the
    shorter list. A list of padding only has loss 0 and gradient 0, and the engine does not count it as a sample. Scores
    [batch, 1] are lists of one item each, with nothing to rank, and raise a warning. Half precision is computed in
    float32 and rounded at the end. `Spearman`, a correlation, takes values of either sign.

    Objects are immutable, hashable, equal by their options, and serve every n.
    """

    _target: ClassVar[str] = RELEVANCE
    _lowest: ClassVar[float] = 0.0

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
            target: [batch, n], the relevance of every item, ≥ 0 except for `Spearman`; any real dtype.
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
        """Return the factor, apart from n, by which intermediate results may exceed the scores."""
        return 1.0

    def _limit(self, scores: Tensor) -> float:
        """Return the largest magnitude of a score for which no intermediate result overflows."""
        limit: float = torch.finfo(scores.dtype).max / (16 * scores.shape[1] ** 2 * max(1.0, self._slope()))
        return limit

    def _lists(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Lists:
        """Return the validated lists."""
        Lists.check(self.id, prediction, target, mask, needed=self._target)
        warn_of_a_column(self.id, prediction)
        limit = self._limit(working(prediction))
        return Lists.of(self.id, prediction, target, mask, limit=limit, lowest=self._lowest)
