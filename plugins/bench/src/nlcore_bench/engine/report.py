"""The report of a bench of the engine: text, Markdown, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.plotting.figure import BLACK, BLUE, GREEN, GREY, ORANGE, new_figure, panels, render
from nlcore_bench.engine.run import Figures
from nlcore_bench.engine.tables import tables, targets
from nlcore_bench.files import make_folder, write_whole
from nlcore_bench.tables import bullets

__all__ = ["write_engine_report"]

_COLOURS = {"Fisher": BLUE, "Gauss–Newton": GREEN, "Hessian": ORANGE, "n double backwards": BLACK}


def write_engine_report(figures: Figures, folder: Path) -> str:
    """Write `engine.txt`, `engine.md`, `engine.json` and `engine.png` into `folder` and return the text.

    The picture shows the loss part and the whole step; with neither there is none.
    """
    make_folder(folder)
    found = tables(figures)
    sentences = [target.sentence() for target in targets(figures)]
    machine = ", ".join(f"{name} {value}" for name, value in figures.machine.items())
    text = "\n".join(
        [*(table.text() for table in found), "Targets", "", bullets(sentences, wrap=True), "", machine, ""]
    )
    page = [
        "# What a step costs",
        "",
        *_finding(figures),
        *(table.markdown() for table in found),
        "**Targets**",
        "",
        bullets(sentences),
        "",
        machine,
        "",
    ]
    write_whole(folder / "engine.txt", text)
    write_whole(folder / "engine.md", "\n".join(page))
    write_whole(folder / "engine.json", _json(figures))
    if any(job[0] in ("loss", "step") for job in figures.timings):
        write_whole(folder / "engine.png", _picture(figures))
    return text


def _finding(figures: Figures) -> list[str]:
    """Return what the default costs, in a sentence; nothing where it was not measured."""
    short, _ = figures.steps
    found = [cost.short for cost in figures.defaults.values()]
    if not found:
        return []
    return [
        f"**Over {short} steps the default takes {min(found):.1f} to {max(found):.1f} times as long as plain training, "
        f"in {len(found)} trainings from a small network to a simulator.**",
        "",
    ]


def _json(figures: Figures) -> str:
    lines: list[dict[str, Any]] = [
        {"job": list(job), "timings": {name: asdict(timing) for name, timing in timings.items()}}
        for job, timings in figures.timings.items()
    ]
    defaults = {label: asdict(cost) for label, cost in figures.defaults.items()}
    goals = [{**asdict(target), "met": target.met} for target in targets(figures)]
    return json.dumps(
        {"machine": figures.machine, "lines": lines, "defaults": defaults, "targets": goals},
        ensure_ascii=False,
        indent=1,
    )


def _picture(figures: Figures) -> bytes:
    """Return a PNG: the loss part against n, one panel per loss, and the whole step."""
    losses = list(dict.fromkeys(job[0] for job, _ in figures.of("loss")))
    columns = max(1, -(-(len(losses) + 1) // 2))
    figure = new_figure(4.2 * columns, 7.6, dpi=110)
    *axes, last = panels(figure, len(losses) + 1, columns)
    for axis, label in zip(axes, losses, strict=True):
        lines = [(int(job[1]), timings) for job, timings in figures.of("loss") if job[0] == label]
        for method, colour in _COLOURS.items():
            points = [(n, timings[method].ratio) for n, timings in lines if method in timings]
            if points:
                _draw(axis, points, method, colour)
        axis.set(title=label, xlabel="n", xscale="log", yscale="log")
        axis.set_xticks([n for n, _ in lines], [str(n) for n, _ in lines], minor=False)
        axis.set_xticks([], minor=True)
        axis.axhline(1, color=GREY, linewidth=0.8)
        axis.grid(alpha=0.25)
    for axis in axes[:1]:
        axis.set_ylabel("time of the loss part / plain")
        axis.legend(fontsize=8)
    _draw_steps(last, figures)
    figure.suptitle("Cost of a Newton step, batch 100, one thread: median and quartiles of interleaved runs")
    return render(figure)


def _draw(axis: Any, points: Sequence[tuple[int, tuple[float, float, float]]], label: str, colour: str) -> None:
    sizes = [n for n, _ in points]
    low, middle, high = np.array([ratio for _, ratio in points]).T
    axis.errorbar(
        sizes,
        middle,
        yerr=(middle - low, high - middle),
        color=colour,
        label=label,
        marker="o",
        markersize=4,
        linewidth=1.4,
    )


def _draw_steps(axis: Any, figures: Figures) -> None:
    lines = list(figures.of("step"))
    for height, (_, timings) in enumerate(lines):
        for method in ("Fisher", "Gauss–Newton", "Hessian"):
            if method in timings:
                low, middle, high = timings[method].ratio
                axis.plot([low, high], [height, height], color=_COLOURS[method], linewidth=1.2)
                axis.plot([middle], [height], "o", color=_COLOURS[method], markersize=5)
    axis.axvline(1, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(lines)), [f"{job[0]}, {job[1]}, {job[2]}" for job, _ in lines], fontsize=7)
    axis.invert_yaxis()
    axis.set(title="whole step", xlabel="time / plain")
    axis.grid(alpha=0.25)
