"""`nlcore bench defaults`: is one default right everywhere? A row a problem, from the runs of its study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nlcore.plotting.figure import BLACK, BLUE, GREEN, ORANGE, new_figure, render
from nlcore_bench.files import write_whole
from nlcore_bench.records import Cell, Run
from nlcore_bench.study import Study, Workers
from nlcore_bench.summary import Row, Sample, summarise
from nlcore_bench.tables import Table
from nlcore_bench.tasks.default import PROBLEMS, Default

__all__ = ["Verdict", "run_defaults", "verdict"]

_NOTES = (
    "Held-out accuracy in %, mean over the seeds; ± is the standard error of the difference paired by seed.",
    "The rate of every arm was chosen on validation data among the same three with the same number of runs. The best "
    "control (clipping at three limits, normalised gradient, plain) and the best of the grid (seven dampings of the "
    "Fisher matrix and of the Gauss–Newton or |H| mean) were chosen on the same validation runs, so that their test "
    "figures are not flattered by the choice.",
    "The grid takes one matrix for the batch, as the paper does. Where no damping of one works, the default goes over "
    "to every sample's own matrix; that is what it does on the drag simulator.",
    "The default knows no rate, damping or curvature of the problem: `nlcore.NewtonLoss(loss)`.",
)


@dataclass(frozen=True)
class Verdict:
    """What the study of one problem says.

    Attributes:
        problem: Its key.
        title: Its title.
        plain: The plain arm.
        control: The best control on validation data.
        default: The default.
        grid: The best of the grid on validation data.
        reference: The arm that is given every digit, where there is one.
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
        """Return the default minus another arm, seed by seed."""
        mine, theirs = self.default.held_out[self.metric], other.held_out[self.metric]
        return Sample(tuple(a - b for a, b in zip(mine.values, theirs.values, strict=True)))


def verdict(study: Study, runs: Mapping[Cell, Run]) -> Verdict:
    """Pick the best control and the best of the grid on validation data and put them beside the default."""
    task = study.task
    if not isinstance(task, Default):
        raise TypeError(f"{task!r} is no study of the default.")
    metric = task.metrics[0].name
    rows = {row.arm.name: row for row in summarise(study, runs)}

    def validation(row: Row) -> float:
        return fmean(runs[Cell("tune", row.arm.name, row.rate, seed)].final[metric] for seed in range(study.tuning))

    def best(group: str) -> Row:
        return max((row for row in rows.values() if row.arm.group == group), key=validation)

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
    """Run what is missing, write `defaults.md`, `defaults.json` and `defaults.png` into `folder`, return the table.

    Args:
        folder: Where the studies are kept, one folder each.
        pool: What runs the cells.
        problems: Keys of `PROBLEMS`; empty for all.
        steps: Steps of a run.
        seeds: Reported seeds.
        tuning: Seeds on which every rate is tried.
        quiet: Whether to show no progress bars.
    """
    verdicts = []
    for problem in problems or PROBLEMS:
        study = Study(task=Default(problem=problem, steps=steps), seeds=seeds, tuning=tuning)
        runs = study.run(folder / study.task.name, pool, quiet=quiet)
        verdicts.append(verdict(study, runs))
    table = _table(verdicts, seeds, steps).markdown()
    write_whole(folder / "defaults.md", table)
    write_whole(folder / "defaults.json", json.dumps([_record(v) for v in verdicts], indent=1) + "\n")
    write_whole(folder / "defaults.png", _picture(verdicts))
    return table


def _table(verdicts: Sequence[Verdict], seeds: int, steps: int) -> Table:
    differences = (f"difference to {other}" for other in ("plain", "best control", "best of the grid"))
    rows = [
        (
            v.title,
            _mean(v, v.plain),
            f"{_mean(v, v.control)} ({v.control.arm.label})",
            f"**{_mean(v, v.default)}**",
            "–" if v.reference is None else _mean(v, v.reference),
            f"{_mean(v, v.grid)} ({v.grid.arm.label})",
            *(_signed(v.over(row)) for row in (v.plain, v.control, v.grid)),
        )
        for v in verdicts
    ]
    return Table(
        head=(
            "problem",
            "plain",
            "best control",
            "default",
            "every digit supervised",
            "best of the grid",
            *differences,
        ),
        rows=tuple(rows),
        notes=(f"{seeds} seeds, {steps} steps of Adam with a cosine schedule.", *_NOTES),
    )


def _mean(v: Verdict, row: Row) -> str:
    return f"{row.held_out[v.metric].mean:.1f}"


def _signed(sample: Sample) -> str:
    return f"{sample.mean:+.1f}" + ("" if sample.error is None else f" ± {sample.error:.1f}")


def _record(v: Verdict) -> dict[str, Any]:
    rows = {"plain": v.plain, "control": v.control, "default": v.default, "grid": v.grid, "supervised": v.reference}
    return {
        "problem": v.problem,
        "metric": v.metric,
        **{
            name: {"arm": row.arm.name, "rate": row.rate, "held_out": row.held_out[v.metric].values}
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
    for place, v in enumerate(reversed(verdicts)):
        for offset, (name, mark, colour) in enumerate(marks):
            values = getattr(v, name).held_out[v.metric].values
            height = place + 0.24 - 0.16 * offset
            label = words[name] if place == 0 else None
            axis.plot(values, [height] * len(values), mark, color=colour, alpha=0.35, markersize=5)
            axis.plot([fmean(values)], [height], mark, color=colour, markersize=9, label=label)
    axis.set_yticks(range(len(verdicts)), [v.title for v in reversed(verdicts)])
    axis.set_xlabel("held-out accuracy (%); small marks are seeds, large ones their mean")
    axis.grid(axis="x", alpha=0.25)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=4, fontsize=9, frameon=False)
    return render(figure)
