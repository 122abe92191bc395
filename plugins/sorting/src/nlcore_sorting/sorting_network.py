"""Differentiable sorting networks: comparators that swap by a weight, in the linear and in the log domain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nlcore_sorting._dispatch import Kernel, has_numba, served
from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting._lists import Lists
from nlcore_sorting._network.cross_entropy import CrossEntropyKernel, PlainCrossEntropy
from nlcore_sorting._network.strided import Operator, StridedNetwork, precise
from nlcore_sorting._network.wiring import depth, partners, shortened
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting.config import Distribution, Network, Objective, SortingNetworkConfig

if TYPE_CHECKING:
    from nlcore_sorting._compiled.network_kernel import NetworkKernel

__all__ = ["SortingNetwork"]


@dataclass(frozen=True, kw_only=True, repr=False)
class SortingNetwork(PermutationLoss):
    """Ranking loss through a differentiable sorting network (id `sorting/diffsort`).

    A comparator of the values a and b with d = b − a keeps them in place with weight α = F(βd) and swaps them with
    weight 1 − α: min = αa + (1 − α)b, max = (1 − α)a + αb. The same weights act on the rows of a matrix that starts as
    the identity and ends as P, whose rows and columns add up to 1; `P @ scores` is the relaxed sorted list to rounding.

    F is, with x = βd: `cauchy` ½ + atan(x)/π; `gaussian` Φ(x), the normal one; `logistic` σ(x); `logistic_phi`
    σ(βd/(|d| + 1e-10)^λ); `reciprocal` ½ + x/(1 + 2|x|); `optimal` ½ + x for |x| ≤ ¼ and ½ ± (½ − 1/(16|x|)) beyond.

    The loss follows log P through the network, with the logarithms of both weights exact in both tails. On the CPU, for
    the value and its first derivative, P is taken in float64 instead, with both weights exact, and the logarithms only
    in lists where one of its true entries underflows. The Hessian is often indefinite.

    Time O(layers·n²) a list, with n layers (odd–even) or ⌈log₂n⌉(⌈log₂n⌉ + 1)/2 (bitonic); O(layers·n·k) for `topk`,
    O(layers·n) for `sort` and `rank`. Besides the result, O(layers·n) numbers are kept between the passes, but
    O(layers·n²) for lists of different length without numba, and for the loss on other devices. Where numba is
    installed everything is compiled on the CPU, the Hessian of the loss, O(layers·n³), too.

    Equal scores are pulled apart, for F has a slope at 0. With `logistic_phi` that slope is β·1e10^λ, and with
    `logistic` a wrong order far beyond 1/β is corrected by the loss alone, since the derivative of P itself vanishes
    there.

    Args:
        network: `"odd_even"` or `"bitonic"`, for any n.
        distribution: F, see above.
        steepness: β > 0, in 1/units of the scores.
        art_lambda: λ in [0, 1], for `logistic_phi`.
        objective: `"rows"` or `"entries"`, see `RankingLoss`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Petersen, Borgelt, Kuehne, Deussen: Differentiable Sorting Networks for Scalable Sorting and Ranking
        Supervision, ICML 2021. Petersen, Borgelt, Kuehne, Deussen: Monotonic Differentiable Sorting Networks,
        ICLR 2022.

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

    if has_numba():  # without it the engine differentiates, piece by piece if need be

        def hessian(
            self,
            prediction: Tensor,
            target: Tensor,
            *,
            generator: torch.Generator | None = None,
            mask: Tensor | None = None,
        ) -> Tensor:
            """Return the Hessian of every list's loss; only where numba is installed.

            Args:
                prediction: [batch, n].
                target: [batch, n], int64 ranks.
                generator: Not used.
                mask: [batch, n], True at padded items, whose rows and columns are 0.

            Returns:
                [batch, n, n], symmetric, often indefinite, with zero row sums. O(layers·n³) time.
            """
            from nlcore_sorting._network.hessian import hessians

            lists, places = self._checked(prediction, target, mask)
            kernel = self._compiled("permutation", lists.length)
            result = hessians(kernel, self.objective, self._cross_entropy, (lists.scores, places, lists.length))
            return lists.square(result).to(prediction.dtype)

    def _sort(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._served("sort", scores, lambda s: self._plain_sort(s, length), length)

    def _permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._served("permutation", scores, lambda s: self._plain_permutation(s, length), length)

    def _rank(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        return self._served("rank", scores, lambda s: self._plain_rank(s, length), length)

    def _select(self, scores: Tensor, rows: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        places = rows.expand(*scores.shape[:-1], rows.shape[-1])
        weights = self._served("rows", scores, lambda s: self._plain_rows(s, places, length), length, places)
        return (weights @ scores.unsqueeze(-1)).squeeze(-1), weights

    def _loss(self, lists: Lists, target: Tensor) -> Tensor:
        length, target = lists.length, target.clone()  # the backward pass reads it again, whatever its owner has done
        operator: Operator = "entries" if self.objective == "rows" else "permutation"
        places = target if operator == "entries" else None

        def plain(scores: Tensor, some: Tensor) -> Tensor:
            return self._cross_entropy(scores, target[some], None if length is None else length[some])

        def compiled() -> Kernel:
            from nlcore_sorting._compiled.network_kernel import CompiledCrossEntropy

            loss = CompiledCrossEntropy(self.objective, target, length)
            return CrossEntropyKernel(self._compiled(operator, length, places), loss, plain)

        def alone() -> Kernel:
            network = StridedNetwork(operator, *self._rule(), places, exact=True)
            return CrossEntropyKernel(network, PlainCrossEntropy(self.objective, target), plain)

        # To see whether digits are lost is to wait for a device.
        waits = length is not None or lists.scores.device.type != "cpu"
        maker = None if waits else alone
        return served(lists.scores, lambda s: self._cross_entropy(s, target, length), compiled, maker)

    def _served(
        self,
        operator: Operator,
        scores: Tensor,
        plain: Callable[[Tensor], Tensor],
        length: Tensor | None,
        places: Tensor | None = None,
    ) -> Tensor:
        alone = None if length is not None else lambda: StridedNetwork(operator, *self._rule(), places)
        return served(scores, plain, lambda: self._compiled(operator, length, places), alone)

    def _compiled(self, operator: Operator, length: Tensor | None, places: Tensor | None = None) -> NetworkKernel:
        from nlcore_sorting._compiled.network_kernel import NetworkKernel

        return NetworkKernel(operator, *self._rule(), length, places)

    def _rule(self) -> tuple[Network, Distribution, float, float]:
        return self.network, self.distribution, self.steepness, self.art_lambda

    def _plain_sort(self, scores: Tensor, length: Tensor | None) -> Tensor:
        return self._run(scores, length).values.movedim(0, -1).to(scores.dtype)

    def _plain_permutation(self, scores: Tensor, length: Tensor | None) -> Tensor:
        run = self._run(scores, length)
        state = _identity(scores, on=1.0, off=0.0)
        for partner, swap in zip(run.partners, run.swaps, strict=True):
            state = torch.lerp(state, _partner_rows(state, partner), swap.to(scores.dtype).unsqueeze(-1))
        return state.movedim(0, -2)

    def _plain_rows(self, scores: Tensor, places: Tensor, length: Tensor | None) -> Tensor:
        run = self._run(scores, length)
        state = torch.arange(scores.shape[-1], device=scores.device).unsqueeze(-1) == places.unsqueeze(-2)
        state = state.to(scores.dtype).movedim(-2, 0)
        # Every layer is a symmetric matrix, so row i of P is what the network run backwards makes of unit vector i.
        for partner, swap in zip(reversed(run.partners), reversed(run.swaps), strict=True):
            state = torch.lerp(state, _partner_rows(state, partner), swap.to(scores.dtype).unsqueeze(-1))
        return state.movedim(0, -1)

    def _plain_rank(self, scores: Tensor, length: Tensor | None) -> Tensor:
        run = self._run(scores, length)
        n = scores.shape[-1]
        places = torch.arange(n, dtype=run.values.dtype, device=scores.device)
        state = places.view(n, *[1] * (scores.ndim - 1)).expand(run.values.shape)
        # Every layer is a symmetric matrix, so the transpose of P is the network run backwards.
        for partner, swap in zip(reversed(run.partners), reversed(run.swaps), strict=True):
            state = torch.lerp(state, _partner_rows(state, partner), swap)
        return state.movedim(0, -1).to(scores.dtype)

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        run = self._run(scores, length)
        state = _identity(scores, on=0.0, off=torch.finfo(scores.dtype).min / 4)
        logs = DISTRIBUTIONS[self.distribution].logs(torch.stack(run.activations).unsqueeze(-1))
        keeps, swaps = (log.to(scores.dtype).unbind() for log in logs)
        for partner, keep, swap in zip(run.partners, keeps, swaps, strict=True):
            state = _log_add(state + keep, _partner_rows(state, partner) + swap)
        return state.movedim(0, -2)

    def _run(self, scores: Tensor, length: Tensor | None) -> _Run:
        """Send the scores through the network and keep what the permutation matrix needs; places come first.

        That is O(layers·n) numbers in float64, whatever the dtype of the scores: in float32 the rounding of values that
        a comparator has brought close together, times the steepness, would cost the gradient three digits or more.
        """
        swap = DISTRIBUTIONS[self.distribution]
        dtype = precise(scores)
        values = scores.movedim(-1, 0).to(dtype)
        n = values.shape[0]
        run = _Run(values, [], [], [])
        table = partners(self.network, n, scores.device)
        places = torch.arange(n, device=scores.device)
        if length is not None:
            table = shortened(self.network, table, length)
            places = places.view(n, *[1] * (scores.ndim - 1))
        side = (table - places).sign().to(dtype)
        if length is None:
            side = side.view(*side.shape, *[1] * (scores.ndim - 1))
        for partner, sign in zip(table.unbind(), side.unbind(), strict=True):
            other = _partner_rows(run.values, partner)
            x = swap.activation((other - run.values) * sign, self.steepness, self.art_lambda)
            weight = swap.swap(x)
            run.partners.append(partner)
            run.activations.append(x)
            run.swaps.append(weight)
            run.values = torch.lerp(run.values, other, weight)
        return run

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        room = torch.finfo(dtype).max / (16 * depth(self.network, n) * n)
        if self.distribution == "gaussian":  # the logarithm of its tail is a square
            return math.sqrt(room) / max(1.0, self.steepness)
        return room / max(1.0, self.steepness)


@dataclass(slots=True)
class _Run:
    """One pass through a network.

    Attributes:
        values: [n, ...], the relaxed sorted list.
        partners: For every layer, the place that each place meets: [n], or [n, ...] where the lists differ in length.
        activations: For every layer [n, ...], x of the comparator that each place belongs to; 0 without one.
        swaps: For every layer [n, ...], the weight of the partner's value.
    """

    values: Tensor
    partners: list[Tensor]
    activations: list[Tensor]
    swaps: list[Tensor]


def _identity(scores: Tensor, *, on: float, off: float) -> Tensor:
    """Return an identity matrix for every list, [n, ..., n], with `on` and `off` in place of 1 and 0."""
    n = scores.shape[-1]
    eye = torch.full((n, n), off, dtype=scores.dtype, device=scores.device).fill_diagonal_(on)
    return eye.view(n, *[1] * (scores.ndim - 1), n).expand(n, *scores.shape[:-1], n)


def _partner_rows(state: Tensor, partner: Tensor) -> Tensor:
    """Return what stands at the partner of every place of [n, ...]."""
    if partner.ndim == 1:
        return state.index_select(0, partner)
    return state.gather(0, partner.view(*partner.shape, *[1] * (state.ndim - partner.ndim)).expand(state.shape))


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """Return log(eᵃ + eᵇ) with first and second derivatives that are finite for all finite a and b.

    `torch.logaddexp` divides by 1 + exp(b − a), and its second derivative is ∞/∞ where that overflows. A −∞ has to be
    given as a hugely negative number: it is absorbed exactly, and its derivative is exactly 0.
    """
    top = torch.maximum(a, b).detach()
    return top + ((a - top).exp() + (b - top).exp()).log()
