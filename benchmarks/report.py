"""The report of a suite: one table per group, the figures as JSON, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import Measured, Suite
from nlcore.plotting.figure import BLACK, BLUE, GREEN, ORANGE, PINK, SKY, VERMILION, new_figure, panels, render
from nlcore_bench.files import write_whole
from nlcore_bench.tables import Table

__all__ = ["write_report"]

# A marker for each library, so that the lines can be told apart without the colours.
_LOOKS = {
    "nlcore": (BLUE, "o"),
    "nlcore, torch alone": (SKY, "."),
    "nlcore, torch": (SKY, "."),
    "nlcore, numba": (BLUE, "o"),
    "diffsort": (VERMILION, "s"),
    "difftopk": (VERMILION, "P"),
    "softtorch": (ORANGE, "^"),
    "torchsort": (GREEN, "v"),
    "torchpsort": (PINK, "D"),
    "ddtw": (VERMILION, "s"),
    "pysdtw": (ORANGE, "^"),
    "tslearn": (GREEN, "v"),
    "nlcore, gradient": (BLUE, "o"),
    "nlcore, gradient and Hessian-vector product": (PINK, "D"),
}


def write_report(suite: Suite, rows: Sequence[Measured], folder: Path, name: str) -> str:
    """Write `{name}.md`, `{name}.json` and `{name}.png` and return the tables in Markdown."""
    page = _page(suite, rows)
    write_whole(folder / f"{name}.md", page)
    write_whole(folder / f"{name}.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    write_whole(folder / f"{name}.png", _picture(suite, rows))
    return page


def _page(suite: Suite, rows: Sequence[Measured]) -> str:
    parts = [f"# {suite.title}\n", *_finding(rows), suite.intro.format(torch=torch.__version__.partition("+")[0])]
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        parts += [f"## {group[0].upper()}{group[1:]}\n", _table(suite.size, members).markdown()]
    return "\n".join(parts)


def _finding(rows: Sequence[Measured]) -> list[str]:
    """Return in a sentence how often nlcore is the fastest, of all sizes that another library has too."""
    best: dict[tuple[str, int, int], float] = {}
    for row in rows:
        if row.faster is not None:
            key = (row.group, row.n, row.batch)
            best[key] = max(best.get(key, 0.0), row.faster)
    if not best:
        return []
    alone = [row.faster for row in rows if row.library == "nlcore, torch alone" and row.faster is not None]
    without = f", with numba. In torch alone it is {_counted(alone)}" if alone else ""
    return [f"**nlcore is {_counted(list(best.values()))}{without}.**\n"]


def _counted(ratios: Sequence[float]) -> str:
    """Return in words how many of some ratios are above one, their span and their median."""
    return (
        f"the fastest in {sum(one > 1 for one in ratios)} of {len(ratios)} comparisons: {min(ratios):.3g} to "
        f"{max(ratios):.3g} times as fast as the fastest other library, {median(ratios):.3g} in the median"
    )


def _table(size: str, rows: Sequence[Measured]) -> Table:
    head = (size, "library", "forward, ms", "forward + backward, ms", "memory, MiB", "× the fastest other")
    cells = [
        (
            f"{row.n} × {row.batch}",
            row.library,
            f"{row.forward:.3g}",
            "" if row.both is None else f"{row.both:.3g}",
            f"{row.memory:.3g}",
            "" if row.faster is None else f"{row.faster:.2f}",
        )
        for row in rows
    ]
    return Table(head=head, rows=tuple(cells), words=2)


def _picture(suite: Suite, rows: Sequence[Measured]) -> bytes:
    """Return a PNG: time per list or map against n, one panel for each group."""
    groups = list(dict.fromkeys(row.group for row in rows))
    columns = 3
    figure = new_figure(4.2 * columns, 3.3 * -(-len(groups) // columns))
    for axis, group in zip(panels(figure, len(groups), columns), groups, strict=True):
        members = [row for row in rows if row.group == group]
        for library in dict.fromkeys(row.library for row in members):
            own = [row for row in members if row.library == library]
            colour, marker = _LOOKS.get(library, (BLACK, "x"))
            times = [1e3 * row.whole / row.batch for row in own]
            axis.loglog([row.n for row in own], times, color=colour, marker=marker, label=library)
        axis.set_title(group, fontsize=10)
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize=8)
    figure.supxlabel(suite.size.partition(" ×")[0])
    figure.supylabel("forward + backward, µs each")
    return render(figure)
