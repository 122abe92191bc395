"""FastSoftSort: sort and rank by projection onto the permutahedron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore.protocol import Traits
from nlcore_sorting._compiled import bridge
from nlcore_sorting._dispatch import dispatch
from nlcore_sorting._isotonic import block_starts, segment_mean, segment_sum
from nlcore_sorting._lists import Lists, order_of, real_items
from nlcore_sorting._ranking_loss import RankingLoss, ranks
from nlcore_sorting.config import FastSoftSortConfig, Regularization

__all__ = ["FastSoftSort", "projection", "soft_rank", "soft_sort"]

_TRAITS = {"l2": Traits(order=1, takes_mask=True), "kl": Traits(order=2, takes_mask=True)}


def soft_rank(scores: Tensor, regularization: Regularization, strength: float, length: Tensor | None = None) -> Tensor:
    """Return the soft ranks of Blondel et al. (2020), from 0.

    With ρ = (n, …, 1) they are P(scores/ε, ρ) − 1 for `"l2"`, and exp P(scores/ε, log ρ) − 1 for `"kl"`.

    Args:
        scores: [..., n].
        regularization: `"l2"` or `"kl"`.
        strength: ε.
        length: [..., 1], the number n of real items, which stand in front; `None` for all.
    """
    order = order_of(scores, length, descending=True)
    z = _wide(scores.gather(-1, order)) / strength
    places = _falling(z, length)
    if regularization == "l2":
        projected = projection(z, places, "l2", length)
    else:
        projected = projection(z, (places + 1).clamp(min=1).log(), "kl", length).exp() - 1
    return projected.gather(-1, order.argsort(dim=-1)).to(scores.dtype)


def soft_sort(scores: Tensor, regularization: Regularization, strength: float, length: Tensor | None = None) -> Tensor:
    """Return the soft sorted list, ascending: −P((n, …, 1)/ε, −scores), up to a shift of the first argument."""
    w = _wide(scores.gather(-1, order_of(-scores, length, descending=True))).neg()
    z = (_falling(w, length) / strength).expand(w.shape)
    return -projection(z, w, regularization, length).to(scores.dtype)


def projection(z: Tensor, w: Tensor, regularization: Regularization, length: Tensor | None = None) -> Tensor:
    """Return P(z, w), the projection of z onto the permutahedron of w, both decreasing.

    It is z − v with v the decreasing isotonic regression of z on w: neighbours are pooled into blocks, and v is
    mean(z) − mean(w) over a block, or LSE(z) − LSE(w) with `"kl"`.

    Args:
        z: [..., n].
        w: [..., n], or broadcast to it.
        regularization: `"l2"` or `"kl"`.
        length: [..., 1], the number of real items, which stand in front; `None` for all.
    """
    w = w.expand(z.shape)
    y = (z - w).detach()
    real = None if length is None else real_items(length, z.shape[-1])
    if real is not None:  # below everything else, so that padding is pooled with nothing
        low = torch.where(real, y, torch.inf).amin(dim=-1, keepdim=True)
        fall = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
        y = torch.where(real, y, torch.where(low.isinf(), 0.0, low - low.abs()) - fall)
    if regularization == "l2":
        starts = block_starts(y)
        return segment_mean(w, starts) + (z - segment_mean(z, starts))
    other = w if real is None else torch.where(real, w, 0.0)
    starts = block_starts(torch.where(real, z, y) if real is not None else z, other)
    return _log_total(w, starts) + (z - _log_total(z, starts))


def _log_total(values: Tensor, starts: Tensor) -> Tensor:
    """Return the log-sum-exp over the block of every position; the first of a block is its largest."""
    first = values.gather(-1, starts)
    return first + segment_sum((values - first).clamp(max=0.0).exp(), starts).log()


def _falling(z: Tensor, length: Tensor | None) -> Tensor:
    """Return n − 1, …, 0, and negative numbers at padding."""
    n = z.shape[-1] if length is None else length
    return (n - 1 - torch.arange(z.shape[-1], device=z.device)).to(z.dtype)


def _wide(values: Tensor) -> Tensor:
    """Return float64 where the device has it: small differences of large scores decide which items share a block."""
    return values if values.device.type == "mps" else values.double()


@dataclass(frozen=True, kw_only=True, repr=False)
class FastSoftSort(RankingLoss):
    r"""Ranking loss through soft ranks that are a projection onto the permutahedron.

    The permutahedron $\mathcal P(w)$ is the convex hull of all permutations of $w$. With $\rho = (n, \ldots, 1)$, the
    soft ranks for `"l2"` are

    $$
    \operatorname{rank}(s) = \operatorname{argmin}_{y \in \mathcal P(\rho)}
    \tfrac12 \left\lVert y - \frac{s}{\varepsilon} \right\rVert^2 - 1
    $$

    For `"kl"`, the relative entropy of $y$ to $\exp(s/\varepsilon)$ replaces half the squared distance. The loss of a
    list with true ranks $r$ is

    $$
    \ell(s, r) = \tfrac12 \sum_j (\operatorname{rank}_j(s) - r_j)^2.
    $$

    Let P(z, w) be the projection of z onto the permutahedron of w. With either regularization, `sort` returns the
    ascending list −P(ρ/ε, −scores).

    - `"l2"`: P(z, w) is the nearest point in Euclidean distance. The ranks are P(scores/ε, ρ) − 1. They have the sum of
      0 … n − 1, and the sorted list has the sum of the scores.
    - `"kl"`: P(z, w) is the logarithm of the point of the permutahedron of exp(w) that is nearest to exp(z) in relative
      entropy. The ranks are exp P(scores/ε, log ρ) − 1, with the same sum as for `"l2"`. *`sort` projects the negated
      scores*, so Σ exp(−sort) = Σ exp(−scores), and the smallest scores dominate. The soft sort of the paper is
      descending and projects the scores themselves, so Σ exp(sort) = Σ exp(scores). It is `-sort(-scores)`, whereas
      `sort(scores, descending=True)` is the ascending list reversed.

    Each projection is computed by an isotonic regression. Items that are neighbours in the sorted list are pooled into
    blocks. All z of a block are shifted by the same number, so that their mean becomes that of the w of the block (for
    `"kl"` their log-sum-exp). As ε → ∞ all ranks tend to (n − 1)/2. For ε below a bound that depends on the gaps
    between the scores, the ranks are exact.

    The loss has a Gauss–Newton split: `inner` returns the ranks, and `outer` is half the squared distance. With the
    Jacobian J of the ranks, the Gauss–Newton matrix is JᵀJ. With `"l2"` the ranks are piecewise linear and
    `traits.order` is 1; with `"kl"` they are smooth inside a block and their second derivatives are exact.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: half the squared distance of the soft ranks to the true ones, 0 for the right order with gaps above ε.

    Cost:
        Time O(n log n), memory O(n) per list, for a sort and a pooling. Both are compiled where numba is installed.
        Without it, short lists are pooled in torch, all blocks at once, in time O(n²), and long lists in Python.

    When it fails:
        *Gradients vanish* where no two items are close: the rank of an item that is alone in its block is constant. If
        ε is small compared with the gaps, this holds for wrongly ordered items too: choose ε near the gaps of the
        scores, or larger. The method has no permutation matrix, and therefore no `permutation` and no `topk`.

    Args:
        regularization: `"l2"` or `"kl"`.
        regularization_strength: ε > 0, in units of the scores; larger is softer.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Blondel, Teboul, Berthet, Djolonga: [Fast Differentiable Sorting and
        Ranking](https://arxiv.org/abs/2002.08871), ICML 2020.

    Example:
        >>> import torch
        >>> FastSoftSort(regularization_strength=1.0).rank(torch.tensor([3.0, 1.0, 1.5]))
        tensor([2.0000, 0.2500, 0.7500])
    """

    regularization: Regularization = "l2"
    regularization_strength: float = 1.0

    id: ClassVar[str] = "sorting/fast_soft_sort-v1"
    config = FastSoftSortConfig

    @property
    def traits(self) -> Traits:
        """With `"l2"` the second derivative is zero wherever it exists; with `"kl"` there are two."""
        return _TRAITS[self.regularization]

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the soft ranks.

        Args:
            prediction: [batch, n].
            mask: [batch, n], True at padded items.

        Returns:
            [batch, n], in the precision of the computation.
        """
        lists = self._operand(prediction, mask=mask)
        return lists.items(self._rank(lists.scores, lists.length), descending=False)

    def outer(self, features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return half the squared distance to the true ranks, convex in the soft ones.

        Args:
            features: [batch, n], soft ranks.
            target: [batch, n], int64 ranks.
            mask: [batch, n], True at padded items.

        Returns:
            [batch].
        """
        errors = features - (target if mask is None else ranks(target, mask=mask))
        return 0.5 * (errors if mask is None else errors.masked_fill(mask, 0.0)).square().sum(dim=-1)

    def _loss(self, lists: Lists, target: Tensor) -> Tensor:
        errors = self._rank(lists.scores, lists.length) - target
        if lists.length is not None:
            errors = torch.where(real_items(lists.length, errors.shape[-1]), errors, 0.0)
        return 0.5 * errors.square().sum(dim=-1)

    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._operator("rank", soft_rank, scores, length)

    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._operator("sort", soft_sort, scores, length)

    def _operator(
        self, name: Literal["sort", "rank"], plain: Callable[..., Tensor], scores: Tensor, length: Tensor | None
    ) -> Tensor:
        options = self.regularization, self.regularization_strength, length
        return dispatch(scores, lambda s: plain(s, *options), lambda: bridge.projection(name, *options))

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).max / (16 * n * max(1.0, 1 / self.regularization_strength))
