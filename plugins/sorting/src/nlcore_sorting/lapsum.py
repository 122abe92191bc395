"""LapSum: sort, rank and top-k from sums of Laplace distribution functions, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore_sorting._lists import identity_at_padding, log_of_zero, order_of, real_items
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting._scan import decayed_sums
from nlcore_sorting.config import LapSumConfig, Objective

__all__ = ["LapSum"]

_LOG_HALF = math.log(0.5)


class _Sums:
    """LapSum: F(b) = Σ_j L((b − s_j)/α), the soft number of scores below b, and its inverse (Struski et al., 2025).

    With L(x) = ½eˣ for x ≤ 0 and 1 − ½e⁻ˣ above, F between two neighbouring scores is a sum of two exponentials, whose
    factors are running sums over the sorted scores. Hence F(s_j) = j + ½ + ½(right_j − left_j) at place j.

    Attributes:
        ordered: [..., n], the scores in ascending order, padding last.
        place: [..., n], the place of every score.
        left: [..., n], Σ_(k≤j) e^(−(s_j − s_k)/α) at every place, and `right` the same of k ≥ j.
    """

    def __init__(self, scores: Tensor, length: Tensor | None, temperature: float) -> None:
        order, n = order_of(scores, length), scores.shape[-1]
        self.real = None if length is None else real_items(length, n)
        self.place = order.argsort(dim=-1)
        self.ordered = scores.gather(-1, order)
        self.count = torch.full_like(order[..., :1], n) if length is None else length
        gaps = self.ordered.diff(dim=-1) / temperature
        ones = torch.ones_like(self.ordered)
        if self.real is not None:
            gaps = torch.where(self.real[..., 1:], gaps, torch.inf)  # padding is infinitely far away
            ones = self.real.to(ones.dtype)
        self.gaps = gaps
        decay = torch.nn.functional.pad((-gaps).exp(), (1, 0))
        self.left = decayed_sums(ones, decay)
        back = torch.nn.functional.pad((-gaps).exp(), (0, 1)).flip(-1)
        self.right = decayed_sums(ones.flip(-1), back).flip(-1)

    def inverse(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return b with F(b) = t, as a score and an offset in units of α that is to be added to it.

        With p scores below b, c = p − t and h² = L·R·e^(−gap/α), L and R the sums at the two neighbours:
        ½(L·e^(−(b − s_left)/α) − R·e^(−(s_right − b)/α)) = c, a quadratic equation. It is solved from the side on which
        nothing cancels, so that offsets stay exact however large the scores are.

        Args:
            levels: [k] or [..., k], t between 0 and the number of real items; beyond, the result is only finite.
        """
        n = self.ordered.shape[-1]
        t = levels.expand(*self.ordered.shape[:-1], levels.shape[-1]).contiguous()
        with torch.no_grad():
            at_scores = torch.arange(n, device=t.device) + 0.5 + 0.5 * (self.right - self.left)
            below = self._below(at_scores.detach(), t)
            p = torch.minimum(below, self.count)
            c = p - t
        left_place, right_place = (p - 1).clamp(min=0), p.clamp(max=n - 1)
        has_left, has_right = p > 0, p < self.count
        log_left = self.left.gather(-1, left_place).clamp(min=1.0).log()
        log_right = self.right.gather(-1, right_place).clamp(min=1.0).log()
        gap = self.gaps.gather(-1, left_place.clamp(max=max(n - 2, 0))) if n > 1 else torch.zeros_like(t)
        both = has_left & has_right
        size = c.abs().clamp(min=0.5)
        log_h = 0.5 * (log_left + log_right - torch.where(both, gap, 0.0))
        ratio = torch.where(both, (log_h - size.log()).exp(), 0.0)
        rest = size.log() + torch.log1p((1 + ratio.square()).sqrt())
        from_left, from_right = log_left - rest, rest - log_right
        middle = 0.5 * (log_left - log_right)
        low, high = self.ordered.gather(-1, left_place), self.ordered.gather(-1, right_place)
        use_left = ((c > 0) | ~has_right) & has_left
        use_right = ((c < 0) | ~has_left) & ~use_left
        anchor = torch.where(use_left, low, torch.where(use_right, high, low + 0.5 * (high - low)))
        offset = torch.where(use_left, from_left, torch.where(use_right, from_right, middle))
        return anchor, offset

    def _below(self, at_scores: Tensor, t: Tensor) -> Tensor:
        """Return for every level how many scores have a smaller F."""
        if self.real is not None:
            at_scores = torch.where(self.real, at_scores, torch.inf)
        n, k = at_scores.shape[-1], t.shape[-1]
        # A merge of two ascending lists by a stable sort, which every transform of torch.func supports.
        order = torch.cat([at_scores, t], dim=-1).argsort(dim=-1, stable=True)
        position = order.argsort(dim=-1)[..., n:]
        own = t.argsort(dim=-1, stable=True).argsort(dim=-1) if k > 1 else torch.zeros_like(position)
        return position - own


def _log_mass(lower: Tensor, upper: Tensor, width: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return log(L(upper) − L(lower)), exact in both tails, with ∓∞ in place of the bounds of the first and last row.

    Args:
        lower: [..., k, n], the lower bound relative to every score.
        upper: [..., k, n], the upper bound.
        width: [..., k, 1], upper − lower, computed without the score.
        first: [..., k, 1], where the lower bound is −∞.
        last: [..., k, 1], where the upper bound is +∞.
    """
    inner = torch.where(first | last, 1.0, width).clamp(min=torch.finfo(width.dtype).tiny)
    log_share = torch.where(inner < math.log(2), (-torch.expm1(-inner)).log(), torch.log1p(-(-inner).exp()))
    left = upper.clamp(max=0.0) + torch.where(first, 0.0, log_share)
    right = (-lower).clamp(max=0.0) + torch.where(last, 0.0, log_share)
    straddles = (first | (lower < 0)) & (last | (upper > 0))
    above = torch.where(last, 1.0, -torch.expm1(-torch.where(straddles, upper, 1.0).clamp(min=0.0)))
    beneath = torch.where(first, 1.0, -torch.expm1(torch.where(straddles, lower, -1.0).clamp(max=0.0)))
    across = (above + beneath).clamp(min=torch.finfo(width.dtype).tiny).log()
    return _LOG_HALF + torch.where(straddles, across, torch.where(upper <= 0, left, right))


@dataclass(frozen=True, kw_only=True, repr=False)
class LapSum(PermutationLoss):
    r"""Ranking loss through sums of Laplace distribution functions.

    Let $F(b)$ be the soft number of scores below $b$, and $b_i$ the point with $F(b_i) = i$:

    $$
    F(b) = \sum_j L\!\left(\frac{b - s_j}{\alpha}\right), \qquad
    P_{ij} = L\!\left(\frac{b_{i+1} - s_j}{\alpha}\right) - L\!\left(\frac{b_i - s_j}{\alpha}\right),
    $$

    where $L$ is the Laplace distribution function, $\tfrac12 e^x$ for $x \le 0$ and $1 - \tfrac12 e^{-x}$ above. Rows
    *and* columns of $P$ add up to 1. The loss of a list with true ranks $r$ is the cross-entropy of the rows,

    $$
    \ell(s, r) = -\frac{1}{n} \sum_j \log P_{r_j j}.
    $$

    With `objective="entries"` it is the binary cross-entropy of all entries of P, averaged over the $n^2$ entries.

    - `rank`: $F(s_j) - \tfrac12$, the soft number of other scores below $s_j$.
    - `sort`: the value at rank $i$ is the $b$ with $F(b) = i + \tfrac12$.
    - `permutation`: P; the sum of its last k rows is the soft choice of the k largest items.
    - `topk`: the last k values of `sort` and rows of P.

    `sort` and `rank` are thus defined by F, not by P: `sort` differs from `P @ scores`, and `rank` from the mean rank
    under P, by terms of the order of α, which vanish as α → 0. Between two neighbouring scores F is a sum of two
    exponentials, so every b has a closed form.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: near 0 for the right order with gaps far above α; log n for equal scores and `objective="rows"`.

    Cost:
        Time O(n log n) and memory O(n) per list for sort and rank, forward and backward; O(kn) for top-k, O(n²) for P
        and the loss.

    When it fails:
        The derivatives of L decay as e^(−|x|). A wrong order with gaps far above α is therefore corrected by the loss,
        which is computed from log P, but not by `rank` or `sort`. The second derivative of L jumps at 0, where two
        scores are equal. Equal scores are pulled apart.

    Args:
        temperature: α > 0, the scale of the distribution, in units of the scores; larger is softer.
        objective: `"rows"` or `"entries"`, see `PermutationLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Struski, Bednarczyk, Podolak, Tabor: [LapSum – One Method to Differentiate Them All: Ranking, Sorting and Top-k
        Selection](https://arxiv.org/abs/2503.06242), ICML 2025.

    Example:
        >>> import torch
        >>> LapSum(temperature=0.1).rank(torch.tensor([3.0, 1.0, 2.0])).round(decimals=2)
        tensor([2., 0., 1.])
    """

    temperature: float = 1.0
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/lapsum-v1"
    config = LapSumConfig

    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        sums = self._sums(scores, length)
        halves = torch.arange(scores.shape[-1], dtype=sums.ordered.dtype, device=scores.device) + 0.5
        anchor, offset = sums.inverse(halves)
        return (anchor + self.temperature * offset).to(scores.dtype)

    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        sums = self._sums(scores, length)
        places = torch.arange(scores.shape[-1], dtype=sums.ordered.dtype, device=scores.device)
        return (places + 0.5 * (sums.right - sums.left)).gather(-1, sums.place).to(scores.dtype)

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        rows = torch.arange(scores.shape[-1], device=scores.device)
        return self._rows(self._sums(scores, length), scores, rows, length)

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        sums = self._sums(scores, length)
        anchor, offset = sums.inverse(rows.to(sums.ordered.dtype) + 0.5)
        weights = self._rows(sums, scores, rows, length).exp()
        return (anchor + self.temperature * offset).to(scores.dtype), weights

    def _sums(self, scores: Tensor, length: Tensor | None) -> _Sums:
        wide = scores if scores.device.type == "mps" else scores.double()  # mps has no float64
        return _Sums(wide, length, self.temperature)

    def _rows(self, sums: _Sums, scores: Tensor, rows: Tensor, length: Tensor | None) -> Tensor:
        """Return these rows of log P, [..., k, n], by position of the scores."""
        n = scores.shape[-1]
        rows = rows.expand(*scores.shape[:-1], rows.shape[-1])
        count = torch.full_like(rows[..., :1], n) if length is None else length
        low = sums.inverse(rows.clamp(min=1).to(sums.ordered.dtype))
        high = sums.inverse((rows + 1).to(sums.ordered.dtype))
        wide = scores.to(sums.ordered.dtype).unsqueeze(-2)
        lower, upper = (
            (anchor.unsqueeze(-1) - wide) / self.temperature + offset.unsqueeze(-1) for anchor, offset in (low, high)
        )
        width = ((high[0] - low[0]) / self.temperature + (high[1] - low[1])).unsqueeze(-1)
        first, last = (rows == 0).unsqueeze(-1), (rows == count - 1).unsqueeze(-1)
        logs = _log_mass(lower, upper, width, first, last)
        return identity_at_padding(logs, length, rows, on=0.0, off=log_of_zero(scores.dtype)).to(scores.dtype)

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).max / (16 * n * max(1.0, 1 / self.temperature))
