"""The pictures of a study: curves of the held-out measure along training, and all seeds of all methods as dots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from textwrap import fill
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.ticker import LogLocator

from nlcore.plotting.figure import BLACK, COLOURS, GREY, legend_once, new_figure, panels, render
from nlcore_bench.rows import Row
from nlcore_bench.tails import LEVELS, tail

__all__ = ["draw_along", "draw_curves", "draw_dots", "draw_tails"]

_COLOURS = (BLACK, *COLOURS)
_MARKS = "osD^vP"
Lines: TypeAlias = Mapping[str, Mapping[str, Row]]
"""Name of a line to its rows, by the name in the legend."""

_WIDE = 3  # panels in a single row; more of them are drawn in rows of four


def draw_curves(
    title: str, groups: Mapping[str, Sequence[Row]], *, against: Literal["steps", "seconds"] = "steps"
) -> bytes:
    """Return a PNG: the first measure on test data after every evaluated step, mean and standard deviation.

    Args:
        title: Title of the picture.
        groups: The rows of every panel by its title; a reference is drawn dashed and grey.
        against: Horizontal axis: steps, or processor time with a mark for the runs of equal time.
    """
    figure, axes, lines = _grid(len(groups))
    for axis, (name, rows) in zip(axes, groups.items(), strict=True):
        for index, row in enumerate(rows):
            _draw_curve(axis, row, _COLOURS[index % len(_COLOURS)], against)
        measure = rows[0].first
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("training steps" if against == "steps" else "processor time of the training (s)")
        axis.set_ylabel(f"{measure.label}, held-out data{' (%)' if measure.unit == '%' else ''}")
        if measure.unit != "%":
            axis.set_yscale("log")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=9 if lines == 1 else 7, framealpha=0.9)
    figure.suptitle(f"{title}\nmean and standard deviation over the seeds, tuned alike on validation data", fontsize=12)
    return render(figure)


def _grid(count: int) -> tuple[Any, Sequence[Any], int]:
    """Return a figure with so many panels, these, and the number of its lines."""
    columns = count if count <= _WIDE else 4
    lines = -(-count // columns)
    size = (1.5 + 6.0 * columns, 4.8) if lines == 1 else (4.2 * columns, 1.0 + 2.9 * lines)
    figure = new_figure(*size, dpi=130 if lines == 1 else 90)
    return figure, panels(figure, count, columns), lines


def draw_tails(title: str, groups: Mapping[str, Sequence[Row]]) -> bytes:
    """Return a PNG: the quantiles of the norms of gradients over their median, every seed thin and their median thick.

    Args:
        title: Title of the picture.
        groups: The rows of every panel by its title.
    """
    figure, axes, lines = _grid(len(groups))
    words = [f"{100 * level:g} %" for level in LEVELS[:-1]] + ["largest"]
    known = list(dict.fromkeys(row.entry.label for rows in groups.values() for row in rows if row.runs[0].norms))
    for axis, (name, rows) in zip(axes, groups.items(), strict=True):
        for row in (row for row in rows if row.runs[0].norms):
            index = known.index(row.entry.label)
            colour, style = _COLOURS[index % len(_COLOURS)], ("-", "--", ":")[index // len(_COLOURS) % 3]
            values = np.array([[tail(run, "sample", level) for level in LEVELS] for run in row.runs])
            axis.plot(values.T, color=colour, alpha=0.25, linewidth=0.7)
            axis.plot(np.median(values, axis=0), color=colour, linestyle=style, linewidth=1.8, label=row.entry.label)
        axis.set(title=name, xticks=range(len(words)), xticklabels=words, ylabel="norm / median", yscale="log")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=9 if lines == 1 else 7, framealpha=0.9)
    highest = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(0.8, highest)
    figure.suptitle(
        f"{title}\nnorms that the predictions of all samples receive over a run; thin lines are seeds", fontsize=12
    )
    return render(figure)


def draw_along(title: str, groups: Mapping[str, Sequence[Row]]) -> bytes:
    """Return a PNG: the first measure along the damping, a line for each curvature, and a band for methods without one.

    Args:
        title: Title of the picture.
        groups: The rows of every panel by its title.
    """
    figure, axes, _ = _grid(len(groups))
    for axis, (name, rows) in zip(axes, groups.items(), strict=True):
        families: dict[str, dict[float, Row]] = {}
        for row in rows:
            kind, damping = _damping_of(row)
            families.setdefault(kind or row.entry.label, {})[damping] = row
        for index, (kind, along) in enumerate(families.items()):
            colour, measure = _COLOURS[index % len(_COLOURS)], rows[0].first
            samples = [row.held_out(measure) for _, row in sorted(along.items())]
            means, errors = np.array([one.mean for one in samples]), np.array([one.error or 0.0 for one in samples])
            if len(along) == 1:
                axis.axhline(means[0], color=colour, label=kind, linestyle="--")
                axis.axhspan(*(means[0] + np.array([-1, 1]) * errors[0]), color=colour, alpha=0.15, linewidth=0)
            else:
                axis.errorbar(sorted(along), means, errors, color=colour, label=kind, marker="o", markersize=4)
        axis.set(title=name, xlabel="damping λ", xscale="log", ylabel=f"{rows[0].first.label}, held-out data")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=9, framealpha=0.9)
    figure.suptitle(f"{title}\nmean and standard error over the seeds, tuned alike on validation data", fontsize=12)
    return render(figure)


def _damping_of(row: Row) -> tuple[str, float]:
    """Return the class of a row's curvature with its damping, absolute or relative; nothing and 0 without one."""
    ((kind, options),) = (row.entry.curvature or {"": {}}).items()
    damping = options.get("damping", 0.0)
    return kind, float(damping.get("relative", 0.0) if isinstance(damping, Mapping) else damping)


def _draw_curve(axis: Any, row: Row, colour: str, against: str) -> None:
    measure = row.first
    steps = min((run.steps for run in row.runs), key=len)
    values = np.array([run.curves.get(measure.name, ())[: len(steps)] for run in row.runs])
    along: Any = steps
    if against == "seconds":
        along = np.mean([run.times[: len(steps)] for run in row.runs], axis=0)
        if row.timed:
            end = fmean(run.cpu_seconds for run in row.timed)
            axis.plot([end], [fmean(run.final[measure.name] for run in row.timed)], "D", color=colour, markersize=5)
    reference = row.entry.method.reference
    colour = GREY if reference else colour
    label = f"{row.entry.label}: {measure.text(row.held_out(measure).mean)}{' %' if measure.unit == '%' else ''}"
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1 if len(values) > 1 else 0)
    axis.plot(along, mean, color=colour, label=label, linewidth=1.8, linestyle="--" if reference else "-")
    axis.fill_between(along, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def draw_dots(
    title: str, panes: Mapping[str, tuple[Lines, Callable[[Row], Sequence[Any]]]], *, unit: str | None = None
) -> bytes:
    """Return a PNG with one line for every task or loss: the seeds of its methods as small dots, their means as large.

    Losses of several tasks have no common scale: they are drawn on a logarithmic axis, in units of one method's mean.

    Args:
        title: Title of the picture.
        panes: Title of a pane to its lines, and to the runs of a row that it shows. The panes share their lines.
        unit: The method whose mean is 1; `None` for the values themselves, and not for measures in %.
    """
    names = list(dict.fromkeys(line for lines, _ in panes.values() for line in lines))
    legend = list(dict.fromkeys(name for lines, _ in panes.values() for rows in lines.values() for name in rows))
    wide = 5.0 if len(panes) < _WIDE else 3.0
    figure = new_figure(2.0 + wide * len(panes), 1.8 + 0.42 * len(names), dpi=110)
    axes = figure.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for axis, (words, (lines, runs_of)) in zip(axes, panes.items(), strict=True):
        for line, rows in lines.items():
            height = len(names) - 1 - names.index(line)
            for name, row in rows.items():
                index, measure = legend.index(name), row.first.name
                one = (
                    fmean(run.final[measure] for run in runs_of(rows[unit]))
                    if unit is not None and unit in rows
                    else 1.0
                )
                values = [run.final[measure] / one for run in runs_of(row)]
                at = height + 0.3 - 0.6 * (index + 0.5) / len(legend)
                style = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKS[index % len(_MARKS)]}
                axis.plot(values, [at] * len(values), linestyle="", alpha=0.3, markersize=3.5, **style)
                axis.plot([fmean(values)], [at], linestyle="", markersize=7, label=name, **style)
        measures = list(dict.fromkeys(row.first.label for rows in lines.values() for row in rows.values()))
        where = "" if all("held-out" in one for one in measures) else ", held-out data"
        axis.set(title=words, xlabel=f"{', '.join(measures)}{where}{f', {unit} = 1' if unit else ''}")
        if unit:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        axis.grid(alpha=0.25)
    axes[0].set_ylim(-0.7, len(names) - 0.3)
    axes[0].set_yticks(range(len(names)), names[::-1])
    legend_once(figure, *axes, loc="outside lower center", ncols=4 if len(panes) > 1 else 2, fontsize=9)
    figure.suptitle(f"{fill(title, 60 * len(panes))}\nsmall marks are seeds, large ones their mean", fontsize=11)
    return render(figure)
