"""NeuralSort and SoftSort: one softmax for every place, with logits piecewise linear in the scores."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_sorting._cross_entropy import row_cross_entropy
from nlcore_sorting._curvature import neuralsort_curvature, softsort_curvature
from nlcore_sorting._dispatch import Kernel, served, transformed
from nlcore_sorting._lists import mean_of, real_items
from nlcore_sorting._pairwise import spread
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting._ranking_loss import ranks
from nlcore_sorting.config import NeuralSortConfig, Objective, SoftSortConfig

__all__ = ["NeuralSort", "SoftSort"]

_WIDE = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
"""Items from which torch's softmax computes its rows in vectors."""

_BLOCK = 1 << 15
"""Numbers of the matrices of all lists that a Hessian is taken of at once; more than the caches hold is far slower."""

_SEMIDEFINITE = Traits(psd_hessian=True, takes_mask=True)


def _by_row(logits: Tensor) -> Tensor:
    """Return the softmax of the rows; short rows go side by side, as torch takes them one by one."""
    short = logits.shape[-1] < _WIDE and logits.device.type == "cpu"
    return logits.mT.contiguous().softmax(dim=-2).mT if short else logits.softmax(dim=-1)


class _SoftmaxSort(PermutationLoss):
    """A relaxation whose rows are softmaxes of logits.

    The row-wise objective has a curvature in closed form, the entry-wise one has not. Capabilities are told from the
    methods that an object has, so each objective has a class: calling the public one returns the one that fits.
    """

    temperature: float
    _rowwise: ClassVar[type[_SoftmaxSort]]
    _relaxation: ClassVar[Literal["neuralsort", "softsort"]]

    def __new__(cls, *, temperature: float = 1.0, objective: Objective = "rows") -> Self:
        """Choose the class of the objective."""
        public = cls._public()
        chosen = public._rowwise if objective == "rows" else public
        if cls not in (public, public._rowwise):
            chosen = cls
        elif not issubclass(chosen, cls):  # as in dataclasses.replace(rowwise, objective="entries")
            return cast(Self, chosen(temperature=temperature, objective=objective))
        return object.__new__(chosen)

    def _logits(self, scores: Tensor, length: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Return the logits of the places `rows` ([k] or [..., k], all unless told), [..., k, n]."""
        logits = self._raw_logits(scores, length, rows)
        if length is None:
            return logits
        if rows is None:
            rows = torch.arange(scores.shape[-1], device=scores.device)
        real = (rows < length).unsqueeze(-1) & real_items(length, scores.shape[-1]).unsqueeze(-2)
        own = rows.unsqueeze(-1) == torch.arange(scores.shape[-1], device=scores.device)
        nothing = torch.finfo(scores.dtype).min / 4
        return torch.where(real, logits, nothing).masked_fill(own & ~real, 0.0)

    @abstractmethod
    def _raw_logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None) -> Tensor:
        """Return the logits; finite, but otherwise of no matter, at padded positions."""

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._logits(scores, length).log_softmax(dim=-1)

    def _permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return served(scores, lambda s: _by_row(self._logits(s, length)), lambda: self._kernel(length))

    def _kernel(self, length: Tensor | None) -> Kernel:
        from nlcore_sorting._compiled.softmax_kernel import SoftmaxKernel

        return SoftmaxKernel(self._relaxation, self.temperature, length)

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        weights = self._logits(scores, length, rows).softmax(dim=-1)
        return (weights @ scores.unsqueeze(-1)).squeeze(-1), weights

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

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the logits of every place.

        Args:
            prediction: [batch, n].
            mask: [batch, n], True at padded items.

        Returns:
            [batch, n, n], piecewise linear in the scores.
        """
        lists = self._operand(prediction, mask=mask)
        return lists.columns(self._logits(lists.scores, lists.length))

    def outer(self, features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of the rows, convex in the logits.

        Args:
            features: [batch, n, n], logits.
            target: [batch, n], int64 ranks.
            mask: [batch, n], True at padded items.

        Returns:
            [batch].
        """
        if mask is None:
            return row_cross_entropy(features.log_softmax(dim=-1), target)
        length = (~mask).sum(dim=-1, keepdim=True)
        return row_cross_entropy(features.log_softmax(dim=-1), ranks(target, mask=mask), length)

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the Hessian in closed form, exact wherever it exists; at equal scores that of autodiff.

        Args:
            prediction: [batch, n].
            target: [batch, n], int64 ranks; checked, but the Hessian does not depend on them.
            generator: Not used.
            mask: [batch, n], True at padded items, whose rows and columns are 0.

        Returns:
            [batch, n, n], positive semi-definite up to rounding, with zero row sums. O(n³) time a list.
        """
        lists, _ = self._checked(prediction, target, mask)
        curvature = self._curvatures(lists.scores, lists.length)
        count = curvature.shape[-1] if lists.length is None else lists.length.clamp(min=1).unsqueeze(-1).to(curvature)
        return lists.square(curvature.div_(count * self.temperature**2)).to(prediction.dtype)

    def _curvatures(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return `_curvature` of many lists."""
        size = max(1, _BLOCK // scores.shape[-1] ** 2)
        pieces = torch.split(scores, size)
        lengths = [None] * len(pieces) if length is None else torch.split(length, size)
        found = [self._curvature(*piece) for piece in zip(pieces, lengths, strict=True)]
        return found[0] if len(found) == 1 else torch.cat(found)

    @abstractmethod
    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i."""


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
    _relaxation: ClassVar[Literal["neuralsort", "softsort"]] = "neuralsort"
    config = NeuralSortConfig

    def _raw_logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None) -> Tensor:
        n = scores.shape[-1] if length is None else length
        places = torch.arange(scores.shape[-1], device=scores.device) if rows is None else rows
        pull = (2 * places + 1 - n).to(scores.dtype)
        # A shift of all scores adds a constant to every row; taken out, large offsets cost no digits.
        centred = scores - mean_of(scores, length)
        logits = pull.unsqueeze(-1) * centred.unsqueeze(-2)
        others = spread(centred, length).unsqueeze(-2)
        if transformed():
            return (logits - others) / self.temperature
        return logits.sub_(others).div_(self.temperature)


class _RowwiseNeuralSort(_Rowwise, NeuralSort):
    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        return neuralsort_curvature(scores, self.temperature, length)


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
    _relaxation: ClassVar[Literal["neuralsort", "softsort"]] = "softsort"
    config = SoftSortConfig

    def _raw_logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None) -> Tensor:
        if length is None:
            ordered = scores.sort(dim=-1, stable=True).values
        else:
            key = torch.where(real_items(length, scores.shape[-1]), scores, torch.inf)
            ordered = scores.gather(-1, key.argsort(dim=-1, stable=True))
        if rows is not None:
            ordered = ordered.gather(-1, rows.expand(*scores.shape[:-1], rows.shape[-1]))
        distances = (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
        return distances / -self.temperature if transformed() else distances.div_(-self.temperature)


class _RowwiseSoftSort(_Rowwise, SoftSort):
    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        return softsort_curvature(scores, self.temperature, length)


for _public, _rowwise in ((NeuralSort, _RowwiseNeuralSort), (SoftSort, _RowwiseSoftSort)):
    _public._rowwise = _rowwise
    _rowwise.__name__ = _public.__name__  # what messages and reports show is the class that users know
