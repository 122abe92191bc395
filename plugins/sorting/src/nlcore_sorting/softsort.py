"""SoftSort: a softmax over distances to the sorted scores for every rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore_sorting._dispatch import in_place_forbidden
from nlcore_sorting._lists import order_of
from nlcore_sorting._softmax_sort import SoftmaxSort, column_softmax, differences
from nlcore_sorting.config import Objective, SoftSortConfig

__all__ = ["SoftSort"]


@dataclass(frozen=True, kw_only=True, repr=False)
class SoftSort(SoftmaxSort):
    r"""Ranking loss through SoftSort, a softmax over distances to the sorted scores for every rank.

    Let $s_j$ be the scores of $n$ items, $s_{(i)}$ the $i$-th smallest of them, counted from 0, and $\tau$ the
    temperature. In the relaxed permutation matrix, row $i$ stands for rank $i$ and column $j$ for item $j$:

    $$
    P_{ij} = \operatorname{softmax}_j \left( -\frac{|s_{(i)} - s_j|}{\tau} \right).
    $$

    The loss of a list with true ranks $r$ is the cross-entropy of the rows,

    $$
    \ell(s, r) = -\frac{1}{n} \sum_j \log P_{r_j j}.
    $$

    With `objective="entries"` it is the binary cross-entropy of all entries of P, averaged over the $n^2$ entries.

    Rows sum to 1, columns in general do not. For every $\tau$, the largest entry of row $i$ is at the item of rank $i$.
    `P @ scores` is close to the sorted list only if $\tau$ is small compared with the gaps between neighbouring scores.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: near 0 if the order is right and all gaps are far above τ. With `objective="rows"` and equal scores it
          is log n.

    Cost:
        Time and memory O(n²) per list. The closed-form Hessian (`objective="rows"`) costs O(n³).

    When it fails:
        Equal scores are ranked by index, and the derivative of |·| at 0 is taken as 0. *A list in which all scores are
        equal has gradient 0*, so the last layer of a network must not start at zero. If τ is far below the gaps between
        wrongly ordered scores, the loss is nearly piecewise linear and its curvature nearly zero.

    Args:
        temperature: τ > 0, in units of the scores.
        objective: `"rows"` or `"entries"`, see `PermutationLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Prillo, Eisenschlos: [SoftSort: A Continuous Relaxation for the argsort
        Operator](https://arxiv.org/abs/2006.16038), ICML 2020.

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

    def _logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """Return the logits of SoftSort, whose row-wise softmax is P.

            z[i, j] = −|s_(i) − s_j| / τ

        with s_(i) the i-th smallest score: the matrix of Prillo and Eisenschlos (2020), p = 1, with its rows reversed.

        Args:
            scores: [..., n].
            length: [..., 1], the number of real items, which stand in front; `None` for all.
            rows: [k] or [..., k], the ranks i; `None` for all.

        Returns:
            [..., k, n].
        """
        # Without padding a sort gives the values too, without another operation.
        ordered = scores.sort(stable=True).values if length is None else scores.gather(-1, order_of(scores, length))
        if rows is not None:
            ordered = ordered.gather(-1, rows.expand(*scores.shape[:-1], rows.shape[-1]))
        distances = (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
        return distances / -self.temperature if in_place_forbidden() else distances.div_(-self.temperature)

    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i; see `_softmax_sort`.

        Args:
            scores: [batch, n].
            length: [batch, 1], the number of real items, which stand in front; `None` for all.

        Returns:
            [batch, n, n], 0 at padding.
        """
        gaps, real = differences(scores, length)
        signs = gaps.sign()
        flow = column_softmax(gaps.abs().div_(-self.temperature), real) * signs
        weights = flow * signs
        both = weights + weights.mT
        mean = flow.diagonal_scatter(-flow.sum(dim=-2), dim1=-2, dim2=-1)
        result = torch.baddbmm(both, mean, mean.mT, beta=-1, alpha=-1)
        result.diagonal(dim1=-2, dim2=-1).add_(both.sum(dim=-1))
        return result
