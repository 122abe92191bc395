"""NeuralSort and SoftSort: one softmax for every place, with logits piecewise linear in the scores."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self, cast

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_sorting._base import RankingLoss
from nlcore_sorting._crossentropy import row_cross_entropy
from nlcore_sorting._curvature import neuralsort_curvature, softsort_curvature
from nlcore_sorting.config import NeuralSortConfig, Objective, SoftSortConfig

__all__ = ["NeuralSort", "SoftSort"]

_SEMIDEFINITE = Traits(convex=True)


class _SoftmaxSort(RankingLoss):
    """A relaxation whose rows are softmaxes of logits.

    The row-wise objective has a curvature in closed form, the entry-wise one has not. Capabilities are told from the
    methods that an object has, so each objective has a class: calling the public one returns the one that fits.
    """

    temperature: float
    _rowwise: ClassVar[type[_SoftmaxSort]]

    def __new__(cls, *, temperature: float = 1.0, objective: Objective = "rows") -> Self:
        """Choose the class of the objective."""
        public = cls._public()
        chosen = public._rowwise if objective == "rows" else public
        if cls not in (public, public._rowwise):
            chosen = cls
        elif not issubclass(chosen, cls):  # as in dataclasses.replace(rowwise, objective="entries")
            return cast(Self, chosen(temperature=temperature, objective=objective))
        return object.__new__(chosen)

    @abstractmethod
    def _logits(self, scores: Tensor) -> Tensor:
        """Return the logits, [..., n, n]; row i belongs to place i."""

    def _log_permutation(self, scores: Tensor) -> Tensor:
        return self._logits(scores).log_softmax(dim=-1)

    def _permutation(self, scores: Tensor) -> Tensor:
        return self._logits(scores).softmax(dim=-1)

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).max / (16 * n**2 * max(1.0, 1 / self.temperature))


class _Rowwise(_SoftmaxSort):
    """The capabilities of the row-wise objective: `GaussNewtonSplit` and `SuppliesHessian`."""

    @property
    def traits(self) -> Traits:
        """Positive semi-definite wherever the Hessian exists: it is the Gauss–Newton matrix of the logits.

        `convex` says that and no more. Across the kinks, where two scores are equal, the loss need not be convex.
        """
        return _SEMIDEFINITE

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the logits of every place.

        Args:
            prediction: [batch, n].

        Returns:
            [batch, n, n], piecewise linear in the scores.
        """
        return self._logits(self._operand(prediction))

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the rows, convex in the logits.

        Args:
            features: [batch, n, n], logits.
            target: [batch, n], int64 ranks.

        Returns:
            [batch].
        """
        return row_cross_entropy(features.log_softmax(dim=-1), target)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the Hessian in closed form, exact wherever it exists; at equal scores that of autodiff.

        Args:
            prediction: [batch, n].
            target: [batch, n], int64 ranks; checked, but the Hessian does not depend on them.
            generator: Not used.

        Returns:
            [batch, n, n], positive semi-definite up to rounding, with zero row sums. O(n³) time a list.
        """
        scores = self._checked(prediction, target)
        ordered, order = scores.sort(dim=-1, stable=True)
        place = order.argsort(dim=-1)
        curvature = self._curvature(ordered) / (scores.shape[-1] * self.temperature**2)
        rows = curvature.gather(-2, place.unsqueeze(-1).expand_as(curvature))
        return rows.gather(-1, place.unsqueeze(-2).expand_as(curvature)).to(prediction.dtype)

    @abstractmethod
    def _curvature(self, ordered: Tensor) -> Tensor:
        """Return Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i·τ² of scores in ascending order."""


@dataclass(frozen=True, kw_only=True, repr=False)
class NeuralSort(_SoftmaxSort):
    """Ranking loss through NeuralSort.

    With places from 0, ascending, row i of P is softmax_j(((2i + 1 − n)s_j − Σ_k |s_j − s_k|)/τ): the paper's matrix
    with its rows reversed. The largest entry of a row is the item that belongs there, whatever τ. `P @ scores` is not
    the sorted list unless τ is small against the gaps; P has rows, not columns, that add up to 1.

    Time and memory O(n²) a list. The closed-form Hessian (`objective="rows"`) costs O(n³). Gradients take the
    derivative of |·| as 0 where scores are equal; a network that predicts equal scores is pulled apart all the same.
    For τ far below the gaps of wrongly ordered scores the loss is piecewise linear and its curvature vanishes.

    Args:
        temperature: τ > 0, in units of the scores.
        objective: `"rows"` or `"entries"`, see `RankingLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Grover, Wang, Zweig, Ermon: Stochastic Optimization of Sorting Networks via Continuous Relaxations, ICLR 2019.

    Example:
        >>> import torch
        >>> sorter = NeuralSort(temperature=0.1)
        >>> sorter.permutation(torch.tensor([3.0, 1.0, 2.0])).round(decimals=2)
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [1., 0., 0.]])
    """

    temperature: float = 1.0
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/neuralsort-v1"
    _config: ClassVar = NeuralSortConfig

    def _logits(self, scores: Tensor) -> Tensor:
        n = scores.shape[-1]
        pull = torch.arange(1 - n, n, 2, dtype=scores.dtype, device=scores.device)
        # A shift of all scores adds a constant to every row; taken out, large offsets cost no digits.
        centred = scores - scores.detach().mean(dim=-1, keepdim=True)
        spread = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs().sum(dim=-1)
        return (pull.unsqueeze(-1) * centred.unsqueeze(-2) - spread.unsqueeze(-2)) / self.temperature


class _RowwiseNeuralSort(_Rowwise, NeuralSort):
    def _curvature(self, ordered: Tensor) -> Tensor:
        return neuralsort_curvature(ordered, self._permutation(ordered))


@dataclass(frozen=True, kw_only=True, repr=False)
class SoftSort(_SoftmaxSort):
    """Ranking loss through SoftSort.

    Row i of P is softmax_j(−|s_(i) − s_j|/τ), s_(i) the i-th smallest score. The rows, not the columns, add up to 1;
    the largest entry of a row is the item that belongs there, whatever τ. `P @ scores` is not the sorted list unless τ
    is small against the gaps.

    Time and memory O(n²) a list. The closed-form Hessian (`objective="rows"`) costs O(n³). Where scores are equal they
    are placed by index, and the derivative of |·| is taken as 0: *a list of nothing but equal scores has gradient 0*,
    so the last layer of a network must not start at zero. For τ far below the gaps of wrongly ordered scores the loss
    is piecewise linear and its curvature vanishes.

    Args:
        temperature: τ > 0, in units of the scores.
        objective: `"rows"` or `"entries"`, see `RankingLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Prillo, Eisenschlos: SoftSort: A Continuous Relaxation for the argsort Operator, ICML 2020.

    Example:
        >>> import torch
        >>> SoftSort(temperature=0.1).sort(torch.tensor([3.0, 1.0, 2.0])).round(decimals=2)
        tensor([1., 2., 3.])
    """

    temperature: float = 1.0
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/softsort-v1"
    _config: ClassVar = SoftSortConfig

    def _logits(self, scores: Tensor) -> Tensor:
        ordered = scores.sort(dim=-1, stable=True).values
        return (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs() / -self.temperature


class _RowwiseSoftSort(_Rowwise, SoftSort):
    def _curvature(self, ordered: Tensor) -> Tensor:
        return softsort_curvature(ordered, self._permutation(ordered))


for _public, _rowwise in ((NeuralSort, _RowwiseNeuralSort), (SoftSort, _RowwiseSoftSort)):
    _public._rowwise = _rowwise
    _rowwise.__name__ = _public.__name__  # what messages and reports show is the class that users know
