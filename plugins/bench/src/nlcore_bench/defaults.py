"""The study of the library's default: one row per problem, each computed from the runs of its own study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nlcore.plotting.figure import BLACK, BLUE, GREEN, ORANGE, new_figure, render
from nlcore_bench.files import write_whole
from nlcore_bench.methods.base import Candidate
from nlcore_bench.records import Cell, Run
from nlcore_bench.statistics import Row, Sample, summarise
from nlcore_bench.study import Study, Workers
from nlcore_bench.tables import Table
from nlcore_bench.tasks.default import PROBLEMS, Default

__all__ = ["Verdict", "run_defaults", "table", "verdict"]

_NOTES = (
    "Held-out accuracy in %, mean over the seeds; ± is the standard error of the difference paired by seed.",
    "The learning rate of every method was chosen on validation data from the same three with the same number of runs. "
    "The best control (clipping at three limits, normalised gradient, plain) and the best of the grid (seven dampings "
    "of the Fisher matrix and of the Gauss–Newton or |H| mean) were chosen on the same validation runs, so that the "
    "choice does not flatter their test figures.",
    "The grid uses one matrix for the batch, as the paper does. Where no damping of it works, the default changes to "
    "the matrix of every sample, as it does on the drag simulator.",
    "The default has no option that depends on the problem: `nlcore.NewtonLoss(loss)`.",
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of the study of one problem.

    Attributes:
        problem: Key of the problem.
        title: Title of the problem.
        plain: The plain method.
        control: The best control on validation data.
        default: The default.
        grid: The best of the grid on validation data.
        reference: The method with full supervision; `None` where there is none.
        metric: Name of the metric that is compared.
    """

    problem: str
    title: str
    plain: Row
    control: Row
    default: Row
    grid: Row
    reference: Row | None
    metric: str

    def over(self, other: Row) -> Sample:
        """Return the differences of the default to another method, seed by seed."""
        mine, theirs = self.default.held_out[self.metric], other.held_out[self.metric]
        return Sample(tuple(a - b for a, b in zip(mine.values, theirs.values, strict=True)))


def verdict(study: Study, runs: Mapping[Cell, Run]) -> Verdict:
    """Compare the default with the best control and the best of the grid, both chosen on validation data."""
    task = study.task
    if not isinstance(task, Default):
        raise TypeError(f"{task!r} is not a study of the default.")
    metric = task.metrics[0].name
    rows = {row.method.name: row for row in summarise(study, runs)}

    def best(group: str) -> Row:
        members = (row for row in rows.values() if row.method.group == group)
        return max(members, key=lambda row: study.validation(row.method, Candidate(row.learning_rate), runs))

    return Verdict(
        problem=task.problem,
        title=PROBLEMS[task.problem].title,
        plain=rows["plain"],
        control=best("control"),
        default=rows["default"],
        grid=best("grid"),
        reference=rows.get("supervised"),
        metric=metric,
    )


def run_defaults(
    folder: Path,
    pool: Workers,
    *,
    problems: Sequence[str] = (),
    steps: int = 500,
    seeds: int = 5,
    tuning: int = 2,
    quiet: bool = False,
) -> str:
    """Run the missing cells, write `defaults.md`, `defaults.json` and `defaults.png`, and return the table.

    Args:
        folder: Folder of these files and of the studies, one folder each.
        pool: As `workers` makes it.
        problems: Keys of `PROBLEMS`; empty for all.
        steps: Steps of a run.
        seeds: Number of reported seeds.
        tuning: Number of seeds on which every learning rate is tried.
        quiet: Whether the progress bars are hidden.
    """
    verdicts = []
    for problem in problems or PROBLEMS:
        study = Study(task=Default(problem=problem, steps=steps), seeds=seeds, tuning=tuning)
        runs = study.run(folder / study.task.name, pool, quiet=quiet)
        verdicts.append(verdict(study, runs))
    page = table(verdicts, seeds, steps).markdown()
    write_whole(folder / "defaults.md", page)
    write_whole(folder / "defaults.json", json.dumps([_record(v) for v in verdicts], indent=1) + "\n")
    write_whole(folder / "defaults.png", _picture(verdicts))
    return page


def table(verdicts: Sequence[Verdict], seeds: int, steps: int) -> Table:
    """Return the table of all problems.

    Args:
        verdicts: One per problem.
        seeds: Number of reported seeds.
        steps: Steps of a run.
    """
    rows = [
        (
            v.title,
            _mean(v, v.plain),
            f"{_mean(v, v.control)} ({v.control.method.label})",
            f"**{_mean(v, v.default)}**",
            "–" if v.reference is None else _mean(v, v.reference),
            f"{_mean(v, v.grid)} ({v.grid.method.label})",
            *(v.over(row).signed for row in (v.plain, v.control, v.grid)),
        )
        for v in verdicts
    ]
    return Table(
        head=(
            *("problem", "plain", "best control", "default", "every digit supervised", "best of the grid"),
            *(f"difference to {other}" for other in ("plain", "best control", "best of the grid")),
        ),
        rows=tuple(rows),
        notes=(f"{seeds} seeds, {steps} steps of Adam with a cosine schedule.", *_NOTES),
    )


def _mean(v: Verdict, row: Row) -> str:
    return f"{row.held_out[v.metric].mean:.1f}"


def _record(v: Verdict) -> dict[str, Any]:
    rows = {"plain": v.plain, "control": v.control, "default": v.default, "grid": v.grid, "supervised": v.reference}
    return {
        "problem": v.problem,
        "metric": v.metric,
        **{
            name: {
                "method": row.method.name,
                "learning_rate": row.learning_rate,
                "held_out": row.held_out[v.metric].values,
            }
            for name, row in rows.items()
            if row is not None
        },
    }


def _picture(verdicts: Sequence[Verdict]) -> bytes:
    figure = new_figure(9, 0.6 + 0.9 * len(verdicts), dpi=130)
    axis = figure.subplots()
    marks = (
        ("plain", "o", BLACK),
        ("control", "s", ORANGE),
        ("default", "D", BLUE),
        ("grid", "^", GREEN),
    )
    words = {"plain": "plain", "control": "best control", "default": "default", "grid": "best of the grid"}
    for line, v in enumerate(reversed(verdicts)):
        for offset, (name, mark, colour) in enumerate(marks):
            values = getattr(v, name).held_out[v.metric].values
            height = line + 0.24 - 0.16 * offset
            label = words[name] if line == 0 else None
            axis.plot(values, [height] * len(values), mark, color=colour, alpha=0.35, markersize=5)
            axis.plot([fmean(values)], [height], mark, color=colour, markersize=9, label=label)
    axis.set_yticks(range(len(verdicts)), [v.title for v in reversed(verdicts)])
    axis.set_xlabel("held-out accuracy (%); small marks are seeds, large ones their mean")
    axis.grid(axis="x", alpha=0.25)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=4, fontsize=9, frameon=False)
    return render(figure)
