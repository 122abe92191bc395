"""Curves of the held-out metric along training, one panel per group of methods."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

import numpy as np

from nlcore.plotting.figure import BLACK, COLOURS, GREY, new_figure, panels, render
from nlcore_bench.statistics import Row
from nlcore_bench.study import Study

__all__ = ["band", "draw_curves"]

_COLOURS = (BLACK, *COLOURS)
_WIDE = 3  # panels in a single row; more of them are drawn in rows of four


def draw_curves(study: Study, rows: Sequence[Row], *, against: Literal["steps", "seconds"] = "steps") -> bytes:
    """Return a PNG: the first metric on test data after every evaluated step, mean and standard deviation.

    A method without a group is drawn in every panel.

    Args:
        study: The study.
        rows: Its methods.
        against: Horizontal axis: steps or processor time. On the latter, a mark shows the runs for equal time.
    """
    groups = list(dict.fromkeys(row.method.group for row in rows if row.method.group)) or [""]
    columns = len(groups) if len(groups) <= _WIDE else 4
    lines = -(-len(groups) // columns)
    size = (1.5 + 6.0 * columns, 4.8) if lines == 1 else (4.2 * columns, 1.0 + 2.9 * lines)
    figure = new_figure(*size, dpi=130 if lines == 1 else 90)
    axes = panels(figure, len(groups), columns, sharey=True)
    for axis, group in zip(axes, groups, strict=True):
        members = [row for row in rows if row.method.group == group]
        for row, colour in zip(members, _COLOURS * (1 + len(members) // len(_COLOURS)), strict=False):
            _draw(axis, study, row, colour, against)
        for row in rows if group else []:
            if not row.method.group:
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
    tuned = "learning rates and dampings" if damped else "learning rates"
    figure.suptitle(f"{study.task.title}\n{seeds}, {tuned} tuned alike on validation data", fontsize=12)
    return render(figure)


def band(row: Row, metric: str) -> tuple[list[int], list[float], list[float]]:
    """Return steps, means and standard deviations (0 for one seed) of the steps that every seed reached."""
    steps = list(min(row.runs, key=lambda run: len(run.steps)).steps)
    values = np.array([run.curves.get(metric, ())[: len(steps)] for run in row.runs])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(steps))
    return steps, values.mean(axis=0).tolist(), spread.tolist()


def _draw(axis: Any, study: Study, row: Row, colour: str, against: str) -> None:
    metric = study.task.metrics[0].name
    steps, mean, spread = band(row, metric)
    along: list[float] = list(steps)
    if against == "seconds":
        along = np.mean([run.times[: len(steps)] for run in row.runs], axis=0).tolist()
        if row.timed_runs:
            end = fmean(run.cpu_seconds for run in row.timed_runs)
            axis.plot([end], [fmean(run.final[metric] for run in row.timed_runs)], "D", color=colour, markersize=5)
    reference = row.method.supervision != study.task.methods[0].supervision
    label = f"{row.method.label}: {row.held_out[metric].mean:.1f} %"
    axis.plot(along, mean, color=colour, label=label, linewidth=1.8, linestyle="--" if reference else "-")
    low, high = np.subtract(mean, spread), np.add(mean, spread)
    axis.fill_between(along, low, high, color=colour, alpha=0.15, linewidth=0)
