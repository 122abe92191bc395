"""Paired differences in words: a method helps, hurts, or makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from nlcore_bench.statistics import Row, Sample

__all__ = ["verdict", "verdicts"]


def verdict(sample: Sample) -> str:
    """Return "helps" or "hurts" if the 95 % interval of the differences lies above or below 0, else "no difference"."""
    low, high = sample.interval
    return "helps" if low > 0 else "hurts" if high < 0 else "no difference"


def verdicts(rows: Sequence[Row], metric: str) -> list[str]:
    """Return one line for every baseline with methods that are compared with it, and one line over all of them.

    Args:
        rows: The rows of a table.
        metric: Name of the metric whose differences are judged.
    """
    lines = []
    for row in rows:
        members = [other for other in rows if other.method.baseline == row.method.name]
        if members:
            said = "; ".join(f"{other.method.label} {_said(other, metric)}" for other in members)
            lines.append(f"{row.method.group or row.method.label}: {said}.")
    labels = dict.fromkeys(row.method.label for row in rows if row.difference is not None)
    lines += [_over_all(label, [row for row in rows if row.method.label == label], metric) for label in labels]
    return lines


def _said(row: Row, metric: str) -> str:
    parts = []
    for words, samples in (("", row.difference), ("at equal time ", row.timed)):
        if samples is not None:
            low, high = samples[metric].interval
            parts.append(f"{words}{verdict(samples[metric])} ({low:+.1f} … {high:+.1f})")
    return ", ".join(parts)


def _over_all(label: str, rows: Sequence[Row], metric: str) -> str:
    """Return the mean over losses; its standard error is over losses, each of which counts once."""
    parts = []
    for words, every in (
        ("at equal steps", [row.difference for row in rows]),
        ("at equal time", [row.timed for row in rows]),
    ):
        found = [samples[metric] for samples in every if samples is not None]
        if not found:
            continue
        means = Sample(tuple(fmean(sample.values) for sample in found))
        said = [verdict(sample) for sample in found]
        parts.append(f"{means.signed} {words}, helps {said.count('helps')}, hurts {said.count('hurts')}")
    return f"{label} over all {len(rows)}: {'; '.join(parts)}."
