"""The figures of a diagnosis that need the network: the fall of the loss along its moves, the cost of the default."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import UnsupportedCurvatureError
from nlcore.evaluation import full_precision
from nlcore.newton.auto import Auto
from nlcore.newton.candidates import Candidates, CandidatesAtBatch
from nlcore.newton.chunks import BUDGET, intermediates
from nlcore.newton.curvature import Curvature
from nlcore.newton.derivatives import Derivatives, differentiate
from nlcore.newton.network import Network, UnprobeableError
from nlcore.newton.pace import probes_within
from nlcore.newton.probe import cosines, descend, log_ratios
from nlcore.newton.problem import Problem
from nlcore.newton.selection import Selection
from nlcore.newton.solve import directions

__all__ = ["NetworkFigures", "network_figures"]

_MOST, _LEAST = 1024, 8
"""Most samples that are probed, and the fewest that make two halves."""

_STEPS = 500
"""Steps of the training over which the probes are spread in the cost."""

_FORWARD = 0.5
"""Time of the network's forward pass, in units of its backward pass."""


@dataclass(frozen=True, slots=True)
class NetworkFigures:
    """The moves that the network makes of the directions of `Auto()`; the defaults are those without a network.

    Attributes:
        progress: Expression and factor of each direction: how far the loss falls at best along the move that the
            network makes of it, in units of the gradient's fall.
        left_out: The expressions that `Auto()` would not take now: they overstep for single samples, or fit noise.
        newton: The factor of the samples' own Newton steps, NaN if they are not among the directions.
        realised: Cosine of these steps with what the network makes of those of other samples.
        cost: Expected time of a step of `Auto()` over that of a plain one.
    """

    progress: tuple[tuple[str, float], ...] = ()
    left_out: tuple[str, ...] = ()
    newton: float = math.nan
    realised: float = math.nan
    cost: float = math.nan

    @property
    def best(self) -> tuple[str, float]:
        """The direction with the largest factor of those that `Auto()` would take; the gradient if none has more."""
        allowed = [(name, factor) for name, factor in self.progress if name not in self.left_out]
        return max([("the gradient", 1.0), *allowed], key=lambda one: one[1])


def network_figures(problem: Problem, prediction: Tensor, notes: list[str]) -> NetworkFigures:
    """Probe the network behind a prediction; it gets no gradients, and is not run again.

    Args:
        problem: The loss at the prediction.
        prediction: [N, *event], with its graph, or without one.
        notes: Gets a remark where a network cannot be probed.
    """
    if prediction.grad_fn is None:
        return NetworkFigures()
    kept = prediction.grad if prediction.retains_grad else None
    try:
        with full_precision(prediction.device):
            return _probed(*_some(problem, prediction))
    except (UnprobeableError, UnsupportedCurvatureError) as error:
        notes.append(f"The network was not probed: {str(error).rstrip('.')}.")
        return NetworkFigures()
    finally:
        if prediction.retains_grad:
            prediction.grad = kept


def _some(problem: Problem, prediction: Tensor) -> tuple[Problem, Tensor]:
    """Return evenly spread samples, as many as their matrices allow."""
    count, size = problem.prediction.shape
    most = min(_MOST, max(256, BUDGET // size**2))
    if count <= most:
        return problem, prediction
    places = torch.linspace(0, count - 1, most, device=prediction.device).long()
    if problem.loss.traits.stochastic:  # random numbers depend on the batch size; the others get weight 0
        chosen = torch.zeros(count, dtype=torch.bool, device=prediction.device).index_fill(0, places, value=True)
        return replace(problem, samples=problem.samples.where(chosen)), prediction
    with torch.enable_grad():
        return problem.take(places), prediction[places]


def _probed(problem: Problem, prediction: Tensor) -> NetworkFigures:
    network = Network.of(prediction)
    candidates = Auto().candidates(problem)
    at_batch = CandidatesAtBatch(candidates, problem)
    plain, problem = at_batch.exclude_unusable(), at_batch.problem
    counted = problem.samples.weight > 0
    if int(counted.sum()) < _LEAST:
        raise UnprobeableError(f"{int(counted.sum())} samples are too few for two halves")
    found, barred = at_batch.dispersion(), torch.zeros(len(candidates.curvatures))
    if found is not None:
        barred[found.judged] = found.barred.float()
    logs, realised = _judged(problem, plain, network, candidates)
    names, newton = candidates.names, candidates.newton
    best = int(torch.where(barred > 0, -torch.inf, logs).argmax())
    return NetworkFigures(
        progress=tuple((_expression(name), math.exp(one)) for name, one in zip(names, logs.tolist(), strict=True))[1:],
        left_out=tuple(_expression(name) for name, out in zip(names, barred.tolist(), strict=True) if out),
        newton=math.nan if newton is None else math.exp(float(logs[newton])),
        realised=realised,
        cost=_cost(problem, prediction, network, candidates, best),
    )


def _expression(name: str) -> str:
    return f"nlcore.{name}".replace("Relative(", "nlcore.Relative(").replace("Bounded(", "nlcore.Bounded(")


def _judged(problem: Problem, plain: Derivatives, network: Network, candidates: Candidates) -> tuple[Tensor, float]:
    """Return the log ratios of the candidates, [K], and the cosine of the Newton steps with the network's moves.

    Each half of the samples gives directions once. The loss is searched along their moves on both halves; the cosine is
    that of the other half.
    """
    kept, newton = intermediates(problem), candidates.newton
    place = (problem.samples.weight > 0).cumsum(0)
    halves = [replace(problem, samples=problem.samples.where(place % 2 == one)) for one in (0, 1)]
    found = []
    for half in halves:
        found.append(torch.stack(list(CandidatesAtBatch(candidates, half).directions(candidates.curvatures))))
    logs, realised = [], []
    for given, half in enumerate(halves):
        weight = half.samples.weight.unsqueeze(-1)
        moves = torch.stack([network.jvp(network.vjp(weight * one)) for one in found[given]])
        descents = [descend(one, plain.value, plain.gradient, moves, kept=kept) for one in halves]
        logs += [log_ratios(one.fall) for one in descents]
        if newton is not None:
            other = 1 - given
            realised.append(float(cosines(halves[other], found[other][newton], moves[newton : newton + 1])))
    return torch.stack(logs).mean(0), sum(realised) / len(realised) if realised else math.nan


def _cost(problem: Problem, prediction: Tensor, network: Network, candidates: Candidates, best: int) -> float:
    """Return the expected time of a step of `Auto()` over that of a plain one.

    The gradient of the loss, the network's backward pass, a probe, and a step with a new matrix and with that of an
    earlier batch are timed once or a few times; the probes are spread over 500 steps.
    """
    device = prediction.device
    backward = _seconds(lambda: network.vjp(problem.prediction), device)
    passes = (1 + _FORWARD) * backward
    gradient = _seconds(lambda: differentiate(problem, "gradient"), device)
    timed = [_probe_time(problem, prediction, candidates) for _ in range(2)]
    (probe, _), (_, choice) = min(timed, key=lambda one: one[0]), timed[-1]
    choice.board.current, chosen = best, candidates.curvatures[best]
    new = _seconds(lambda: _stepped(problem, chosen), device)
    later = _seconds(lambda: _stepped(problem, choice.choose(problem, prediction)), device)
    refresh = math.inf if candidates.constant or choice.board.same else candidates.refresh
    step = later + max(0.0, new - later) / refresh
    probes = probes_within(_STEPS, candidates.interval)
    return (passes + step + probe * probes / _STEPS) / (passes + gradient)


def _probe_time(problem: Problem, prediction: Tensor, candidates: Candidates) -> tuple[float, Selection]:
    """Return the time of a probe, on its own batch and on the next, and the choice after it."""
    choice = Selection(candidates, problem.loss.name)
    return sum(_seconds(lambda: choice.choose(problem, prediction), prediction.device, 1) for _ in range(2)), choice


def _stepped(problem: Problem, curvature: Curvature) -> None:
    derivatives = differentiate(problem, curvature.kind if curvature.power else "gradient")
    directions(derivatives, problem, curvature)


def _seconds(run: Callable[[], Any], device: torch.device, repeats: int = 3) -> float:
    """Return the shortest time of a call: on a processor that of its thread, which other programs do not change."""
    clock, times = time.thread_time if device.type == "cpu" else time.perf_counter, []
    for _ in range(repeats):
        _wait(device)
        start = clock()
        run()
        _wait(device)
        times.append(clock() - start)
    return max(min(times), 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
