"""What an interval says of an arm: it helps, it hurts, or nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from nlcore_bench.summary import Row, Sample

__all__ = ["interval", "verdict", "verdicts"]

_LEVEL = 0.95


def interval(sample: Sample) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of paired differences; they need two seeds at least."""
    from scipy.stats import t

    if sample.error is None:
        raise ValueError("one difference has no interval")
    half = float(t.ppf((1 + _LEVEL) / 2, len(sample.values) - 1)) * sample.error
    return sample.mean - half, sample.mean + half


def verdict(sample: Sample) -> str:
    """Return "helps", "hurts" or "no difference": where the interval of the difference lies."""
    low, high = interval(sample)
    return "helps" if low > 0 else "hurts" if high < 0 else "no difference"


def verdicts(rows: Sequence[Row], metric: str) -> list[str]:
    """Return one line for every baseline with arms that are held against it, and one over all of them.

    Args:
        rows: The rows of a table.
        metric: Whose differences are judged.
    """
    lines = []
    for row in rows:
        members = [other for other in rows if other.arm.baseline == row.arm.name]
        if members:
            said = "; ".join(f"{other.arm.label} {_said(other, metric)}" for other in members)
            lines.append(f"{row.arm.group or row.arm.label}: {said}.")
    labels = dict.fromkeys(row.arm.label for row in rows if row.difference is not None)
    lines += [_over_all(label, [row for row in rows if row.arm.label == label], metric) for label in labels]
    return lines


def _said(row: Row, metric: str) -> str:
    parts = []
    for words, samples in (("", row.difference), ("at equal time ", row.timed)):
        if samples is not None:
            low, high = interval(samples[metric])
            parts.append(f"{words}{verdict(samples[metric])} ({low:+.1f} … {high:+.1f})")
    return ", ".join(parts)


def _over_all(label: str, rows: Sequence[Row], metric: str) -> str:
    """Return the mean over methods; its standard error is over methods, each of which counts once."""
    parts = []
    for words, every in (
        ("at equal steps", [row.difference for row in rows]),
        ("at equal time", [row.timed for row in rows]),
    ):
        found = [samples[metric] for samples in every if samples is not None]
        if not found:
            continue
        means = Sample(tuple(fmean(sample.values) for sample in found))
        error = "" if means.error is None else f" ± {means.error:.1f}"
        said = [verdict(sample) for sample in found]
        parts.append(f"{means.mean:+.1f}{error} {words}, helps {said.count('helps')}, hurts {said.count('hurts')}")
    return f"{label} over all {len(rows)}: {'; '.join(parts)}."
