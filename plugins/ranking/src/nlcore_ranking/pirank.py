"""PiRank: NDCG of gains sorted by NeuralSort, long lists in blocks."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._gains import discounts, ideal, scaled_gains, shortfall
from nlcore_ranking._lists import Lists
from nlcore_ranking._relaxation import operator
from nlcore_ranking.config import Gain, PiRankConfig

__all__ = ["PiRank"]


@final
class PiRank(ListLoss, id="ranking/pirank-v1", config=PiRankConfig, traits=SMOOTH):
    r"""One minus NDCG@k of gains sorted by NeuralSort.

    $$
    \ell(s, r) = 1 - \frac{1}{\text{ideal}} \sum_{i < k} \frac{(P\, G)_i}{\log_2 (2 + i)}.
    $$

    P is NeuralSort's matrix of the scores, largest first; positions i count from 0. G are the gains of the relevance r,
    and the ideal DCG is that of the best order. With `block`, a longer list is split into blocks in the order of the
    list; each is sorted, its first k relaxed scores and gains are kept, and so on until one block is left.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]`, the relevance of every item, ≥ 0.
        - mask: `[batch, n]` bool, True at padded items.
        - value: at most 1. P is not doubly stochastic, so a gain may be counted more than once and the loss may fall a
          little below 0. A list without relevant items has loss 0 and gradient 0; a list of one item has loss 0.

    Cost:
        Time and memory O(n²) per list, O(n·block) with blocks. The Hessian is taken by differentiation.

    When it fails:
        If τ is far below the gaps between wrongly ordered scores, the gradient vanishes; if τ is far above them, all
        orders have nearly the same loss. With blocks, the value depends on the order in which the items are given, the
        more the larger τ is. The loss is twice differentiable wherever no two scores are equal. It is not convex: the
        Hessian may be indefinite.

    Args:
        temperature: τ > 0, in units of the scores.
        k: Positions that count; `None` for all.
        block: Longest list that is sorted whole, at least 2·k; `None` for no limit.
        gain: `"exponential"` or `"linear"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range, or `block` does not fit `k`.

    References:
        Swezey, Grover, Charron, Ermon: [PiRank: Scalable Learning To Rank via Differentiable
        Sorting](https://arxiv.org/abs/2012.06731), NeurIPS 2021.

    Example:
        >>> import torch
        >>> PiRank(temperature=0.01)(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))  # 1 − 1/log₂(3)
        tensor([0.3691])
    """

    temperature: float = 1.0
    k: int | None = None
    block: int | None = None
    gain: Gain = "exponential"

    def _loss(self, lists: Lists) -> Tensor:
        gains = scaled_gains(lists.relevance, self.gain)
        best = ideal(gains, discounts(gains.shape[1], self.k, gains))
        if self.block is None or self.k is None or gains.shape[1] <= self.block:
            found = self._top(lists.scores, gains, lists.mask)[1]
        else:
            front = lists.in_front()
            found = self._merged(front, scaled_gains(front.relevance, self.gain), self.k, self.block)
        return shortfall((found * discounts(found.shape[1], self.k, gains)).sum(dim=1), best)

    def _merged(self, lists: Lists, gains: Tensor, k: int, block: int) -> Tensor:
        """Return the gains of the first k positions, [batch, k], of lists with the real items in front.

        In every round a list longer than a block becomes the first k of each of its blocks, and a shorter one stays.
        """
        scores, length = lists.shifted, lists.valid.sum(dim=1, keepdim=True)
        position = torch.arange(scores.shape[1], device=scores.device)
        while scores.shape[1] > block:
            blocks = -(-scores.shape[1] // block)
            real = (length - block * position[:blocks]).clamp(0, block)  # [batch, blocks], items in every block
            wide = (pad(t, (0, blocks * block - t.shape[1])) for t in (scores, gains))
            parts = (t.reshape(-1, blocks, block) for t in wide)
            firsts = self._top(next(parts), next(parts), position[:block] >= real.unsqueeze(2))
            # Only the last block of a list may give fewer than k items, so the real ones are in front again.
            width = max(block, blocks * k)
            scores, gains = (
                torch.where(length > block, pad(new.flatten(1), (0, width - blocks * k)), old[:, :width])
                for new, old in zip(firsts, (scores, gains), strict=True)
            )
            length = torch.where(length > block, real.clamp(max=k).sum(dim=1, keepdim=True), length)
        return self._top(scores, gains, position[: scores.shape[1]] >= length)[1]

    def _top(self, scores: Tensor, gains: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return relaxed scores and gains of the first k positions of [..., m] lists, [..., min(k, m)]."""
        rows = operator("neuralsort", self.temperature).permutation(scores, descending=True, mask=mask)
        rows = rows if self.k is None else rows[..., : self.k, :]
        return (rows @ scores.unsqueeze(-1)).squeeze(-1), (rows @ gains.unsqueeze(-1)).squeeze(-1)

    def _slope(self) -> float:
        return 1 / self.temperature
