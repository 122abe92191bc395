"""Tables as plain text and Markdown, and the files that a study leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlcore_bench.files import write_whole
from nlcore_bench.picture import draw_curves
from nlcore_bench.records import Cell, Run
from nlcore_bench.study import Study
from nlcore_bench.summary import Row, Sample, summarise
from nlcore_bench.tables import Table
from nlcore_bench.verdicts import verdicts

__all__ = ["table", "write_report"]


def write_report(study: Study, runs: Mapping[Cell, Run], folder: Path) -> str:
    """Write `table.txt`, `table.md` and `curves.png` into `folder` and return the text.

    A study with runs for equal time leaves `curves_time.png` as well.
    """
    rows = summarise(study, runs)
    found = table(study, rows)
    write_whole(folder / "table.txt", found.text())
    write_whole(folder / "table.md", found.markdown())
    write_whole(folder / "curves.png", draw_curves(study, rows))
    if study.timed:
        write_whole(folder / "curves_time.png", draw_curves(study, rows, against="seconds"))
    return found.text()


def table(study: Study, rows: Sequence[Row]) -> Table:
    """Return the table of a study, with what a reader needs to know to judge it."""
    head, *body = _cells(study, rows)
    notes = (*_verdicts(study, rows), *_notes(study, rows))
    return Table(head=tuple(head), rows=tuple(map(tuple, body)), title=study.task.title, notes=notes)


def _cells(study: Study, rows: Sequence[Row]) -> list[list[str]]:
    """Return the head and one list of texts per row."""
    first, *others = study.task.metrics
    differs = any(row.difference is not None for row in rows)
    timed = any(row.timed is not None for row in rows)
    damped = any(row.damping is not None for row in rows)
    head = [
        "arm",
        f"{first.label} %",
        *(f"{metric.label} %" for metric in others),
        "training %",
        *(["minus plain"] if differs else []),
        *(["equal time: minus plain"] if timed else []),
        f"steps to {first.threshold:.0f} %",
        "rate",
        *(["damping"] if damped else []),
        "s/run",
    ]
    cells = [head]
    for row in rows:
        difference, late = (
            "" if samples is None else _mean(samples[first.name], error=True) for samples in (row.difference, row.timed)
        )
        damping = "" if row.damping is None else f"{row.damping:g}" + ("*" if row.damping_edge else "")
        cells.append(
            [
                row.arm.title,
                _mean(row.held_out[first.name]),
                *(_mean(row.held_out[metric.name]) for metric in others),
                _mean(row.train[first.name]),
                *([difference] if differs else []),
                *([late] if timed else []),
                row.steps_to(first),
                f"{row.rate:g}" + ("*" if row.edge else ""),
                *([damping] if damped else []),
                f"{row.seconds.mean:.2f}",
            ]
        )
    return cells


def _mean(sample: Sample, *, error: bool = False) -> str:
    """Return mean ± standard deviation, or signed mean ± standard error."""
    spread = sample.error if error else sample.spread
    mean = f"{sample.mean:+.1f}" if error else f"{sample.mean:.1f}"
    return mean if spread is None else f"{mean} ± {spread:.1f}"


def _verdicts(study: Study, rows: Sequence[Row]) -> list[str]:
    """Return what the intervals of a study for equal time say, one line a baseline."""
    return verdicts(rows, study.task.metrics[0].name) if study.timed and study.seeds > 1 else []


def _notes(study: Study, rows: Sequence[Row]) -> list[str]:
    task = study.task
    seeds = "1 seed" if study.seeds == 1 else f"{study.seeds} seeds; ± is the standard deviation over them"
    paired = ", for differences (paired by seed) the standard error" if study.seeds > 1 else ""
    others = "1 other seed" if study.tuning == 1 else f"{study.tuning} other seeds"
    counts = sorted({len(arm.candidates(task.rates)) for arm in study.chosen})
    grids = any(arm.dampings for arm in study.chosen)
    tried = f"{'–'.join(map(str, counts))} {'rates, or rates times dampings,' if grids else 'rates'} × {others}"
    notes = [
        f"{task.steps} steps of Adam with a cosine schedule; {seeds}{paired}. Each arm tried {tried}. "
        f"Shares are of held-out data; the training column is '{task.metrics[0].label}' on training data. "
        "Time is processor time on one thread, evaluations left out.",
        *task.notes,
    ]
    if any(row.timed_runs for row in rows):
        notes.append(
            "Equal time: the same arm on the same seeds, its schedule shortened so that a run takes as much processor "
            "time as one of the plain arm, both by the median of their tuning runs."
        )
    if _verdicts(study, rows):
        notes.append(
            "helps / hurts: Student's 95 % interval of the differences paired by seed lies above / below 0; no "
            "difference: it holds 0. Of twenty such intervals one is expected to miss by chance alone. What is said "
            "over all counts every method once, ± is the standard error over methods."
        )
    if any(row.edge or row.damping_edge for row in rows):
        notes.append(
            f"* the smallest or largest {'value' if grids else 'rate'} that was tried; a better one may lie beyond."
        )
    for row in rows:
        notes += [f"A run of '{row.arm.title}' stopped early and counts as it stood: {why}" for why in row.failures]
    return notes
