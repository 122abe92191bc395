"""Curves of held-out accuracy along training, one panel per group of arms."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, Literal

from nlcore.plotting.figure import BLACK, COLOURS, GREY, new_figure, render
from nlcore_bench.study import Study
from nlcore_bench.summary import Row

__all__ = ["band", "draw_curves"]

_COLOURS = (BLACK, *COLOURS)
_WIDE = 3  # panels in one row; where there are more, four to a row


def draw_curves(study: Study, rows: Sequence[Row], *, against: Literal["steps", "seconds"] = "steps") -> bytes:
    """Return a PNG: the first metric on test data after every evaluated step, mean and standard deviation.

    An arm without a group is drawn into the panel of every group.

    Args:
        study: What was run.
        rows: Its arms.
        against: Whether steps or processor time lie on the other axis; a mark there is a run for equal time.
    """
    groups = list(dict.fromkeys(row.arm.group for row in rows if row.arm.group)) or [""]
    columns = len(groups) if len(groups) <= _WIDE else 4
    lines = -(-len(groups) // columns)
    size = (1.5 + 6.0 * columns, 4.8) if lines == 1 else (4.2 * columns, 1.0 + 2.9 * lines)
    figure = new_figure(*size, dpi=130 if lines == 1 else 90)
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axis in axes[len(groups) :]:
        axis.set_axis_off()
    for axis, group in zip(axes[: len(groups)], groups, strict=True):
        members = [row for row in rows if row.arm.group == group]
        for row, colour in zip(members, _COLOURS * (1 + len(members) // len(_COLOURS)), strict=False):
            _draw(axis, study, row, colour, against)
        for row in rows if group else []:
            if not row.arm.group:
                _draw(axis, study, row, GREY, against)
        axis.set_title(group, fontsize=11)
        axis.set_xlabel("training steps" if against == "steps" else "processor time of the training (s)")
        axis.set_xlim(0, study.task.steps if against == "steps" else None)
        axis.set_ylim(0, 100)
        axis.grid(alpha=0.25)
        axis.legend(loc="lower right", fontsize=9 if lines == 1 else 7, framealpha=0.9)
    for axis in axes[::columns]:
        axis.set_ylabel(f"{study.task.metrics[0].label}, held-out data (%)")
    seeds = "1 seed" if study.seeds == 1 else f"mean and standard deviation of {study.seeds} seeds"
    damped = any(row.damping is not None for row in rows)
    tuned = "rates and dampings" if damped else "learning rates"
    figure.suptitle(f"{study.task.title}\n{seeds}, {tuned} tuned alike on validation data", fontsize=12)
    return render(figure)


def band(row: Row, metric: str) -> tuple[list[int], list[float], list[float]]:
    """Return steps, means and standard deviations (0 for one seed) of the steps that every seed reached."""
    shortest = min(row.runs, key=lambda run: len(run.steps))
    steps = list(shortest.steps)
    columns = [[run.curves[metric][place] for run in row.runs] for place in range(len(steps))]
    return steps, [fmean(column) for column in columns], [stdev(c) if len(c) > 1 else 0.0 for c in columns]


def _draw(axis: Any, study: Study, row: Row, colour: str, against: str) -> None:
    metric = study.task.metrics[0].name
    steps, mean, spread = band(row, metric)
    places: list[float] = list(steps)
    if against == "seconds":
        places = [fmean(run.times[place] for run in row.runs) for place in range(len(steps))]
        if row.timed_runs:
            end = fmean(run.cpu_seconds for run in row.timed_runs)
            axis.plot([end], [fmean(run.final[metric] for run in row.timed_runs)], "D", color=colour, markersize=5)
    reference = row.arm.supervision != study.task.arms[0].supervision
    label = f"{row.arm.label}: {row.held_out[metric].mean:.1f} %"
    axis.plot(places, mean, color=colour, label=label, linewidth=1.8, linestyle="--" if reference else "-")
    low = [m - s for m, s in zip(mean, spread, strict=True)]
    high = [m + s for m, s in zip(mean, spread, strict=True)]
    axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
