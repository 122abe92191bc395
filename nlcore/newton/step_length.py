"""The length of the default's steps: that of the gradients so far, and of recent ones once the loss has stalled.

The length of a direction is its root mean square over samples and outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nlcore.evaluation import per_sample
from nlcore.newton.outcome import NewtonStep
from nlcore.newton.problem import Problem

__all__ = ["StepLength"]

_MEMORY = 1000
"""Steps over which the length of a direction follows the length of the gradient, as Adam's second moment does."""

_STALLED, _SLOW, _FAR, _SOON = 0.25, 200, 10.0, 20
"""The loss has stalled once the share of recent steps with a loss below its running mean exceeds the share above by no
more than the first number, or once that mean, of 20 steps, is not below the mean of 200: a few high losses in a noisy
training leave most of the others below the mean. From then on, and wherever the length is more than ten times that of
recent gradients, the length follows the gradient over 20 steps: steps that do not shrink with the gradient keep a fixed
distance from the minimum, which plain training reaches."""

_NEAR, _OUTLIER = 1.5, 10.0
"""Largest length, in units of recent gradients, at which directions may differ in length after a stall; and the longest
direction, in units of the mean over 20 steps. Up to this, a batch with long gradients makes a longer step than one with
short ones, as in plain training. Steps of equal length would end at the minimum of another loss: with a batch of a
single sample, where the unit vectors of the gradients sum to zero."""


@dataclass(slots=True)
class StepLength:
    """The state of the length.

    Attributes:
        typical: [], the length of a step; `None` before the first.
        recent: [], the length of the gradients, mean over 20 steps.
        size: [], the length of the directions before they are scaled, mean over 20 steps; `None` before a stall.
        member: Index of the candidate to which `size` belongs.
        earlier: Mean of the loss over 200 steps.
        falling: By how much the share of recent steps with a loss below its mean exceeds the share above; 0 after a
            stall.
    """

    typical: Tensor | None = None
    recent: Tensor | None = None
    size: Tensor | None = None
    member: int = -1
    earlier: float = math.nan
    falling: float = 1.0

    def observe(self, loss: float, mean: float, age: int) -> None:
        """Note whether the loss has stalled.

        Args:
            loss: That of the last step.
            mean: Its mean over the 20 steps before.
            age: Number of steps so far.
        """
        if math.isnan(self.earlier):
            self.earlier = loss
        if self.falling > 0:  # zero for good after a stall
            self.falling += ((loss < mean) - (loss > mean) - self.falling) / _SOON
            if self.falling <= _STALLED or (age >= _SLOW and mean >= self.earlier):
                self.falling = 0.0
        self.earlier += (loss - self.earlier) / _SLOW

    def fit(self, step: NewtonStep, problem: Problem, member: int, *, steady: bool, training: bool) -> NewtonStep:
        """Return a step of this length.

        The length is the root mean square of the gradients, in the geometric mean with a memory of 1 000 steps:
        constant while a training begins, which keeps the pace of an optimiser that divides by earlier gradients. Once
        the loss has stalled, and while the gradients are shorter by a factor of ten, the memory is 20 steps, so that
        steps shrink where gradients do. A loss multiplied by a constant multiplies it. All directions have this length
        before a stall. After it, the length is their mean over 20 steps, and a direction that is longer than usual
        makes a longer step.

        Args:
            step: The step of the curvature in use.
            problem: The loss at the prediction, and which samples and outputs count.
            member: Index of the candidate in use.
            steady: Whether this step has the length itself, after a stall too.
            training: Whether the state changes; not in an evaluation.
        """
        samples = problem.samples
        own = samples.root_mean_square(per_sample(step.gradient))
        now = samples.root_mean_square(per_sample(step.direction)) if step.curvature.power else own
        recent = _followed(self.recent, own, 1 / _SOON)
        stalled, rate = self.falling <= 0, torch.tensor(1 / _SOON)
        if not stalled and self.typical is not None:
            rate = torch.where(self.typical > _FAR * recent, 1 / _SOON, 1 / _MEMORY)
        length = reached = _followed(self.typical, own, rate)
        scale, size = length / now, self.size
        if stalled:
            size = _followed(self.size if self.member == member else None, now, 1 / _SOON)
            size = torch.maximum(size, now / _OUTLIER)
            if not steady:
                scale = torch.where(length <= _NEAR * recent, length / size, scale)
                reached = scale * now
        if training:
            self.typical, self.recent, self.size, self.member = length, recent, size, member
        direction = step.direction * torch.where(now > 0, scale, 1.0)
        curvature = replace(step.curvature, normalize=torch.where(now > 0, reached, length))  # type: ignore[type-var]
        target = problem.prediction.view(direction.shape) - direction
        return replace(step, direction=direction, target=target, curvature=curvature)


def _followed(mean: Tensor | None, now: Tensor, rate: float | Tensor) -> Tensor:
    """Return a geometric running mean after one more number; zeros do not count."""
    if mean is None:
        return now
    mean = mean.to(now.device)
    return torch.where((now > 0) & (mean > 0), mean * (now / mean) ** rate, torch.maximum(mean, now))
