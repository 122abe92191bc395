"""The length of the default's steps: that of the gradients so far, and of recent ones once the loss has stalled.

The length of a direction is its root mean square over samples and outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["StepLength"]

_MEMORY = 1000
"""Steps over which the length of a direction follows the length of the gradient, as Adam's second moment does."""

_SOON = 20
"""Steps over which the length follows the gradients after a stall: steps that do not shrink with the gradient never
settle at the minimum, which plain training reaches."""

_STALLED = 0.25
"""The loss has stalled once the share of recent steps with a loss below its running mean exceeds the share above by no
more than this."""

_SLOW = 200
"""The loss has also stalled once its running mean is not below the mean over so many steps: a few high losses in a
noisy training leave most of the others below the running mean."""

_FAR = 10.0
"""Before a stall, the length follows the gradients over 20 steps while it is this many times that of recent ones."""

_SHRINK = 0.9
"""The factor by which the length shrinks at most from step to step where it is greater than it may be."""

_LEAST_LENGTH = 0.1
"""The length that a step may have in any case after a stall, in units of recent gradients."""

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
        typical: The length of a step; NaN before the first.
        recent: The length of the gradients, mean over 20 steps.
        earlier: Mean of the loss over 200 steps.
        falling: By how much the share of recent steps with a loss below its mean exceeds the share above; 0 after a
            stall.
    """

    typical: float = math.nan
    recent: float = math.nan
    earlier: float = math.nan
    falling: float = 1.0

    def observe(self, loss: float, mean: float, age: int) -> None:
        """Note whether the loss has stalled.

        Args:
            loss: That of the last step.
            mean: Its running mean before, `LossGuard.level`.
            age: Number of steps so far.
        """
        if math.isnan(self.earlier):
            self.earlier = loss
        if self.falling > 0:  # zero for good after a stall
            self.falling += ((loss < mean) - (loss > mean) - self.falling) / _SOON
            if self.falling <= _STALLED or (age >= _SLOW and mean >= self.earlier):
                self.falling = 0.0
        self.earlier += (loss - self.earlier) / _SLOW

    def fit(
        self, gradient_length: float, *, plainly: bool, steady: bool, training: bool, farthest: float = math.inf
    ) -> float:
        """Return the length of a step.

        It is the root mean square of the gradients, in the geometric mean with a memory of 1 000 steps: constant while
        a training begins, which keeps the pace of an optimiser that divides by earlier gradients. Where gradients grow,
        as those of a log-likelihood do, it follows them over 20 steps, so that it does not fall behind plain training.
        A loss multiplied by a constant multiplies it. Once the loss has stalled, and while the gradient itself is the
        direction, the length follows recent gradients, so that steps shrink where gradients do; and a step is longer
        than usual where its gradient is. A gradient that was the direction from the start is left as it is.

        Args:
            gradient_length: The length of this step's gradient.
            plainly: Whether the direction is the gradient.
            steady: Whether this step has the typical length, after a stall too.
            training: Whether the state changes; not in an evaluation.
            farthest: The length to the best point of the line search, in units of recent gradients. No step goes
                farther; but before a stall it may always be as long as they are, and after it a tenth as long.
        """
        stalled, recent = self.falling <= 0, _followed(self.recent, gradient_length, 1 / _SOON)
        length = self._next(gradient_length, recent, gradients=plainly or stalled)
        least = _LEAST_LENGTH if stalled else 1.0
        limit = math.inf if plainly or math.isinf(farthest) else recent * max(farthest, least)
        if length > limit:
            length = max(limit, min(length, _SHRINK * self.typical))
        if training:
            self.typical, self.recent = length, recent
        if plainly and length == recent:
            return gradient_length
        varies = plainly or (stalled and not steady and length <= _NEAR * recent)
        return min(length * gradient_length / recent, max(length, limit)) if varies and recent > 0 else length

    def _next(self, gradient_length: float, recent: float, *, gradients: bool) -> float:
        """Return the typical length after a gradient.

        Args:
            gradient_length: The length of the gradient.
            recent: The mean over 20 steps.
            gradients: Whether it changes by the same factor as `recent`, and approaches it: over 20 steps where it is
                longer, and over 1 000 where it is shorter, the memory of Adam's second moment.
        """
        typical, before = self.typical, self.recent
        if math.isnan(typical) or math.isnan(before):
            return gradient_length
        if not gradients and typical < recent:
            return _followed(typical, recent, 1 / _SOON)
        if not gradients:
            return _followed(typical, gradient_length, 1 / (_SOON if typical > _FAR * recent else _MEMORY))
        typical = typical * (recent / before) if before > 0 else recent
        nearer = _followed(typical, recent, 1 / (_SOON if typical > recent else _MEMORY))
        return recent if abs(typical - recent) <= _EQUAL * recent else nearer


def _followed(mean: float, now: float, rate: float) -> float:
    """Return a geometric running mean after one more number; zeros do not count."""
    if math.isnan(mean):
        return now
    return float(mean * (now / mean) ** rate) if now > 0 and mean > 0 else max(mean, now)
