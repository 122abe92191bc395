"""The guard of the default: it returns to the gradient where the losses of a training rise."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Literal, TypeAlias

__all__ = ["LossGuard", "Verdict"]

Verdict: TypeAlias = Literal["fine", "doubtful", "lost"]

_RISE, _IN_A_ROW = 2.0, 3
"""The loss is far above its running mean if it is more than this many times the mean; with so many such steps in a row
the choice goes back to the gradient. A single high loss may be a batch of hard samples."""

_DEVIATIONS = 3.0
"""A multiple of the mean is meaningless for a loss that can be negative, such as a log-likelihood. From its first
negative value on, it is far above its running mean if it lies more than this many mean absolute deviations above."""

_LOST = 2.0
"""How many mean absolute deviations the running mean of such a loss may lie above its lowest value."""

_DOUBT = 0.7
"""The direction in use is in doubt if the running mean of any loss lies this many mean absolute deviations above its
lowest value. The mean of losses that do not change varies by a fifth of one."""

_SPIKE = 4.0
"""A loss that lies further above the running mean than this many times the size of the mean, or this many deviations,
counts as if it lay there: a single high loss hardly moves the mean."""

_LEVEL, _SPREAD, _QUICK = 0.05, 0.02, 0.3
"""Weights of a loss in the running mean, in the mean absolute deviation from it, and in the mean of a trial."""

_TRIAL = 30
"""Steps for which a direction on trial is new: it fails if the loss rises by its mean absolute deviation meanwhile."""


@dataclass(slots=True)
class LossGuard:
    """The state of the guard.

    Attributes:
        level: Running mean of the loss; NaN before the first.
        lowest: The lowest running mean so far.
        spread: Mean absolute deviation of the loss from the running mean.
        count: Number of losses so far.
        risen: How many steps in a row had a loss far above the running mean.
        signed: Whether a loss was negative.
        direction: Index of the direction of the last step.
        since: Steps since it changed.
        start: The running mean when it changed.
        quick: The mean of the losses since then, with a short memory.
    """

    level: float = math.nan
    lowest: float = math.nan
    spread: float = 0.0
    count: int = 0
    risen: int = 0
    signed: bool = False
    direction: int = 0
    since: int = 0
    start: float = math.nan
    quick: float = math.nan

    @property
    def alarmed(self) -> bool:
        """Whether several losses in a row were far above the running mean."""
        return self.risen >= _IN_A_ROW

    def judge(self, loss: float, direction: int, *, on_trial: bool) -> Verdict:
        """Return whether the loss is lost, having risen for good, or the direction in use is in doubt.

        Args:
            loss: The mean loss of the last step.
            direction: Index of its direction; 0 is the gradient.
            on_trial: Whether new directions are on trial.
        """
        if math.isnan(self.level):
            self.level = self.lowest = loss
        self.signed = self.signed or loss < 0
        far = _DEVIATIONS * self.spread if self.signed else (_RISE - 1) * abs(self.level)
        self.risen = self.risen + 1 if loss - self.level > far > 0 else 0
        gone = _LOST * self.spread if self.signed else (_RISE - 1) * abs(self.lowest)
        lost = self.level - self.lowest > gone > 0
        failed = self._fails(loss, direction)  # kept up to date also without a trial
        if lost or (on_trial and failed):
            self.lowest = self.level
            return "lost"
        return "doubtful" if failed or self.level - self.lowest > _DOUBT * self.spread > 0 else "fine"

    def excuse(self) -> None:
        """Take the present mean for the lowest: what comes next is not to blame for a rise before."""
        self.lowest = self.level

    def count_in(self, loss: float) -> float:
        """Bring the running means nearer to a loss, and return it as it counts: not far above the mean."""
        size = self.spread if self.signed else abs(self.level)
        loss = min(loss, self.level + _SPIKE * size) if size else loss
        self.count += 1
        self.spread += max(_SPREAD, 1 / self.count) * (abs(loss - self.level) - self.spread)
        self.level += _LEVEL * (loss - self.level)
        known = not self.signed or self.count > 1 / _LEVEL  # before, the first loss may have been a low one
        self.lowest = min(self.lowest, self.level) if known else self.level
        return loss

    def _fails(self, loss: float, direction: int) -> bool:
        """Return whether a direction other than the gradient, on trial since it was chosen, lets the loss rise."""
        if direction != self.direction:
            self.direction, self.since, self.start, self.quick = direction, 0, self.level, self.level
        self.since += 1
        if direction == 0 or self.since > _TRIAL:
            return False
        self.quick += _QUICK * (loss - self.quick)
        return self.quick - self.start > self.spread > 0

    def state(self) -> list[float]:
        """Return the attributes as numbers."""
        return [float(one) for one in astuple(self)]

    @classmethod
    def of(cls, state: list[float]) -> LossGuard:
        """Return the guard with this state."""
        return cls(*(type(one)(number) for one, number in zip(astuple(cls()), state, strict=True)))
