"""Pictures of the study of paths: maps with their true and predicted costs, and all methods at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn

from nlcore.plotting.figure import BLACK, BLUE, GREY, ORANGE, new_figure, render
from nlcore_bench.files import write_whole
from nlcore_bench.records import Cell, Run
from nlcore_bench.statistics import Row, summarise
from nlcore_bench.study import Study
from nlcore_bench.tasks.paths import Paths
from nlcore_bench.train import trained

__all__ = ["draw_overview", "draw_paths", "write_pictures"]

_MAPS = 5
_TRUE, _PREDICTED = BLUE, ORANGE

_MARKS = {
    "plain": ("o", BLACK, 0.22),
    "Fisher": ("s", ORANGE, 0.0),
    "Hessian": ("D", BLUE, -0.22),
}


def write_pictures(study: Study, runs: Mapping[Cell, Run], folder: Path) -> None:
    """Write `overview.png`, and `paths.png` with the method that is best on validation maps, at the first seed."""
    task = cast(Paths, study.task)
    chosen = study.best(runs)
    best = max(study.chosen, key=lambda method: study.validation(method, chosen[method.name], runs))
    cell = next(cell for cell in study.report_cells(chosen) if cell.method == best.name)
    model = trained(task, best.damped(cell.damping), learning_rate=cell.learning_rate, seed=cell.seed)
    title = f"{best.title}, {task.steps} steps: {runs[cell].final['optimal']:.1f} % of all test maps optimal"
    write_whole(folder / "paths.png", draw_paths(task, model, title))
    write_whole(folder / "overview.png", draw_overview(study, summarise(study, runs)))


def draw_paths(task: Paths, model: nn.Module, title: str) -> bytes:
    """Return a PNG of the first test maps: pictures, true costs with the true path, predicted costs with theirs.

    Args:
        task: The task with its maps.
        model: The network that predicts costs.
        title: One line above the picture.
    """
    from nlcore_shortest_paths import path_cost, shortest_path

    maps = task.maps("test")
    images, costs, labels = maps.images[:_MAPS], maps.costs[:_MAPS], maps.paths[:_MAPS]
    with torch.no_grad():
        predicted = model(images)
    paths = shortest_path(predicted)
    ratio = (path_cost(costs, paths) / path_cost(costs, labels)).tolist()
    figure = new_figure(2.3 * len(images), 7.6, dpi=130)
    axes = figure.subplots(3, len(images), squeeze=False)
    for index in range(len(images)):
        picture, true, guess = axes[:, index]
        picture.imshow(images[index].numpy())
        picture.set_title(f"cost {ratio[index]:.3f} × best", fontsize=10)
        true.imshow(costs[index].numpy(), cmap="gray_r", vmin=0, vmax=12)
        guess.imshow(predicted[index].numpy(), cmap="gray_r")
        scale = images.shape[1] / costs.shape[1]
        for axis, size in ((picture, scale), (true, 1.0), (guess, 1.0)):
            _mark(axis, labels[index], size, color=_TRUE, marker="o", markersize=6, fillstyle="none")
            _mark(axis, paths[index], size, color=_PREDICTED, marker="x", markersize=4)
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, words in zip(axes[:, 0], ("what the network sees", "hidden costs", "predicted costs"), strict=True):
        axis.set_ylabel(words, fontsize=10)
    figure.suptitle(f"{title}\n○ shortest path by the hidden costs, × by the predicted ones", fontsize=11)
    return render(figure)


def draw_overview(study: Study, rows: Sequence[Row]) -> bytes:
    """Return a PNG: one line per loss with its methods, at equal steps on the left and at equal time on the right.

    Args:
        study: The study.
        rows: Its methods; one without a group is a reference, drawn as a vertical line.
    """
    metric = study.task.metrics[0]
    groups = list(dict.fromkeys(row.method.group for row in rows if row.method.group))
    figure = new_figure(12, 1.6 + 0.36 * len(groups), dpi=110)
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, words in ((left, "equal steps"), (right, "equal time")):
        for row in rows:
            runs = row.runs if axis is left or not row.timed_runs else row.timed_runs
            values = [run.final[metric.name] for run in runs]
            if not row.method.group:
                axis.axvline(fmean(values), color=GREY, linestyle="--", label=row.method.label)
                continue
            mark, colour, offset = _MARKS.get(row.method.label, ("o", BLACK, 0.0))
            height = len(groups) - 1 - groups.index(row.method.group) + offset
            axis.plot(values, [height] * len(values), mark, color=colour, alpha=0.3, markersize=3.5)
            axis.plot([fmean(values)], [height], mark, color=colour, markersize=7, label=row.method.label)
        axis.set_title(words, fontsize=11)
        axis.set_xlabel(f"{metric.label}, test maps (%)")
        axis.grid(alpha=0.25)
    left.set_ylim(-0.7, len(groups) - 0.3)
    left.set_yticks(range(len(groups)), list(reversed(groups)))
    known = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.suptitle(f"{study.task.title}\nsmall marks are seeds, large ones their mean", fontsize=11)
    return render(figure)


def _mark(axis: Any, path: Tensor, size: float, **style: Any) -> None:
    """Draw a mark in each cell of a path; a cell is `size` pixels wide."""
    rows, columns = path.nonzero().T
    axis.plot((columns + 0.5) * size - 0.5, (rows + 0.5) * size - 0.5, linestyle="none", **style)
