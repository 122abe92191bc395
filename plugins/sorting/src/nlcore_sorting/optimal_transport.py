"""Optimal-transport sort: Sinkhorn iterations in the log domain, started from the sorted list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore_sorting._lists import identity_at_padding, log_of_zero, order_of, real_items
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting.config import Objective, OptimalTransportSortConfig

__all__ = ["OptimalTransportSort"]


def _start(scores: Tensor, strength: float, length: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return i·s_j/ε minus the dual solution for ε = 0, with sorted columns, and the ranks of the items.

    With the sorted score s_(i) between ranks i and i ± 1 split evenly, entry (i, j) is the area between the step
    function of the scores and the level s_(j): 0 on the diagonal and negative beside it.
    """
    order, n = order_of(scores, length), scores.shape[-1]
    gaps = scores.gather(-1, order).diff(dim=-1) / strength
    if length is not None:
        gaps = torch.where(real_items(length, n)[..., 1:], gaps, 0.0)
    # In gaps alone: entry (i, j) = −Σ over the gaps g_m between i and j of g_m·(their distance from i, plus ½).
    places = torch.arange(n, dtype=scores.dtype, device=scores.device)
    total = torch.nn.functional.pad(gaps.cumsum(dim=-1), (1, 0))
    moment = torch.nn.functional.pad((gaps * (places[:-1] + 0.5)).cumsum(dim=-1), (1, 0))
    rise = total.unsqueeze(-2) - total.unsqueeze(-1)
    logits = places.unsqueeze(-1) * rise - (moment.unsqueeze(-2) - moment.unsqueeze(-1))
    return identity_at_padding(logits, length, on=0.0, off=log_of_zero(scores.dtype)), order.argsort(dim=-1)


@dataclass(frozen=True, kw_only=True, repr=False)
class OptimalTransportSort(PermutationLoss):
    r"""Ranking loss through an entropic transport plan between items and ranks.

    The relaxed permutation matrix is the minimiser over all matrices whose rows and columns add up to 1,

    $$
    P = \operatorname{argmin}_P \sum_{ij} P_{ij} \tfrac12 (s_j - i)^2 + \varepsilon \sum_{ij} P_{ij} \log P_{ij}.
    $$

    The loss of a list with true ranks $r$ is the cross-entropy of the rows,

    $$
    \ell(s, r) = -\frac{1}{n} \sum_j \log P_{r_j j}.
    $$

    With `objective="entries"` it is the binary cross-entropy of all entries of P, averaged over the $n^2$ entries.

    Of the cost, only the products i·s_j affect P: adding a constant to all scores or to all ranks changes nothing.
    Sinkhorn's iterations scale columns and rows in turn, `iterations` times, the rows last: *rows add up to 1 up to
    rounding, columns only as far as the iterations have converged*. The iterations start from the dual solution for ε =
    0, which the sorted list gives in closed form, so small ε needs no iterations at all. Derivatives are those of the
    iterations.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: near 0 for the right order with gaps far above ε; log n for equal scores and `objective="rows"`.

    Cost:
        Time and memory O(iterations·n²) per list.

    When it fails:
        The iterations converge slowly where ε is of the order of the gaps in a long list; the columns then do not add
        up to 1. Equal scores are pulled apart.

    Args:
        regularization_strength: ε > 0, in units of the scores; larger is softer.
        iterations: Number of Sinkhorn iterations.
        objective: `"rows"` or `"entries"`, see `PermutationLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Cuturi, Teboul, Vert: [Differentiable Ranking and Sorting using Optimal
        Transport](https://arxiv.org/abs/1905.11885), NeurIPS 2019.

    Example:
        >>> import torch
        >>> OptimalTransportSort(regularization_strength=0.05).sort(torch.tensor([3.0, 1.0, 2.0])).round(decimals=2)
        tensor([1., 2., 3.])
    """

    regularization_strength: float = 1.0
    iterations: int = 20
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/optimal_transport-v1"
    config = OptimalTransportSortConfig

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        """Return log P of the entropic transport plan between ranks and items (Cuturi et al., 2019).

        Sinkhorn's algorithm in the log domain: columns and rows of exp(i·s_j/ε) are scaled to sums of 1 in turn.

        Args:
            scores: [..., n].
            length: [..., 1], the number of real items, which stand in front; `None` for all.

        Returns:
            [..., n, n].
        """
        logs, place = _start(scores, self.regularization_strength, length)
        for _ in range(self.iterations):
            logs = logs - logs.logsumexp(dim=-2, keepdim=True)
            logs = logs - logs.logsumexp(dim=-1, keepdim=True)
        logs = identity_at_padding(logs, length, on=0.0, off=log_of_zero(scores.dtype))
        return logs.gather(-1, place.unsqueeze(-2).expand(logs.shape))

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).max / (64 * n**2 * max(1.0, 1 / self.regularization_strength))
