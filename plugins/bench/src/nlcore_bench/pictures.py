"""The pictures of a report, chosen by the fields of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlcore_bench.figure import draw_along, draw_curves, draw_dots, draw_tails
from nlcore_bench.findings import summaries
from nlcore_bench.plan import Plan
from nlcore_bench.rows import Row

__all__ = ["pictures_of"]

_MOST_PANELS = 24


def pictures_of(plan: Plan, tables: Mapping[str, list[Row]]) -> dict[str, bytes]:
    """Return the pictures by file name.

    Args:
        plan: The plan with its runs.
        tables: The rows of every table by its title.
    """
    study, found = plan.study, summaries(plan, [row for rows in tables.values() for row in rows])
    pictures: dict[str, bytes] = {}
    if found:
        by_optimizer: dict[str, dict[str, dict[str, Row]]] = {}
        for one in found:  # the first measure of a task
            single = {str(study.subject), study.baseline}
            others = {
                name if name in single else f"best of {name}": row
                for name, row in one.others.items()
                if row is not None
            }
            lines = by_optimizer.setdefault(one.optimizer, {})
            lines.setdefault(one.task, {str(study.subject): one.subject, **others})
        scaled = len(study.tasks) > 1 and any(one.subject.first.unit != "%" for one in found)
        panes: dict[str, Any] = {
            name if len(study.optimizers) > 1 else "held-out data": (lines, _runs)
            for name, lines in by_optimizer.items()
        }
        return {"summary.png": draw_dots(study.title, panes, unit=study.baseline if scaled else None)}
    groups: dict[str, list[Row]] = {}
    for name, rows in tables.items():
        members = [row for row in rows if row.entry.group or len(tables) > 1] or rows
        shared = [row for row in rows if not row.entry.group and row not in members]
        for group in dict.fromkeys(row.entry.group for row in members):
            title = ", ".join(filter(None, [name if len(tables) > 1 else "", group]))
            groups[title] = [*(row for row in members if row.entry.group == group), *shared]
    if study.losses and not study.along_damping:
        panes = {"equal steps": (_by_loss(groups), _runs)}
        if study.equal_time:
            panes["equal time"] = _by_loss(groups), lambda row: row.timed or row.runs
        elif len(tables) > 1:
            panes = {name: (_by_loss(_losses_of(rows)), _runs) for name, rows in tables.items()}
        pictures["overview.png"] = draw_dots(study.title, panes)
    if study.tails:
        pictures["tails.png"] = draw_tails(study.title, groups)
    if study.along_damping:
        return {"dampings.png": draw_along(study.title, groups), **pictures}
    if len(groups) <= _MOST_PANELS:
        pictures["curves.png"] = draw_curves(study.title, groups)
        if study.equal_time:
            pictures["curves_time.png"] = draw_curves(study.title, groups, against="seconds")
    return pictures


def _runs(row: Row) -> Sequence[Any]:
    return row.runs


def _by_loss(groups: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Row]]:
    """Return the rows of every loss by their methods."""
    return {name: {row.entry.label: row for row in rows} for name, rows in groups.items()}


def _losses_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of a table by their losses; those of none, last."""
    losses = sorted(dict.fromkeys(row.entry.group for row in rows), key=lambda loss: loss == "")
    return {loss or "others": [row for row in rows if row.entry.group == loss] for loss in losses}
