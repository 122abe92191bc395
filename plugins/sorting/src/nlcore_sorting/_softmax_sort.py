"""Base of NeuralSort and SoftSort: P is a row-wise softmax of logits that are piecewise linear in the scores.

With the row-wise cross-entropy the Hessian of row i is J_iᵀ(diag p_i − p_i p_iᵀ)J_i with p_i the softmax of row i and
J_i the Jacobian of its logits: the covariance, under p_i, of the rows of J_i. A covariance does not change when one
vector is subtracted from all rows. The closed forms subtract the row of the item that belongs at rank i, which has the
largest weight: what remains is multiplied by small weights alone, so nothing cancels where the relaxation is sharp. The
sum over ranks is a handful of n×n products. A sum has no order, so nothing is sorted: row i is that of the rank where
item i belongs. Everything is transposed, Q[j, i] being the weight of item j at the rank of item i; sums over short
columns are faster.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_sorting._compiled import bridge
from nlcore_sorting._differentiation import differentiated
from nlcore_sorting._dispatch import dispatch
from nlcore_sorting._lists import identity_at_padding, log_of_zero, real_items
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting._ranking_loss import ranks

__all__ = ["SoftmaxSort", "column_softmax", "differences"]

_WIDE = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
"""Number of items from which torch's softmax computes rows in vectors."""

_BLOCK = 1 << 15
"""Numbers of the matrices of all lists that Hessians are computed of at once; beyond the caches it is far slower."""

_TRAITS = {
    "rows": Traits(psd_hessian=True, takes_mask=True, supplies=frozenset({"hessian", "split"})),
    "entries": Traits(takes_mask=True, supplies=frozenset()),
}


def _by_row(logits: Tensor) -> Tensor:
    """Return the softmax of the rows; short rows go side by side, as torch takes them one by one."""
    short = logits.shape[-1] < _WIDE and logits.device.type == "cpu"
    return logits.mT.contiguous().softmax(dim=-2).mT if short else logits.softmax(dim=-1)


class SoftmaxSort(PermutationLoss):
    """Base of the relaxations whose rows are softmaxes of logits.

    `_relaxation` names the kernel in `_compiled/softmax.py`; a relaxation without one extends `PermutationLoss`.
    """

    temperature: float
    _relaxation: ClassVar[Literal["neuralsort", "softsort"]]

    @property
    def traits(self) -> Traits:
        """With `"rows"` the Hessian is supplied and positive semi-definite: the Gauss–Newton matrix of the logits.

        It is so wherever it exists. Across the kinks, where two scores are equal, the loss need not be convex.
        """
        return _TRAITS[self.objective]

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the logits of every rank.

        Args:
            prediction: [batch, n].
            mask: [batch, n], True at padded items.

        Returns:
            [batch, n, n], piecewise linear in the scores.
        """
        lists = self._operand(prediction, mask=mask)
        return lists.columns(self._padded_logits(lists.scores, lists.length))

    def outer(self, features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the cross-entropy; with `"rows"` it is convex in the logits, which `"entries"` is not.

        Args:
            features: [batch, n, n], logits.
            target: [batch, n], int64 ranks.
            mask: [batch, n], True at padded items.

        Returns:
            [batch].
        """
        logs = features.log_softmax(dim=-1)
        if mask is None:
            return self._criterion(logs, target)
        return self._criterion(logs, ranks(target, mask=mask), (~mask).sum(dim=-1, keepdim=True))

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the Hessian: with `"rows"` in closed form, exact wherever it exists; with `"entries"` by autodiff.

        Args:
            prediction: [batch, n].
            target: [batch, n], int64 ranks; with `"rows"` checked, but the Hessian does not depend on them.
            generator: Not used.
            mask: [batch, n], True at padded items, whose rows and columns are 0.

        Returns:
            [batch, n, n], with zero row sums, and with `"rows"` positive semi-definite up to rounding. At equal scores
            it is that of autodiff. O(n³) time a list.
        """
        lists, true_ranks = self._checked(prediction, target, mask)
        if self.objective == "rows":
            result = self._closed_form(lists.scores, lists.length)
        else:
            result = differentiated(self._cross_entropy, lists.scores, true_ranks, lists.length)
        return lists.square(result).to(prediction.dtype)

    def _closed_form(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return the Hessians of the row-wise cross-entropy, some lists at a time."""
        size = max(1, _BLOCK // scores.shape[-1] ** 2)
        pieces = torch.split(scores, size)
        lengths = [None] * len(pieces) if length is None else torch.split(length, size)
        found = [self._curvature(*piece) for piece in zip(pieces, lengths, strict=True)]
        curvature = found[0] if len(found) == 1 else torch.cat(found)
        count = curvature.shape[-1] if length is None else length.clamp(min=1).unsqueeze(-1).to(curvature)
        return curvature.div_(count * self.temperature**2)

    @abstractmethod
    def _logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """Return the logits of all or some rows, [..., k, n]; finite, but otherwise arbitrary, at padding."""

    @abstractmethod
    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i."""

    def _padded_logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None = None) -> Tensor:
        off = log_of_zero(scores.dtype)
        return identity_at_padding(self._logits(scores, length, rows), length, rows, on=0.0, off=off)

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._padded_logits(scores, length).log_softmax(dim=-1)

    def _permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return dispatch(
            scores,
            lambda s: _by_row(self._padded_logits(s, length)),
            lambda: bridge.softmax_sort(self._relaxation, self.temperature, length),
        )

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        weights = self._padded_logits(scores, length, rows).softmax(dim=-1)
        return (weights @ scores.unsqueeze(-1)).squeeze(-1), weights

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).max / (16 * n**2 * max(1.0, 1 / self.temperature))


def differences(scores: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return s_i − s_j, 0 with padding, and where both are real."""
    found = scores.unsqueeze(-1) - scores.unsqueeze(-2)
    if length is None:
        return found, None
    real = real_items(length, scores.shape[-1])
    both = real.unsqueeze(-1) & real.unsqueeze(-2)
    return torch.where(both, found, 0.0), both


def column_softmax(logits: Tensor, real: Tensor | None) -> Tensor:
    """Return the softmax of columns whose largest logits are the zeros of the diagonal, 0 at padding; uses `logits`."""
    weights = logits.exp_()
    if real is None:
        return weights / weights.sum(dim=-2, keepdim=True)
    weights = torch.where(real, weights, 0.0)
    return weights / weights.sum(dim=-2, keepdim=True).clamp(min=1)
