r"""The Hessian of a sorting network's loss.

With d the difference that a comparator meets and w(d) its weight of swapping, let D be the Jacobian of all d with
respect to the scores, s the columns of P on their way through the layers, t the derivative of the loss with respect to
them, and Ds the derivative of s with respect to the scores. A column is linear in every weight, so its second
derivative takes two comparators, and needs no derivative of t. With τ = tᵢ − tⱼ and sums over columns,
Γ = Σ τ(sⱼ − sᵢ) and F = Σ τ(Dsⱼ − Dsᵢ), the Hessian is

    Σ_c κ D_c D_cᵀ + w′(D_c F_cᵀ + F_c D_cᵀ) + Σ_ik DP_ik (∂²ℓ/∂P_ik²) DP_ikᵀ,    κ = w″Γ + g(2w′ + w″d),

the last sum over the entries of P that the loss reads, and g the derivative of the loss with respect to the first value
that leaves the comparator minus that with respect to the second. Lists in which a true entry of P underflows are
differentiated automatically, from the logarithms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting._compiled.bridge import network_hessians
from nlcore_sorting._cross_entropy import LEAST
from nlcore_sorting._differentiation import Loss, differentiated
from nlcore_sorting._dispatch import compiles, ordinary
from nlcore_sorting._network.cross_entropy import CrossEntropy
from nlcore_sorting._network.halves import Halves
from nlcore_sorting._network.mixing import Weights, exchange, mix_steps
from nlcore_sorting._network.strided import StridedNetwork, columns, precise, relax_back, stacked
from nlcore_sorting._network.wiring import Rule, depth
from nlcore_sorting.config import Objective

__all__ = ["hessians"]

_NUMBERS = 1 << 18
"""Numbers of the derivatives of P that a piece of the batch has: about what the cache holds."""


def hessians(
    rule: Rule, objective: Objective, scores: Tensor, target: Tensor, length: Tensor | None, *, loss: Loss
) -> Tensor:
    """Return the Hessian of every list's loss, [batch, n, n].

    Args:
        rule: The network and its weights.
        objective: Which loss.
        scores: [batch, n].
        target: [batch, n], the ranks.
        length: [batch, 1], the numbers of real items; `None` for all.
        loss: The loss from the logarithm of P, for lists that have lost digits, and where the Hessian is itself
            differentiated or transformed.
    """
    layers = depth(rule.network, scores.shape[-1])
    if (scores.requires_grad and torch.is_grad_enabled()) or not ordinary(scores):
        return differentiated(loss, scores, target, length, layers=layers)
    if compiles(scores):
        result, least = network_hessians(rule, objective, scores, target, length)
    else:
        result, least = _by_formula(rule, objective, scores.detach(), target, length)
    lost = (least < LEAST).nonzero().squeeze(-1)
    if lost.numel():
        some = (scores[lost], target[lost], None if length is None else length[lost])
        result[lost] = differentiated(loss, *some, layers=layers).to(result.dtype)
    return result


def _by_formula(
    rule: Rule, objective: Objective, scores: Tensor, target: Tensor, length: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the Hessians, and the smallest probability at a true place of every list, some lists at a time."""
    size = max(1, _NUMBERS // scores.shape[-1] ** 3)
    pieces = torch.split(scores, size), torch.split(target, size)
    lengths = [None] * len(pieces[0]) if length is None else torch.split(length, size)
    found = []
    for some, places, counts in zip(*pieces, lengths, strict=True):
        network = StridedNetwork("permutation", rule, counts, exact=True)
        found.append(_of_some(network, CrossEntropy(objective, places, counts), some))
    result, least = (torch.cat(parts) for parts in zip(*found, strict=True))
    return result, least


def _of_some(network: StridedNetwork, loss: CrossEntropy, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Hessians [lists, n, n], and the smallest probability at a true place of every list.

    In what follows places come first, or layers and pairs, then the columns of P, the directions of differentiation,
    and the lists.
    """
    n = scores.shape[-1]
    layers = network.layers(n, precise(scores), scores.device)
    gaps, stack = network.relax(layers, columns(layers, scores))
    slopes, bends = network.slopes(layers, gaps)
    weights = stacked(stack)
    rates = torch.addcmul(weights.swap, slopes, gaps)
    jacobian = _jacobian(layers, rates)
    state, wide = _units(layers, rates), weights.map(lambda w: w.unsqueeze(-2))
    steps, pulls = torch.empty_like(jacobian), torch.empty_like(jacobian)
    mix_steps(layers, state, wide, steps)
    p, places = state[:n], loss.target.t().unsqueeze(0)
    read = (p if loss.objective == "entries" else p.gather(0, places)).permute(2, 0, 1)
    grad = torch.zeros_like(state)
    grad[:n] = _placed(loss.slopes(read, read.new_ones(len(read))), places)
    mix_steps(layers.backwards(), grad, wide.mirrored(), pulls)
    pulls = pulls.flip(0).neg_()
    flows, dp = _flows(layers, wide, jacobian, pulls, steps * slopes.unsqueeze(-2))
    kappa = _kappa(layers, rates, (pulls * steps).sum(dim=-2), (gaps, slopes, bends))
    first = (kappa.unsqueeze(-2) * jacobian).addcmul_(slopes.unsqueeze(-2), flows)
    second = slopes.unsqueeze(-2) * jacobian
    result = _products(first, jacobian) + _products(second, flows)
    root, large, rest = loss.bends(read)
    own = dp * _placed(root, places).unsqueeze(-2)
    result += _products(own, own)
    if loss.objective == "entries":
        others = dp.masked_fill(large.permute(1, 2, 0).unsqueeze(-2), 0.0).sum(dim=1)
        own = others * rest.permute(1, 2, 0)
        result += _products(own, own)
    return result, loss.values(read)[1]


def _placed(read: Tensor, places: Tensor) -> Tensor:
    """Return [n, n, lists] of what a loss reads: all entries [lists, n, n], or those at `places`, [lists, 1, n]."""
    entries = read.permute(1, 2, 0)
    if len(entries) == entries.shape[1]:
        return entries
    return entries.new_zeros(entries.shape[1], *entries.shape[1:]).scatter_(0, places, entries)


def _jacobian(layers: Halves, rates: Tensor) -> Tensor:
    """Return D, [layers, *pairs, n, lists]; `rates` is w + w′d."""
    slopes = _units(layers, rates)
    jacobian = rates.new_empty(*rates.shape[:-1], *slopes.shape[1:])
    for (a, b), own, rate in zip(layers.of(slopes), jacobian.unbind(), rates.unbind(), strict=True):
        torch.sub(b, a, out=own)
        a.addcmul_(own, rate.unsqueeze(-2))
        b.addcmul_(own, rate.unsqueeze(-2), value=-1)
    return jacobian


def _units(layers: Halves, like: Tensor) -> Tensor:
    """Return the unit vectors of every list, [places, n, lists]."""
    unit = torch.eye(layers.places, layers.n, dtype=like.dtype, device=like.device)
    return unit.unsqueeze(-1).repeat(1, 1, like.shape[-1])


def _flows(layers: Halves, weights: Weights, jacobian: Tensor, pulls: Tensor, pushes: Tensor) -> tuple[Tensor, Tensor]:
    """Return F, like the Jacobian, and DP, [n, n, n, lists]; `pushes` is w′(sⱼ − sᵢ)."""
    n, lists = layers.n, jacobian.shape[-1]
    state, flows = jacobian.new_zeros(layers.places, n, n, lists), torch.empty_like(jacobian)
    room = state.new_empty(*layers.pairs, n, n, lists)
    parts = zip(jacobian.unsqueeze(-3), pulls.unsqueeze(-2), pushes.unsqueeze(-2), strict=True)
    each = weights.map(lambda w: w.unsqueeze(-2)).layers()
    for (a, b), (swap, keep), flow, (own, pull, push) in zip(layers.of(state), each, flows, parts, strict=True):
        torch.sum(torch.sub(b, a, out=room).mul_(pull), dim=-3, out=flow)
        exchange(a, b, swap, room, keep)
        a.addcmul_(push, own)
        b.addcmul_(push, own, value=-1)
    return flows, state[:n]


def _kappa(layers: Halves, rates: Tensor, gammas: Tensor, comparators: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return κ, [layers, *pairs, lists], from Γ and from d, w′ and w″."""
    gaps, slopes, bends = comparators
    grad, pulls = rates.new_zeros(layers.places, rates.shape[-1]), torch.empty_like(gammas)
    relax_back(layers, grad, rates, gammas * slopes, pulls)
    return bends * gammas + pulls * (2 * slopes + bends * gaps)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Return Σ_c a_c b_cᵀ of vectors [..., n, lists], [lists, n, n]."""
    a, b = (vectors.flatten(0, -3).permute(2, 1, 0) for vectors in (first, second))
    return a @ b.mT
