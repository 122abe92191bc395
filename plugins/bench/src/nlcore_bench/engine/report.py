"""The files that a bench of the engine leaves in its folder: text, Markdown, JSON and a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

from nlcore_bench.engine.run import Figures
from nlcore_bench.engine.tables import Table, tables, targets
from nlcore_bench.files import make_folder, write_whole

__all__ = ["write_engine_report"]

_WIDTH = 118
_COLOURS = {"Fisher": "#0072B2", "Gauss–Newton": "#009E73", "Hessian": "#E69F00", "n double backwards": "#000000"}


def write_engine_report(figures: Figures, folder: Path) -> str:
    """Write `engine.txt`, `engine.md`, `engine.json` and `engine.png` into `folder` and return the text."""
    make_folder(folder)
    found = tables(figures)
    sentences = [target.sentence() for target in targets(figures)]
    machine = ", ".join(f"{name} {value}" for name, value in figures.machine.items())
    text = "\n".join([*map(_text, found), _listed("Targets", sentences), machine, ""])
    write_whole(folder / "engine.txt", text)
    write_whole(folder / "engine.md", "\n".join([*map(_markdown, found), _bulleted("Targets", sentences), machine, ""]))
    write_whole(folder / "engine.json", _json(figures))
    write_whole(folder / "engine.png", _picture(figures))
    return text


def _text(table: Table) -> str:
    lines = [table.head, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    padded = [
        "  ".join(
            cell.ljust(width) if _is_name(table, column) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, padded))
    return "\n".join([table.title, "", padded[0], rule, *padded[1:], "", _listed("", table.notes)])


def _listed(title: str, notes: Sequence[str]) -> str:
    lines = [fill(note, _WIDTH, initial_indent="- ", subsequent_indent="  ") for note in notes]
    return "\n".join([*([title, ""] if title else []), *lines, ""])


def _markdown(table: Table) -> str:
    marks = "|".join("---" if _is_name(table, column) else "---:" for column in range(len(table.head)))
    rows = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in (table.head, *table.rows)]
    return "\n".join([f"**{table.title}**", "", rows[0], f"|{marks}|", *rows[1:], "", _bulleted("", table.notes)])


def _bulleted(title: str, notes: Sequence[str]) -> str:
    return "\n".join([*([f"**{title}**", ""] if title else []), *(f"- {note}" for note in notes), ""])


def _is_name(table: Table, column: int) -> bool:
    return table.head[column] in ("loss", "network")


def _json(figures: Figures) -> str:
    lines: list[dict[str, Any]] = [
        {"job": list(job), "timings": {name: asdict(timing) for name, timing in timings.items()}}
        for job, timings in figures.timings.items()
    ]
    goals = [{**asdict(target), "met": target.met} for target in targets(figures)]
    return json.dumps({"machine": figures.machine, "lines": lines, "targets": goals}, ensure_ascii=False, indent=1)


def _picture(figures: Figures) -> bytes:
    """Return a PNG: the loss part over n, a panel a loss, and the overhead on the whole step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = list(dict.fromkeys(job[0] for job, _ in figures.of("loss")))
    columns = max(1, -(-(len(losses) + 1) // 2))
    figure = Figure(figsize=(4.2 * columns, 7.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    places = list(figure.subplots(2, columns, squeeze=False).flat)
    panels, last = places[: len(losses)], places[len(losses)]
    for unused in places[len(losses) + 1 :]:
        unused.set_axis_off()
    for axis, label in zip(panels, losses, strict=True):
        lines = [(int(job[1]), timings) for job, timings in figures.of("loss") if job[0] == label]
        for arm, colour in _COLOURS.items():
            points = [(n, timings[arm].ratio) for n, timings in lines if arm in timings]
            if points:
                _draw(axis, points, arm, colour)
        axis.set(title=label, xlabel="n", xscale="log", yscale="log")
        axis.set_xticks([n for n, _ in lines], [str(n) for n, _ in lines], minor=False)
        axis.set_xticks([], minor=True)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.grid(alpha=0.25)
    for axis in panels[:1]:
        axis.set_ylabel("time of the loss part / plain")
        axis.legend(fontsize=8)
    _draw_steps(last, figures)
    figure.suptitle("Cost of a Newton step, batch 100, one thread: median and quartiles of interleaved runs")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axis: Any, points: Sequence[tuple[int, tuple[float, float, float]]], label: str, colour: str) -> None:
    places = [n for n, _ in points]
    low, middle, high = zip(*(ratio for _, ratio in points), strict=True)
    gaps = [[m - a for m, a in zip(middle, low, strict=True)], [b - m for b, m in zip(high, middle, strict=True)]]
    axis.errorbar(places, middle, yerr=gaps, color=colour, label=label, marker="o", markersize=4, linewidth=1.4)


def _draw_steps(axis: Any, figures: Figures) -> None:
    lines = list(figures.of("step"))
    for place, (_, timings) in enumerate(lines):
        for arm in ("Fisher", "Gauss–Newton", "Hessian"):
            if arm in timings:
                low, middle, high = timings[arm].ratio
                axis.plot([low, high], [place, place], color=_COLOURS[arm], linewidth=1.2)
                axis.plot([middle], [place], "o", color=_COLOURS[arm], markersize=5)
    axis.axvline(1, color="grey", linewidth=0.8)
    axis.set_yticks(range(len(lines)), [f"{job[0]}, {job[1]}, {job[2]}" for job, _ in lines], fontsize=7)
    axis.invert_yaxis()
    axis.set(title="whole step", xlabel="time / plain")
    axis.grid(alpha=0.25)
