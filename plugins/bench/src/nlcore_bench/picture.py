"""Curves of held-out accuracy along training, one panel per group of arms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from nlcore_bench.study import Study
from nlcore_bench.summary import Row

__all__ = ["band", "draw_curves"]

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")


def draw_curves(study: Study, rows: Sequence[Row]) -> bytes:
    """Return a PNG: the first metric on test data after every evaluated step, mean and standard deviation.

    Args:
        study: What was run.
        rows: Its arms.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(row.arm.group for row in rows))
    figure = Figure(figsize=(1.5 + 6.0 * len(groups), 4.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axis, group in zip(axes, groups, strict=True):
        members = [row for row in rows if row.arm.group == group]
        for row, colour in zip(members, _COLOURS * (1 + len(members) // len(_COLOURS)), strict=False):
            _draw(axis, study, row, colour)
        axis.set_title(group, fontsize=11)
        axis.set_xlabel("training steps")
        axis.set_xlim(0, study.task.steps)
        axis.set_ylim(0, 100)
        axis.grid(alpha=0.25)
        axis.legend(loc="lower right", fontsize=9, framealpha=0.9)
    axes[0].set_ylabel(f"{study.task.metrics[0].label}, held-out data (%)")
    seeds = "1 seed" if study.seeds == 1 else f"mean and standard deviation of {study.seeds} seeds"
    figure.suptitle(f"{study.task.title}\n{seeds}, learning rates tuned alike on validation data", fontsize=12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def band(row: Row, metric: str) -> tuple[list[int], list[float], list[float]]:
    """Return steps, means and standard deviations (0 for one seed) of the steps that every seed reached."""
    shortest = min(row.runs, key=lambda run: len(run.steps))
    steps = list(shortest.steps)
    columns = [[run.curves[metric][place] for run in row.runs] for place in range(len(steps))]
    return steps, [fmean(column) for column in columns], [stdev(c) if len(c) > 1 else 0.0 for c in columns]


def _draw(axis: Any, study: Study, row: Row, colour: str) -> None:
    metric = study.task.metrics[0].name
    steps, mean, spread = band(row, metric)
    reference = row.arm.supervision != study.task.arms[0].supervision
    label = f"{row.arm.label}: {row.held_out[metric].mean:.1f} %"
    axis.plot(steps, mean, color=colour, label=label, linewidth=1.8, linestyle="--" if reference else "-")
    low = [m - s for m, s in zip(mean, spread, strict=True)]
    high = [m + s for m, s in zip(mean, spread, strict=True)]
    axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
