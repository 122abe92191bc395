"""A probe: how far the loss falls along the moves of the outputs that a network makes of directions.

The fall along a move Δ is that at the best of a few points −αΔ, found by a line search on the original loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from nlcore.newton.derivatives import Derivatives
from nlcore.newton.learning_rate import entries
from nlcore.newton.network import Network
from nlcore.newton.problem import Problem

__all__ = ["Descent", "Findings", "cosines", "descend", "log_ratios", "measure"]

_LENGTHS = (1.0, 2.0**-4, 2.0**-8)
"""The lengths of the line search, in units of the step that would bring a linear loss to zero."""

_EVALUATED = 1024
"""Most samples of a batch whose losses are evaluated along a move, evenly spread."""

_ROUNDING = 1e-3
"""Relative difference between the loss of a sample in the batch and in a part of it that counts as rounding."""

_REFINEMENTS = 2
"""Parabolas that are fitted to the best length so far."""

_RESULTS_AT_A_TIME = 2**14
"""Intermediate results, of all samples and lengths, that the loss may hold at a time; one evaluation may hold more."""

_LEAST, _MOST = -4.0, 1.0
"""Bounds of one probe's log ratio: a lucky line search counts little, a harmful direction much."""

_WAITING = 2**25
"""Numbers that may wait for the next batch, 128 MiB in float32; with more a probe is of its own batch alone."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of a probe on the batch that gives the directions of K candidates.

    Attributes:
        members: The indices of the candidates.
        leaves: The parameters of the network.
        changes: Those that the directions make of them; empty if these are too many numbers to wait for the next batch.
        scores: [K], the log ratios of the falls along the directions.
        cosines: [K], those of the moves with the samples' own Newton steps; `None` where these are not probed.
        asked: By candidate, the `entries` of the change that a step of unit length asks for; empty if not watched.
        reach: [K] float64, the lengths to the best points, per unit of the learning rate; `None` if not watched.
    """

    members: list[int]
    leaves: tuple[Tensor, ...]
    changes: list[tuple[Tensor, ...]]
    scores: Tensor
    cosines: Tensor | None
    asked: Mapping[int, Tensor]
    reach: Tensor | None


def measure(
    problem: Problem,
    plain: Derivatives,
    network: Network,
    members: list[int],
    directions: Iterable[Tensor],
    *,
    reference: Tensor | None,
    kept: int,
    recent: float | None,
    limited: bool,
) -> Findings:
    """Return how far the loss falls along the moves that a network makes of directions.

    Args:
        problem: The loss and the samples.
        plain: Value and gradient of the loss.
        network: The network.
        members: The indices of K candidates.
        directions: Theirs, [N, m] each, of which few are held at a time.
        reference: [N, m], the samples' own Newton steps; `None` where they are not probed.
        kept: See `descend`.
        recent: The length of recent gradients, the unit of `reach`, or NaN before the first step, whose gradient it
            then is; `None` if steps are not watched.
        limited: Whether a parameter that is a single number changes no more than the others do, see `_limits`.
    """
    samples, changes, aligned = problem.samples, list[tuple[Tensor, ...]](), list[Tensor]()
    sizes, asked = list[Tensor](), dict[int, Tensor]()
    waits = len(members) * sum(leaf.numel() for leaf in network.leaves) <= _WAITING
    weight = samples.total(samples.weight.sum()).clamp(min=torch.finfo(torch.float32).tiny)

    def moves() -> Iterator[Tensor]:
        limits: dict[int, Tensor] | None = None if limited else {}
        for member, direction in zip(members, directions, strict=True):
            change = tuple(samples.total(part) for part in network.vjp(samples.weight.unsqueeze(-1) * direction))
            limits = _limits(change) if limits is None else limits  # by the gradient, the first of the candidates
            if limits:
                change = tuple(part * limits[k] if k in limits else part for k, part in enumerate(change))
            if waits:
                changes.append(change)
            if recent is not None:
                sizes.append(samples.root_mean_square(direction))
                asked[member] = entries(change) / (sizes[-1] * weight)
            move = network.jvp(change)
            if reference is not None:
                aligned.append(cosines(problem, reference, move.unsqueeze(0)))
            yield move

    descent, reach = descend(problem, plain.value, plain.gradient, moves(), kept=kept), None
    if recent is not None:
        unit = samples.root_mean_square(plain.gradient) if math.isnan(recent) else recent
        reach = (descent.length * torch.stack(sizes).double() * weight.double() / unit).cpu()
    cosine = torch.cat(aligned) if aligned else None
    return Findings(members, network.leaves, changes, log_ratios(descent.fall), cosine, asked, reach)


def _limits(change: tuple[Tensor, ...]) -> dict[int, Tensor]:
    """Return factors under which no parameter without dimensions changes more than the entries of the others.

    An optimiser that divides by the lengths of earlier gradients moves every entry by about its learning rate. The
    derivative with respect to one number that all outputs depend on, such as a temperature, is far larger than the
    others: without a limit, its change alone would decide which direction is best.

    Args:
        change: The changes of the parameters that the gradient asks for.

    Returns:
        The factors by the indices of the parameters that have one.
    """
    single = {k: part for k, part in enumerate(change) if not part.ndim}
    others = [part for part in change if part.numel() and part.ndim]
    if not single or not others:
        return {}
    device = others[0].device
    squares = torch.stack([part.abs().double().square().sum().to(device) for part in others])
    usual = (squares.sum() / sum(part.numel() for part in others)).sqrt()
    return {
        k: (usual.to(part.device) / part.abs().double().clamp(min=1e-300)).clamp(max=1.0).to(part.dtype)
        for k, part in single.items()
    }


class Descent(NamedTuple):
    """The best points of K line searches.

    Attributes:
        fall: [K] float64, how far the mean loss falls, at least 0.
        length: [K] float64, the α of these points.
    """

    fall: Tensor
    length: Tensor


def descend(problem: Problem, value: Tensor, slope: Tensor, moves: Iterable[Tensor], *, kept: int) -> Descent:
    """Return how far the mean loss falls at best along each of K moves of the outputs.

    Of a batch of more than 1 024 samples, at most as many are evaluated.

    Args:
        problem: The loss and the samples.
        value: [N], the losses at the prediction.
        slope: [N, m], their gradients.
        moves: K moves Δ [N, m], of which few are held at a time; the outputs go along −αΔ, α > 0.
        kept: How many numbers an evaluation keeps, by `nlcore.newton.chunks.intermediates`.
    """
    every = -(-len(value) // _EVALUATED)
    few = torch.arange(0, len(value), max(1, every), device=value.device)
    if every > 1 and (part := _accepted(problem, value, few)) is not None:
        kept //= every
        problem, value, slope, moves = part, value[few], slope[few], (move[few] for move in moves)
    fitting = max(1, _RESULTS_AT_A_TIME // max(1, kept))
    at_a_time = 1 if problem.loss.traits.stochastic else fitting  # all see the same draw
    waiting, found = iter(moves), []
    while some := list(islice(waiting, at_a_time)):
        found.append(_descend(problem, value, slope, torch.stack(some), at_a_time))
    return Descent(*map(torch.cat, zip(*found, strict=True)))


def _accepted(problem: Problem, value: Tensor, few: Tensor) -> Problem | None:
    """Return the problem of a few samples, or `None` if the whole batch has to be evaluated.

    That is so with several ranks, with random numbers, and where the loss of a sample depends on the rest of the batch,
    as in a function that refers to data of the whole batch.
    """
    if problem.samples.ranks is not None or problem.loss.traits.stochastic:
        return None
    part = problem.take(few)
    try:
        with torch.no_grad():
            again = part.evaluation.value(part.prediction).double()
    except Exception:
        return None
    same = torch.isclose(again, value[few].double(), rtol=_ROUNDING, atol=0.0) | ~(part.samples.weight > 0)
    return part if bool(same.all()) else None


def log_ratios(falls: Tensor) -> Tensor:
    """Return log P/P₀ of the falls [K], the first of which is the gradient's, within bounds."""
    ratio = (falls.clamp(min=1e-300) / falls[0].clamp(min=1e-300)).log().clamp(_LEAST, _MOST)
    return torch.where((falls > 0) | (falls[0] > 0), ratio, 0.0).cpu()


def cosines(problem: Problem, reference: Tensor, moves: Tensor) -> Tensor:
    """Return the cosines of K moves [K, N, m] with a reference [N, m], over the global batch, [K]."""
    weight = problem.samples.weight.unsqueeze(-1)
    total = problem.samples.total
    inner = total(torch.stack([(weight * reference * one).sum() for one in moves]))
    sizes = total(torch.stack([(weight * one.double().square()).sum() for one in moves]))
    sizes = sizes * total((weight * reference.square()).sum())
    return (inner / torch.where(sizes > 0, sizes, 1.0).sqrt()).cpu()


def _descend(problem: Problem, value: Tensor, slope: Tensor, moves: Tensor, at_a_time: int) -> Descent:
    """Search along moves [K, N, m], with so many evaluations at a time."""
    share = problem.samples.shares
    start = problem.samples.total((share * torch.where(share > 0, value, 0.0)).sum())
    along = torch.einsum("nm,knm->kn", slope.to(moves.dtype), moves).double()
    initial = problem.samples.total(along @ share)
    unit = torch.where(initial > 0, start.abs() / torch.where(initial > 0, initial, 1.0), 0.0)

    def means(lengths: Tensor) -> Tensor:
        """Return the mean loss of [K] moves at [r, K] lengths, [r, K]."""
        pairs, losses = torch.arange(lengths.numel(), device=moves.device), []
        for some in pairs.split(at_a_time):
            steps = moves[some % len(moves)] * lengths.flatten()[some, None, None].to(moves.dtype)
            losses.append(_tried(problem, problem.prediction - steps))
        summed = torch.where(share > 0, share * torch.cat(losses), 0.0).sum(-1)
        return problem.samples.total(summed).view(lengths.shape)

    lengths = unit * unit.new_tensor(_LENGTHS).unsqueeze(-1)
    losses = means(lengths)
    for _ in range(_REFINEMENTS):
        best, index = torch.nan_to_num(losses, nan=torch.inf).min(0)
        length = lengths.gather(0, index.unsqueeze(0))[0]
        bend = best - start + initial * length  # of the parabola through the start, its slope and the best length
        vertex = torch.where(bend > 0, initial * length.square() / (2 * bend.clamp(min=1e-300)), 4 * length)
        vertex = torch.minimum(torch.maximum(vertex, length / 8), 8 * length)
        lengths, losses = torch.cat([lengths, vertex.unsqueeze(0)]), torch.cat([losses, means(vertex.unsqueeze(0))])
    least, index = torch.nan_to_num(losses, nan=torch.inf).min(0)
    fall = torch.where((initial > 0) & (unit > 0), (start - least).clamp(min=0.0), 0.0)
    return Descent(fall, lengths.gather(0, index.unsqueeze(0))[0])


def _tried(problem: Problem, predictions: Tensor) -> Tensor:
    """Return the losses [r, N] at [r, N, m] predictions, infinite where the loss raises, as for negative costs."""
    trials, (count, size) = len(predictions), problem.prediction.shape
    index = torch.arange(count, device=predictions.device).repeat(trials)
    evaluation = problem.evaluation if trials == 1 else problem.evaluation.take(index)
    try:
        with torch.no_grad():
            losses = evaluation.value(predictions.reshape(-1, size).to(problem.prediction.dtype))
    except Exception:  # a loss may raise anything outside its domain
        if trials == 1:
            return torch.full((1, count), torch.inf, dtype=torch.float64, device=predictions.device)
        return torch.cat([_tried(problem, half) for half in predictions.tensor_split(2)])
    return losses.double().view(trials, count)
