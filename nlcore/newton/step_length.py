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
training leave most of the others below the mean. Steps that do not shrink with the gradient never settle at the
minimum, which plain training reaches. The length therefore follows the gradients over 20 steps after a stall, and
before one while it is more than ten times the length of recent gradients."""

_NEAR = 1.5
"""Largest length, in units of recent gradients, at which steps differ in length after a stall. Steps of equal length
would end at the minimum of another loss: with batches of one sample, where the unit vectors of the gradients sum to
zero."""

_EQUAL = 1e-3
"""Relative difference from recent gradients below which a length counts as theirs, so that the gradient is left as it
is."""


@dataclass(slots=True)
class StepLength:
    """The state of the length.

    Attributes:
        typical: [], the length of a step; `None` before the first.
        recent: [], the length of the gradients, mean over 20 steps.
        earlier: Mean of the loss over 200 steps.
        falling: By how much the share of recent steps with a loss below its mean exceeds the share above; 0 after a
            stall.
    """

    typical: Tensor | None = None
    recent: Tensor | None = None
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

    def fit(self, step: NewtonStep, problem: Problem, *, steady: bool, training: bool) -> NewtonStep:
        """Return a step of this length.

        The length is the root mean square of the gradients, in the geometric mean with a memory of 1 000 steps:
        constant while a training begins, which keeps the pace of an optimiser that divides by earlier gradients. A loss
        multiplied by a constant multiplies it. Once the loss has stalled, and while the gradient itself is the
        direction, the length follows recent gradients, so that steps shrink where gradients do; and a step is longer
        than usual where its gradient is. A gradient that was the direction from the start is left as it is.

        Args:
            step: The step of the curvature in use.
            problem: The loss at the prediction, and which samples and outputs count.
            steady: Whether this step has the length itself, after a stall too.
            training: Whether the state changes; not in an evaluation.
        """
        samples, plainly, stalled = problem.samples, not step.curvature.power, self.falling <= 0
        own = samples.root_mean_square(per_sample(step.gradient))
        now = samples.root_mean_square(per_sample(step.direction)) if not plainly else own
        recent = _followed(self.recent, own, 1 / _SOON)
        length = self._next(own, recent, gradients=plainly or stalled)
        varied = length * own / torch.where(recent > 0, recent, 1.0)
        if plainly:
            reached = torch.where(length == recent, own, varied)
        else:
            reached = torch.where(length <= _NEAR * recent, varied, length) if stalled and not steady else length
        if training:
            self.typical, self.recent = length, recent
        scale = torch.where(reached == now, 1.0, reached / torch.where(now > 0, now, 1.0))
        direction = step.direction * torch.where(now > 0, scale, 1.0)
        curvature = replace(step.curvature, normalize=torch.where(now > 0, reached, length))  # type: ignore[type-var]
        target = problem.prediction.view(direction.shape) - direction
        return replace(step, direction=direction, target=target, curvature=curvature)

    def _next(self, own: Tensor, recent: Tensor, *, gradients: bool) -> Tensor:
        """Return the length after a gradient of the length `own`.

        Args:
            own: [].
            recent: [], the mean over 20 steps.
            gradients: Whether it changes by the same factor as `recent`, and approaches it: over 20 steps where it is
                longer, and over 1 000 where it is shorter, the memory of Adam's second moment.
        """
        if self.typical is None or self.recent is None:
            return own
        typical, before = self.typical.to(own.device), self.recent.to(own.device)
        if not gradients:
            return _followed(typical, own, torch.where(typical > _FAR * recent, 1 / _SOON, 1 / _MEMORY))
        typical = torch.where(before > 0, typical * (recent / torch.where(before > 0, before, 1.0)), recent)
        nearer = _followed(typical, recent, torch.where(typical > recent, 1 / _SOON, 1 / _MEMORY))
        return torch.where((typical - recent).abs() <= _EQUAL * recent, recent, nearer)


def _followed(mean: Tensor | None, now: Tensor, rate: float | Tensor) -> Tensor:
    """Return a geometric running mean after one more number; zeros do not count."""
    if mean is None:
        return now
    mean = mean.to(now.device)
    return torch.where((now > 0) & (mean > 0), mean * (now / mean) ** rate, torch.maximum(mean, now))
