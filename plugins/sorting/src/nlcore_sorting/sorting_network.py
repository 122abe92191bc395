"""Differentiable sorting networks (diffsort): comparators that swap by a weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from nlcore_sorting._compiled import bridge
from nlcore_sorting._dispatch import Kernel, dispatch
from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting._lists import Lists, identity_at_padding, log_of_zero
from nlcore_sorting._network.cross_entropy import CrossEntropy, CrossEntropyKernel
from nlcore_sorting._network.hessian import hessians
from nlcore_sorting._network.strided import StridedNetwork, precise
from nlcore_sorting._network.wiring import Operator, Rule, active, depth, partners
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting.config import Distribution, Network, Objective, SortingNetworkConfig

__all__ = ["SortingNetwork", "log_permutation", "network_operator"]


class _Layer(NamedTuple):
    """A layer that has been applied; [n] or [n, ...], places first.

    Attributes:
        partner: The place that each place meets; its own without a comparator.
        x: The activation of the comparator at each place; 0 without one.
        swap: The weight of the partner's value.
    """

    partner: Tensor
    x: Tensor
    swap: Tensor


def _relax(scores: Tensor, rule: Rule, length: Tensor | None) -> tuple[Tensor, list[_Layer]]:
    """Return the relaxed sorted values [n, ...] and the layers that made them.

    In every layer a place meets its partner. With d the value at the higher place minus that at the lower one, x = βd
    and F the distribution function, each keeps its value with weight F(x) and takes the other's with weight F(−x).

    The values are O(layers·n) numbers in float64, whatever the dtype of the scores: in float32 the rounding of values
    that a comparator has brought close together, times the steepness, would cost the gradient three digits or more.
    """
    distribution = DISTRIBUTIONS[rule.distribution]
    values, layers = scores.movedim(-1, 0).to(precise(scores)), []
    n, ones = scores.shape[-1], [1] * (scores.ndim - 1)
    table = partners(rule.network, n, scores.device)
    sides = (table - torch.arange(n, device=scores.device)).sign().to(values.dtype)
    there = None if length is None else active(rule.network, table, length)
    for layer, (partner, side) in enumerate(zip(table.unbind(), sides.unbind(), strict=True)):
        other = values.index_select(0, partner)
        x = distribution.activation((other - values) * side.view(n, *ones), rule.steepness, rule.art_lambda)
        swap = distribution.swap(x)
        if there is not None:  # a shorter list has comparators only for its own items and layers
            swap = torch.where(there[layer], swap, 0.0)
        layers.append(_Layer(partner, x, swap))
        values = torch.lerp(values, other, swap)
    return values, layers


def _mix(state: Tensor, layers: list[_Layer]) -> Tensor:
    """Apply the weights of layers to the rows of `state` [n, ..., k], or [n, ...] without columns."""
    for partner, _, swap in layers:
        weight = swap.to(state.dtype) if state.ndim == swap.ndim else swap.to(state.dtype).unsqueeze(-1)
        state = torch.lerp(state, state.index_select(0, partner), weight)
    return state


def network_operator(
    operator: Operator, scores: Tensor, rule: Rule, length: Tensor | None = None, places: Tensor | None = None
) -> Tensor:
    """Return an operator of a sorting network in plain torch, by its definition.

    P is what the layers make of the identity matrix, and the sorted list what they make of the scores. Every layer is a
    symmetric matrix, so the network run backwards multiplies by the transpose of P: it makes rows of P from unit
    vectors and relaxed ranks from the numbers of the places.

    Args:
        operator: `"sort"`, `"rank"` as a row [..., 1, n], `"permutation"` or its `"rows"` at some places.
        scores: [..., n].
        rule: The network and its weights.
        length: [..., 1], the number of real items of every list; `None` for all.
        places: [..., k], for rows.
    """
    n = scores.shape[-1]
    values, layers = _relax(scores, rule, length)
    numbers = torch.arange(n, device=scores.device)
    if operator == "sort":
        return values.movedim(0, -1).to(scores.dtype)
    if operator == "rank":
        start = numbers.to(values.dtype).view(n, *[1] * (scores.ndim - 1)).expand(values.shape)
        return _mix(start, layers[::-1]).movedim(0, -1).unsqueeze(-2).to(scores.dtype)
    if places is not None:
        units = (numbers.unsqueeze(-1) == places.unsqueeze(-2)).to(scores.dtype)
        return _mix(units.movedim(-2, 0), layers[::-1]).movedim(0, -1)
    return _mix(_identity(scores, on=1.0, off=0.0), layers).movedim(0, -2)


def log_permutation(scores: Tensor, rule: Rule, length: Tensor | None = None) -> Tensor:
    """Return log P, [..., n, n], by the same layers in the log domain, where sharp weights keep their digits."""
    nothing = log_of_zero(scores.dtype)
    _, layers = _relax(scores, rule, length)
    logs = DISTRIBUTIONS[rule.distribution].logs(torch.stack([layer.x for layer in layers]).unsqueeze(-1))
    keeps, swaps = (log.to(scores.dtype) for log in logs)
    if length is not None:
        there = active(rule.network, torch.stack([layer.partner for layer in layers]), length).unsqueeze(-1)
        keeps, swaps = torch.where(there, keeps, 0.0), torch.where(there, swaps, nothing)
    state = _identity(scores, on=0.0, off=nothing)
    for (partner, *_), keep, swap in zip(layers, keeps.unbind(), swaps.unbind(), strict=True):
        state = log_add(state + keep, state.index_select(0, partner) + swap)
    return state.movedim(0, -2)


def log_add(a: Tensor, b: Tensor) -> Tensor:
    """Return log(eᵃ + eᵇ) with first and second derivatives that are finite for all finite a and b.

    `torch.logaddexp` divides by 1 + exp(b − a), and its second derivative is ∞/∞ where that overflows. A −∞ has to be
    given as a hugely negative number: it is absorbed exactly, and its derivative is exactly 0.
    """
    top = torch.maximum(a, b).detach()
    return top + ((a - top).exp() + (b - top).exp()).log()


def _identity(scores: Tensor, *, on: float, off: float) -> Tensor:
    """Return an identity matrix for every list, [n, ..., n], with `on` and `off` in place of 1 and 0."""
    n = scores.shape[-1]
    eye = torch.full((n, n), off, dtype=scores.dtype, device=scores.device).fill_diagonal_(on)
    return eye.view(n, *[1] * (scores.ndim - 1), n).expand(n, *scores.shape[:-1], n)


@dataclass(frozen=True, kw_only=True, repr=False)
class SortingNetwork(PermutationLoss):
    r"""Ranking loss through a differentiable sorting network (id `sorting/diffsort`).

    A comparator keeps two values $a$ and $b$ in place with weight $\alpha$ and swaps them with weight $1 - \alpha$:

    $$
    \alpha = F(\beta (b - a)), \qquad \min = \alpha a + (1 - \alpha) b, \qquad \max = (1 - \alpha) a + \alpha b.
    $$

    A layer of comparators is a symmetric matrix $M_l$, and the network is $P = M_L \cdots M_1$. The rows and columns of
    P sum to 1, and `P @ scores` is the relaxed sorted list, up to rounding. The loss of a list with true ranks $r$ is
    the cross-entropy of the rows,

    $$
    \ell(s, r) = -\frac{1}{n} \sum_j \log P_{r_j j}.
    $$

    With `objective="entries"`, it is the binary cross-entropy of all entries of P, averaged over the $n^2$ entries.

    The distribution functions F, with d = b − a and x = βd, are

    - `cauchy`: ½ + atan(x)/π;
    - `gaussian`: Φ(x), of the normal distribution;
    - `logistic`: σ(x);
    - `logistic_phi`: σ(βd/(|d| + 1e-10)^λ);
    - `reciprocal`: ½ + x/(1 + 2|x|);
    - `optimal`: ½ + x for |x| ≤ ¼, 1 − 1/(16x) for x > ¼, and 1/(16|x|) for x < −¼.

    On the CPU, value and gradient are computed from P in float64. On other devices, and for lists in which an entry
    $P_{r_j j}$ underflows, they are computed from log P, layer by layer. In both cases, α and 1 − α are exact in both
    tails. The Hessian is computed by a formula.

    Shape:
        - prediction: `[batch, n]`, the scores.
        - target: `[batch, n]` int64, the true rank of every item, 0 for the smallest; see `nlcore_sorting.ranks`.
        - mask: `[batch, n]` bool, True at padded items.
        - value: near 0 for the right order with gaps far above 1/β, where β is the `steepness`.

    Cost:
        Time O(layers·n²) per list, with n layers (odd–even) or ⌈log₂n⌉(⌈log₂n⌉ + 1)/2 (bitonic); O(layers·n·k) for
        `topk`, O(layers·n) for `sort` and `rank`, O(layers·n³) for the Hessian. Besides the result, O(layers·n) numbers
        are kept for the backward pass, but O(layers·n²) for the loss on devices other than the CPU. If numba is
        installed, the loss, its Hessian and all operators but `log_permutation` run as compiled code on the CPU.

    When it fails:
        The Hessian is often indefinite. Equal scores do no harm: the slope of F at 0 is positive, so the gradient
        separates them. With `logistic_phi` this slope is very large, ¼·β·(1e10)^λ. With `logistic` and `gaussian`, the
        derivative of P vanishes if two scores are in the wrong order and far more than 1/β apart. The gradient of the
        loss, which is that of log P, still corrects the order then; the gradients of `sort` and `rank` do not.

    Args:
        network: `"odd_even"` or `"bitonic"`, for any n.
        distribution: F, see above.
        steepness: β > 0, in inverse units of the scores.
        art_lambda: λ in [0, 1], for `logistic_phi`.
        objective: `"rows"` or `"entries"`, see `PermutationLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Petersen, Borgelt, Kuehne, Deussen: [Differentiable Sorting Networks for Scalable Sorting and Ranking
        Supervision](https://arxiv.org/abs/2105.04019), ICML 2021. Petersen, Borgelt, Kuehne, Deussen: [Monotonic
        Differentiable Sorting Networks](https://arxiv.org/abs/2203.09630), ICLR 2022.

    Example:
        >>> import torch
        >>> network = SortingNetwork(distribution="logistic", steepness=20.0)
        >>> network.sort(torch.tensor([3.0, 1.0, 2.0])).round(decimals=2)
        tensor([1., 2., 3.])
    """

    network: Network = "odd_even"
    distribution: Distribution = "cauchy"
    steepness: float = 10.0
    art_lambda: float = 0.25
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/diffsort-v1"
    config = SortingNetworkConfig

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the Hessian of every list's loss.

        Args:
            prediction: [batch, n].
            target: [batch, n], int64 ranks.
            generator: Not used.
            mask: [batch, n], True at padded items, whose rows and columns are 0.

        Returns:
            [batch, n, n], symmetric, often indefinite, with zero row sums. O(layers·n³) time.
        """
        lists, true_ranks = self._checked(prediction, target, mask)
        result = hessians(self._rule, self.objective, lists.scores, true_ranks, lists.length, loss=self._cross_entropy)
        return lists.square(result).to(prediction.dtype)

    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._operator("sort", scores, length)

    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        # In float64, as the values: a sum over all places would lose digits.
        return self._operator("rank", scores.to(precise(scores)), length).squeeze(-2).to(scores.dtype)

    def _permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return identity_at_padding(self._operator("permutation", scores, length), length, on=1.0, off=0.0)

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return log_permutation(scores, self._rule, length)

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        places = rows.expand(*scores.shape[:-1], rows.shape[-1])
        weights = self._operator("rows", scores, length, places)
        weights = identity_at_padding(weights, length, places, on=1.0, off=0.0)
        return (weights @ scores.unsqueeze(-1)).squeeze(-1), weights

    def _loss(self, lists: Lists, target: Tensor) -> Tensor:
        length, target = lists.length, target.clone()  # the backward pass reads it again; its owner may change it
        if lists.scores.device.type != "cpu":  # looking for lost digits would wait for another device
            return self._cross_entropy(lists.scores, target, length)
        # The rows need one entry each, P[r_j, j]; the entries need all of P.
        operator: Operator = "entries" if self.objective == "rows" else "permutation"
        places = target if operator == "entries" else None

        def plain(scores: Tensor, some: Tensor) -> Tensor:
            return self._cross_entropy(scores, target[some], None if length is None else length[some])

        def kernel(network: Kernel) -> Kernel:
            return CrossEntropyKernel(network, CrossEntropy(self.objective, target, length), plain)

        arguments = (operator, self._rule, length, places)
        return dispatch(
            lists.scores,
            lambda s: self._cross_entropy(s, target, length),
            lambda: kernel(bridge.network(*arguments)),
            lambda: kernel(StridedNetwork(*arguments, exact=True)),
        )

    def _operator(
        self, operator: Operator, scores: Tensor, length: Tensor | None, places: Tensor | None = None
    ) -> Tensor:
        return dispatch(
            scores,
            lambda s: network_operator(operator, s, self._rule, length, places),
            lambda: bridge.network(operator, self._rule, length, places),
            lambda: StridedNetwork(operator, self._rule, length, places),
        )

    @property
    def _rule(self) -> Rule:
        return Rule(self.network, self.distribution, self.steepness, self.art_lambda)

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        room = torch.finfo(dtype).max / (16 * depth(self.network, n) * n)
        if self.distribution == "gaussian":  # the logarithm of its tail is a square
            return math.sqrt(room) / max(1.0, self.steepness)
        return room / max(1.0, self.steepness)
