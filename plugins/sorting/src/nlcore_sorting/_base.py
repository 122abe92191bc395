"""What all ranking losses have in common: the call, the relaxed operators, identity and immutability."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nlcore.config import AlgorithmConfig
from nlcore.errors import ShapeError
from nlcore.protocol import Traits
from nlcore_sorting._checks import check_ranking, check_scores, working
from nlcore_sorting._crossentropy import entry_cross_entropy, row_cross_entropy
from nlcore_sorting.config import Objective

__all__ = ["RankingLoss", "ranks"]

_EXAMPLE_ITEMS = 5


def ranks(values: Tensor) -> Tensor:
    """Return the place of every item in ascending order.

    Args:
        values: [..., n], any real dtype. Equal values are placed by their index.

    Returns:
        [..., n], int64: a permutation of 0 … n − 1 along the last dimension.

    Example:
        >>> import torch
        >>> ranks(torch.tensor([30, 10, 20, 10]))
        tensor([3, 0, 2, 1])
    """
    return values.argsort(dim=-1, stable=True).argsort(dim=-1)


class RankingLoss(ABC):
    """Base of the losses that supervise a ranking through a relaxed permutation matrix P.

    P[..., i, j] is the weight of item j at place i, places in ascending order; its rows add up to 1. The target is the
    true place of every item, `ranks(values)`. With `objective="rows"` the loss of a list of n items is the
    cross-entropy of the places, −(1/n) Σ_j log P[ranks_j, j]; with `"entries"` it is the binary cross-entropy of all
    entries, averaged over n². Both averages make losses of lists of different n comparable.

    Everything that is trained on is computed from log P, never from P: a sharp relaxation rounds P to 0 and 1 exactly
    where a ranking is wrong. Half precision is computed in float32 and rounded at the end.

    Objects are immutable, hashable, equal by their options, and serve every n.
    """

    id: ClassVar[str]
    _config: ClassVar[type[AlgorithmConfig]]
    objective: Objective

    def __post_init__(self) -> None:
        """Check the options and store them as the configuration reads them."""
        config = self._config(**self._options())
        for name in self._config.model_fields:
            object.__setattr__(self, name, getattr(config, name))

    @property
    def traits(self) -> Traits:
        """Twice differentiable almost everywhere, deterministic, neither convex nor free of indefinite Hessians."""
        return _TRAITS

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each list.

        Args:
            prediction: [batch, n], the scores.
            target: [batch, n], int64; the 0-based place of every item, ascending (see `ranks`).
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or a row of the target is no permutation.
            NonFiniteError: A score is NaN, infinite, or so large that the loss would overflow.
        """
        return self._loss(self._checked(prediction, target), target).to(prediction.dtype)

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

    def log_permutation(self, scores: Tensor, *, descending: bool = False) -> Tensor:
        """Return log P; it stays finite and exact where P itself rounds to 0.

        Args:
            scores: [..., n].
            descending: Reverse the rows.

        Returns:
            [..., n, n].
        """
        log_p = self._log_permutation(self._operand(scores))
        return (log_p.flip(-2) if descending else log_p).to(scores.dtype)

    def permutation(self, scores: Tensor, *, descending: bool = False) -> Tensor:
        """Return P, the weight of item j at place i; `P @ scores` is the relaxed sorted list.

        Args:
            scores: [..., n].
            descending: Reverse the rows. That is not the matrix of −scores, from which it may differ.

        Returns:
            [..., n, n].
        """
        p = self._permutation(self._operand(scores))
        return (p.flip(-2) if descending else p).to(scores.dtype)

    def sort(self, scores: Tensor, *, descending: bool = False) -> Tensor:
        """Return the relaxed sorted list, P @ scores.

        Args:
            scores: [..., n].
            descending: Largest first.

        Returns:
            [..., n].
        """
        ordered = self._sort(self._operand(scores))
        return (ordered.flip(-1) if descending else ordered).to(scores.dtype)

    def topk(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the relaxed k largest values, largest first, and the weight of every item in each.

        Args:
            scores: [..., n].
            k: From 0 to n.

        Returns:
            `(values, weights)`, [..., k] and [..., k, n]: the first k rows of the descending matrix.

        Raises:
            ShapeError: k is out of range.
        """
        operand = self._operand(scores)
        n = operand.shape[-1]
        if not 0 <= k <= n:
            raise ShapeError(f"{self.id}: k = {k} of {n} items; 0 ≤ k ≤ n is needed.")
        weights = self._permutation(operand).flip(-2)[..., :k, :]
        return (weights @ operand.unsqueeze(-1)).squeeze(-1).to(scores.dtype), weights.to(scores.dtype)

    def rank(self, scores: Tensor, *, descending: bool = False) -> Tensor:
        """Return the expected place of every item, Σ_i i·P[i, j] / Σ_i P[i, j], from 0 to n − 1.

        Args:
            scores: [..., n].
            descending: Count the places from the largest.

        Returns:
            [..., n].
        """
        places = self._rank(self._operand(scores))
        return ((scores.shape[-1] - 1) - places if descending else places).to(scores.dtype)

    def _loss(self, scores: Tensor, target: Tensor) -> Tensor:
        cross_entropy = row_cross_entropy if self.objective == "rows" else entry_cross_entropy
        return cross_entropy(self._log_permutation(scores), target)

    def _sort(self, scores: Tensor) -> Tensor:
        return (self._permutation(scores) @ scores.unsqueeze(-1)).squeeze(-1)

    def _rank(self, scores: Tensor) -> Tensor:
        p = self._permutation(scores)
        places = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
        return (places @ p) / p.sum(dim=-2)

    @abstractmethod
    def _log_permutation(self, scores: Tensor) -> Tensor:
        """Return log P of [..., n] scores in working precision."""

    @abstractmethod
    def _permutation(self, scores: Tensor) -> Tensor:
        """Return P of [..., n] scores in working precision."""

    @abstractmethod
    def _limit(self, n: int, dtype: torch.dtype) -> float:
        """Return the largest magnitude of a score for which no intermediate result overflows."""

    def _operand(self, scores: Tensor) -> Tensor:
        check_scores(self.id, scores)
        return working(scores)

    def _checked(self, prediction: Tensor, target: Tensor) -> Tensor:
        scores = self._operand(prediction)
        check_ranking(self.id, scores, target, limit=self._limit(scores.shape[-1], scores.dtype))
        return scores

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._config.model_fields}

    @classmethod
    def _public(cls) -> type[Self]:
        """Return the class that users construct, of which `cls` may be a private variant."""
        return next(base for base in cls.__mro__ if "__dataclass_fields__" in vars(base))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{self._public().__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._public(), self._options())


def _rebuild(cls: type[RankingLoss], options: dict[str, Any]) -> RankingLoss:
    return cls(**options)


_TRAITS = Traits()
