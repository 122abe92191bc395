"""The report of a study: its table, its verdicts and its curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nlcore_bench.files import write_whole
from nlcore_bench.picture import draw_curves
from nlcore_bench.records import Cell, Run
from nlcore_bench.statistics import Row, Sample, summarise
from nlcore_bench.study import Study
from nlcore_bench.tables import Table
from nlcore_bench.verdicts import verdicts

__all__ = ["table", "write_report"]


def write_report(study: Study, runs: Mapping[Cell, Run], folder: Path) -> str:
    """Write `table.txt`, `table.md` and `curves.png` into `folder` and return the text.

    For a study with runs for equal time, `curves_time.png` is written too.
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
    """Return the table of a study, with notes for the reader."""
    columns = _columns(study, rows)
    return Table(
        head=tuple(columns),
        rows=tuple(tuple(cell(row) for cell in columns.values()) for row in rows),
        title=study.task.title,
        notes=(*_verdicts(study, rows), *_notes(study, rows)),
    )


def _columns(study: Study, rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Return the columns by name, each with the function that makes its cells; those without content are left out."""
    first, *others = study.task.metrics
    columns: dict[str, Callable[[Row], str]] = {"method": lambda row: row.method.title}
    for metric in (first, *others):
        columns[f"{metric.label} %"] = lambda row, name=metric.name: _mean(row.held_out[name])  # type: ignore[misc]
    columns["training %"] = lambda row: _mean(row.train[first.name])
    if any(row.difference is not None for row in rows):
        columns["difference to plain"] = lambda row: _signed(row.difference, first.name)
    if any(row.timed is not None for row in rows):
        columns["equal time: difference to plain"] = lambda row: _signed(row.timed, first.name)
    columns[f"steps to {first.threshold:.0f} %"] = lambda row: row.steps_to(first)
    columns["learning rate"] = lambda row: _tuned(row.learning_rate, edge=row.edge)
    if any(row.damping is not None for row in rows):
        columns["damping"] = lambda row: _tuned(row.damping, edge=row.damping_edge)
    columns["seconds per run"] = lambda row: f"{row.seconds.mean:.2f}"
    return columns


def _tuned(value: float | None, *, edge: bool) -> str:
    """Return a tuned value, with a mark if a better one may lie beyond those that were tried."""
    return "" if value is None else f"{value:g}{'*' if edge else ''}"


def _mean(sample: Sample) -> str:
    """Return mean ± standard deviation."""
    return f"{sample.mean:.1f}" + ("" if sample.spread is None else f" ± {sample.spread:.1f}")


def _signed(samples: Mapping[str, Sample] | None, metric: str) -> str:
    """Return the mean difference ± its standard error; empty for a baseline."""
    return "" if samples is None else samples[metric].signed


def _verdicts(study: Study, rows: Sequence[Row]) -> list[str]:
    """Return the verdicts of a study with runs for equal time, one line per baseline."""
    return verdicts(rows, study.task.metrics[0].name) if study.timed and study.seeds > 1 else []


def _notes(study: Study, rows: Sequence[Row]) -> list[str]:
    task = study.task
    seeds = "1 seed" if study.seeds == 1 else f"{study.seeds} seeds; ± is the standard deviation over them"
    paired = ", for differences (paired by seed) the standard error" if study.seeds > 1 else ""
    others = "1 other seed" if study.tuning == 1 else f"{study.tuning} other seeds"
    counts = sorted({len(method.candidates(task.learning_rates)) for method in study.chosen})
    grids = any(method.dampings for method in study.chosen)
    kinds = "learning rates, or learning rates times dampings," if grids else "learning rates"
    tried = f"{'–'.join(map(str, counts))} {kinds} × {others}"
    notes = [
        f"{task.steps} steps of Adam with a cosine schedule; {seeds}{paired}. Each method tried {tried}. "
        f"Shares are of held-out data; the training column is '{task.metrics[0].label}' on training data. "
        "Time is processor time on one thread, without evaluations.",
        *task.notes,
    ]
    if any(row.timed_runs for row in rows):
        notes.append(
            "Equal time: the same method on the same seeds, with a schedule shortened so that a run takes as much "
            "processor time as one of the plain method, by the medians of their tuning runs."
        )
    if _verdicts(study, rows):
        notes.append(
            "helps / hurts: Student's 95 % interval of the differences paired by seed lies above / below 0; no "
            "difference: it contains 0. By chance one in twenty such intervals misses the true difference. "
            "The lines over all count every loss once; ± is the standard error over losses."
        )
    if any(row.edge or row.damping_edge for row in rows):
        notes.append(
            f"* the smallest or largest {'value' if grids else 'learning rate'} tried; a better one may lie beyond."
        )
    for row in rows:
        notes += [f"A run of '{row.method.title}' stopped early and counts as it stood: {why}" for why in row.failures]
    return notes
