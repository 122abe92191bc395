"""NeuralSort: for every rank, a softmax over the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nlcore_sorting._dispatch import in_place_forbidden
from nlcore_sorting._lists import mean_of, order_of, real_items
from nlcore_sorting._softmax_sort import SoftmaxSort, column_softmax, differences
from nlcore_sorting.config import NeuralSortConfig, Objective

__all__ = ["NeuralSort"]

_PAIRS_UP_TO = 48
"""Number of items up to which all pairs are cheaper than a sort."""


def spread(scores: Tensor, length: Tensor | None = None) -> Tensor:
    """Return Σ_k |s_j − s_k| of every item, the derivative of |·| at 0 being 0.

    Args:
        scores: [..., n]; best without a large offset.
        length: [..., 1], the number of real items, which stand in front; `None` for all.

    Returns:
        [..., n]. Time O(n²) for few items, else O(n log n) with memory O(n).
    """
    n = scores.shape[-1]
    real = None if length is None else real_items(length, n)
    if n <= _PAIRS_UP_TO:
        distances = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
        if real is not None:
            distances = torch.where(real.unsqueeze(-2), distances, 0.0)
        return distances.sum(dim=-1)
    key = scores.detach() if real is None else torch.where(real, scores.detach(), torch.inf)
    order, below, upto = _neighbours(key)
    # Σ_k sign(s_j − s_k)(s_j − s_k), the signs counted and summed from the sorted list.
    counted = scores if real is None else torch.where(real, scores, 0.0)
    sums = torch.nn.functional.pad(counted.gather(-1, order).cumsum(dim=-1), (1, 0))
    total = n if length is None else length
    signs = (below + upto - total).to(scores.dtype)
    return scores * signs - (sums.gather(-1, below) + sums.gather(-1, upto) - sums[..., -1:])


def _neighbours(key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ascending order, and for every item the number of smaller and of not larger items."""
    ordered, order = key.sort(dim=-1, stable=True)
    n = key.shape[-1]
    places = torch.arange(n, device=key.device).expand(key.shape)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = torch.where(new, places, 0).cummax(dim=-1).values
    last = torch.where(new.roll(-1, dims=-1), places, n - 1).flip(-1).cummin(dim=-1).values.flip(-1)
    position = order.argsort(dim=-1)
    return order, first.gather(-1, position), last.gather(-1, position) + 1


def _pulls(scores: Tensor, length: Tensor | None) -> Tensor:
    """Return 2r + 1 − n of every real item, [batch, n], with r its rank among n, equal ones by index."""
    size = scores.shape[-1]
    ascending = torch.arange(1 - size, size, 2, dtype=scores.dtype, device=scores.device).expand_as(scores)
    if length is not None:
        ascending = ascending + (size - length)
    return torch.zeros_like(scores).scatter(-1, order_of(scores, length), ascending)


@dataclass(frozen=True, kw_only=True, repr=False)
class NeuralSort(SoftmaxSort):
    r"""Ranking loss through NeuralSort: for every rank, a softmax over the items.

    Let $s_j$ be the scores of $n$ items and $\tau$ the temperature. In the relaxed permutation matrix, row $i$ stands
    for rank $i$ and column $j$ for item $j$. Ranks count from 0, the smallest score first:

    $$
    P_{ij} = \operatorname{softmax}_j\, \frac{(2i + 1 - n)\, s_j - \sum_k |s_j - s_k|}{\tau}.
    $$

    This is the matrix of the paper with its rows in reverse order. The loss of a list with true ranks $r$ is the
    cross-entropy of the rows,

    $$
    \ell(s, r) = -\frac{1}{n} \sum_j \log P_{r_j j}.
    $$

    With `objective="entries"`, it is the binary cross-entropy between the entries of P and those of the true
    permutation matrix, averaged over the $n^2$ entries.

    Rows sum to 1; columns in general do not. For every $\tau$, the largest entry of row $i$ is at the item of rank $i$.
    `P @ scores` is close to the sorted list only if $\tau$ is small compared with the gaps between neighbouring scores.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: near 0 for the right order with gaps far above τ; log n for equal scores and `objective="rows"`.

    Cost:
        Time and memory O(n²) per list. The closed-form Hessian (`objective="rows"`) costs O(n³).

    When it fails:
        If τ is far below the gaps between wrongly ordered scores, the loss is nearly piecewise linear and its curvature
        vanishes. At equal scores, the derivative of |·| is set to 0; the gradients of these scores still differ, so a
        step separates them.

    Args:
        temperature: τ > 0, in units of the scores.
        objective: `"rows"` or `"entries"`, see `PermutationLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Grover, Wang, Zweig, Ermon: [Stochastic Optimization of Sorting Networks via Continuous
        Relaxations](https://arxiv.org/abs/1903.08850), ICLR 2019.

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

    def _logits(self, scores: Tensor, length: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """Return the logits of NeuralSort, whose row-wise softmax is P.

            z[i, j] = ((2i + 1 − n)·s_j − Σ_k |s_j − s_k|) / τ

        with ranks i from 0, ascending: the matrix of Grover et al. (2019) with its rows reversed.

        Args:
            scores: [..., n].
            length: [..., 1], the number n of real items, which stand in front; `None` for all.
            rows: [k] or [..., k], the ranks i; `None` for all.

        Returns:
            [..., k, n].
        """
        n = scores.shape[-1] if length is None else length
        places = torch.arange(scores.shape[-1], device=scores.device) if rows is None else rows
        pull = (2 * places + 1 - n).to(scores.dtype)
        # Shifting all scores adds a constant to every row; without the mean, large offsets cost no digits.
        centred = scores - mean_of(scores, length)
        logits = pull.unsqueeze(-1) * centred.unsqueeze(-2)
        others = spread(centred, length).unsqueeze(-2)
        if in_place_forbidden():
            return (logits - others) / self.temperature
        return logits.sub_(others).div_(self.temperature)

    def _curvature(self, scores: Tensor, length: Tensor | None) -> Tensor:
        """Return τ²·Σ_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i; see `_softmax_sort`.

        Let Q[j, i] be the weight of item j at the rank r of item i, a_i = 2r + 1 − n, S[i, j] = sign(s_i − s_j), 0
        where |·| has no derivative, and F[j, i] = Q[j, i](a_i − Σ_k S[j, k]). R is Q with another diagonal: minus the
        sum of the other entries of the column. The means under all p_i are then the columns of M = F − SR. The means
        of squares add up to a diagonal matrix from F, and to X + Xᵀ with X in terms of M and S, since R + Rᵀ is a
        Laplacian except for its diagonal.

        Args:
            scores: [batch, n].
            length: [batch, 1], the number n of real items, which stand in front; `None` for all.

        Returns:
            [batch, n, n], 0 at padding.
        """
        gaps, real = differences(scores, length)
        signs = gaps.sign()  # S
        pull = _pulls(scores, length).unsqueeze(-2)  # a
        distances = gaps.abs().sum(dim=-1, keepdim=True)
        logits = (gaps * pull).add_(distances.mT - distances).div_(self.temperature)
        weights = column_softmax(logits.clamp(max=0), real)  # Q; rounding must lift no logit above the largest
        slope = pull - signs.sum(dim=-1, keepdim=True)
        flow = weights * slope  # F
        others = weights.diagonal_scatter(torch.zeros_like(scores), dim1=-2, dim2=-1)
        given, taken = others.sum(dim=-1), others.sum(dim=-2)
        others.diagonal(dim1=-2, dim2=-1).sub_(taken)  # R
        mean = torch.baddbmm(flow, signs, others, alpha=-1)  # M
        factor = (signs * ((given - taken) / 2).unsqueeze(-2)).add_(mean)
        factor.diagonal(dim1=-2, dim2=-1).sub_(flow.sum(dim=-1))
        half = factor @ signs  # X
        result = torch.baddbmm(half + half.mT, mean, mean.mT, beta=-1, alpha=-1)
        result.diagonal(dim1=-2, dim2=-1).add_((flow * slope).sum(dim=-1))
        return result
