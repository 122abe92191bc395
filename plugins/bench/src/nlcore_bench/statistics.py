"""Statistics of a table: summaries over seeds, differences paired by seed, and the one rule for words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats

from nlcore_bench.tasks.base import Measure

__all__ = ["CLAIM_SEEDS", "RULE", "Paired", "Sample", "Word", "holm"]

Word = Literal["better", "worse", "level"]

CLAIM_SEEDS = 8
"""Smallest number of seeds for a claim; with 5 pairs the p-value of Wilcoxon's test is at least 0.06."""

_ERRORS, _POINTS, _SHARE = 2.0, 2.0, 0.05
RULE = (
    f"better / worse: the mean difference paired by seed is beyond {_ERRORS:g} standard errors and beyond "
    f"{_SHARE:.0%} of the baseline's mean ({_POINTS:g} points for shares in %); level: it is not. A claim needs at "
    f"least {CLAIM_SEEDS} seeds: with fewer, the word has a question mark."
)
"""The rule for words, for the reader of a table."""


@dataclass(frozen=True)
class Sample:
    """One number per seed.

    Attributes:
        values: The numbers, in the order of the seeds.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return float(np.mean(self.values))

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile; the interquartile range is from the first to the last."""
        low, middle, high = np.quantile(self.values, (0.25, 0.5, 0.75)).tolist()
        return low, middle, high

    @property
    def spread(self) -> float | None:
        """The standard deviation (n − 1 in the denominator); `None` for a single number."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; `None` for a single number."""
        return float(stats.sem(self.values)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Paired:
    """A measure of two methods, paired by seed.

    Attributes:
        measure: The measure.
        mine: Values of the method.
        base: Values of the method it is compared with, at the same seeds.
    """

    measure: Measure
    mine: tuple[float, ...]
    base: tuple[float, ...]

    @cached_property
    def difference(self) -> Sample:
        """The differences."""
        return Sample(tuple(a - b for a, b in zip(self.mine, self.base, strict=True)))

    @property
    def word(self) -> Word:
        """`better`, `worse` or `level`, by the rule."""
        gain, error = self.measure.sign * self.difference.mean, self.difference.error
        margin = _POINTS if self.measure.unit == "%" else _SHARE * abs(Sample(self.base).mean)
        if error is None or abs(gain) <= max(_ERRORS * error, margin):
            return "level"
        return "better" if gain > 0 else "worse"

    @property
    def claim(self) -> str:
        """The word, with a question mark if there are too few seeds for a claim."""
        return self.word if len(self.mine) >= CLAIM_SEEDS else f"{self.word}?"

    @property
    def improved(self) -> float:
        """Share of the seeds at which the method is better."""
        return float(np.mean([self.measure.sign * value > 0 for value in self.difference.values]))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Bootstrap interval of the mean difference, 95 %, by percentiles; the same in every report."""
        values = self.difference.values
        if len(set(values)) == 1:
            return values[0], values[0]
        found = stats.bootstrap((values,), np.mean, method="percentile", random_state=np.random.default_rng(0))
        return float(found.confidence_interval.low), float(found.confidence_interval.high)

    @cached_property
    def wilcoxon(self) -> float:
        """Two-sided p-value of Wilcoxon's signed-rank test; 1 without any difference."""
        return float(stats.wilcoxon(self.difference.values).pvalue) if any(self.difference.values) else 1.0

    @cached_property
    def student(self) -> float:
        """Two-sided p-value of the paired t-test; 1 for differences without spread around 0."""
        if len(self.mine) == 1 or not any(self.difference.values):
            return 1.0
        return float(stats.ttest_rel(self.mine, self.base).pvalue) if self.difference.error else 0.0

    def signed(self) -> str:
        """Return the mean difference ± its standard error."""
        error = self.difference.error
        text = self.measure.text(self.difference.mean, signed=True)
        return text if error is None else f"{text} ± {self.measure.text(error)}"


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's method, in the given order.

    Args:
        values: The p-values of all comparisons of a table.
    """
    order = np.argsort(values)
    raised = np.array(values, dtype=float)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(value) for value in adjusted]
