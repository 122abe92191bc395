"""Top-k classification: the true class among the first k of a relaxed sort."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._lists import Lists
from nlcore_ranking._relaxation import operator
from nlcore_ranking.config import Relaxation, Top1, TopKClassificationConfig

__all__ = ["TopKClassification"]


@final
class TopKClassification(ListLoss, id="ranking/topk_classification-v1", config=TopKClassificationConfig, traits=SMOOTH):
    r"""Cross-entropy of the true class being among the first k, with k random.

    $$
    \ell(s, y) = -\log \sum_k p_k \sum_{i < k} P_{iy}.
    $$

    Here y is the true class, p_k the probability of k, and P the relaxed permutation matrix, largest score first, with
    positions i from 0. With `top1="softmax"` the part of k = 1 is p_1·softmax(s)_y instead. The value is computed
    from logarithms, so it stays exact where P rounds to 0. If there are fewer than k classes, all are among the first
    k.

    Shape:
        - prediction: `[batch, n]`, the score of every class.
        - target: `[batch]` int64, the true class, y.
        - mask: `[batch, n]` bool, True at classes that the sample does not have. The true class must not be padded,
          unless all classes are: such a sample has loss 0, and its target is ignored.
        - value: in nats; 0 where the true class is certainly the first.

    Cost:
        Time and memory O(n²) per sample, O(candidates²) with candidates. The Hessian is taken by differentiation.

    When it fails:
        The columns of P need not add up to 1 (NeuralSort, SoftSort), so the value can fall a little below 0. At a low
        temperature, a true class far behind all others gets its gradient from the softmax part alone. With
        `relaxation="diffsort"` the value depends on the numbering of the classes, the more the softer the swaps are.
        The loss is twice differentiable wherever no two scores are equal. It is not convex: the Hessian may be
        indefinite.

    Args:
        p_k: Probabilities of k = 1, 2, …; they add up to 1.
        temperature: τ > 0, in units of the scores.
        relaxation: `"neuralsort"`, `"softsort"` or `"diffsort"`.
        top1: `"softmax"` or `"sort"`.
        candidates: Number of classes that are sorted: the true one and the best others. More than there are
            probabilities; `None` for all.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Petersen, Kuehne, Borgelt, Deussen: [Differentiable Top-k Classification
        Learning](https://arxiv.org/abs/2206.07290), ICML 2022.

    Example:
        >>> import torch
        >>> loss = TopKClassification(p_k=(0.0, 1.0), temperature=0.01)
        >>> loss(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([1])).abs()  # second, within the first two
        tensor([0.])
    """

    p_k: tuple[float, ...] = (0.5, 0.0, 0.0, 0.0, 0.5)
    temperature: float = 1.0
    relaxation: Relaxation = "neuralsort"
    top1: Top1 = "softmax"
    candidates: int | None = None

    _target: ClassVar[str] = "[batch] int64"

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, n], one score per class.
            target: [batch], int64, the true class.
            mask: [batch, n] bool, True at classes that the sample does not have.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or a class is out of range or padded.
            NonFiniteError: A score is NaN, infinite, or so large that the loss would overflow.
        """
        return super().__call__(prediction, target, mask=mask, generator=generator)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random scores of seven classes and random classes, never the last one, which may thus be padded."""
        source = generator.device if generator is not None else device
        scores = torch.randn((batch_size, 7), generator=generator, device=source)
        classes = torch.randint(6, (batch_size,), generator=generator, device=source)
        return scores.to(device, dtype), classes.to(device)

    def _loss(self, lists: Lists) -> Tensor:
        if self.candidates is not None and self.candidates < lists.scores.shape[1]:
            lists = _best(lists, self.candidates)
        true = lists.relevance.argmax(dim=1, keepdim=True)
        terms, weights = self._sorted_terms(lists, true)
        if self.top1 == "softmax" and self.p_k[0] > 0:
            terms.append(lists.lowered.log_softmax(dim=1).gather(1, true))
            weights.append(self.p_k[0])
        logs = torch.tensor([math.log(w) for w in weights], dtype=terms[0].dtype, device=true.device)
        return -(torch.cat(terms, dim=1) + logs).logsumexp(dim=1)

    def _sorted_terms(self, lists: Lists, true: Tensor) -> tuple[list[Tensor], list[float]]:
        """Return log P[i, y], [batch, 1], for every position i that counts, and its weight."""
        first = 1 if self.top1 == "softmax" else 0
        weights = [sum(self.p_k[max(i, first) :]) for i in range(min(len(self.p_k), lists.scores.shape[1]))]
        if not any(weights):
            return [], []
        sorter = operator(self.relaxation, self.temperature)
        log_p = sorter.log_permutation(lists.scores, descending=True, mask=lists.mask)
        column = log_p.gather(2, true.unsqueeze(1).expand(-1, log_p.shape[1], -1)).squeeze(2)
        positions = [i for i, weight in enumerate(weights) if weight > 0]
        return [column[:, i : i + 1] for i in positions], [weights[i] for i in positions]

    def _slope(self) -> float:
        return 1 / self.temperature


def _best(lists: Lists, count: int) -> Lists:
    """Return the true class in front of the best others, `count` in all, and all classes of samples with no more."""
    lists = lists.in_front()
    scores = lists.lowered.detach().masked_fill(lists.relevance > 0, torch.inf)
    ranked = scores.topk(count, dim=1).indices
    few = lists.valid.sum(dim=1, keepdim=True) <= count
    chosen = torch.where(few, torch.arange(count, device=ranked.device), ranked)
    mask = None if lists.mask is None else lists.mask.gather(1, chosen)
    scores, one_hot, valid = (t.gather(1, chosen) for t in (lists.scores, lists.relevance, lists.valid))
    return Lists(scores, one_hot, valid, mask)
