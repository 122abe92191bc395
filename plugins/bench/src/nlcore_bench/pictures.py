"""The pictures of a report, chosen by the fields of the study."""

from __future__ import annotations

from collections.abc import Mapping
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
        several = len(study.optimizers) > 1
        lines: dict[str, dict[str, Row]] = {}
        for one in found:  # the first measure of a task
            others = {name: row for name, row in one.others.items() if row is not None}
            lines.setdefault(
                f"{one.task}{f', {one.optimizer}' if several else ''}", {str(study.subject): one.subject, **others}
            )
        scaled = len(study.tasks) > 1 and any(row.first.unit != "%" for rows in lines.values() for row in rows.values())
        unit = study.baseline if scaled else None
        return {"summary.png": draw_dots(study.title, lines, {"held-out data": lambda row: row.runs}, unit=unit)}
    groups: dict[str, list[Row]] = {}
    for name, rows in tables.items():
        members = [row for row in rows if row.entry.group or len(tables) > 1] or rows
        shared = [row for row in rows if not row.entry.group and row not in members]
        for group in dict.fromkeys(row.entry.group for row in members):
            title = ", ".join(filter(None, [name if len(tables) > 1 else "", group]))
            groups[title] = [*(row for row in members if row.entry.group == group), *shared]
    if study.losses and not study.along_damping:
        lines = {name: {row.entry.label: row for row in rows} for name, rows in groups.items()}
        panes: dict[str, Any] = {"equal steps": lambda row: row.runs}
        if study.equal_time:
            panes["equal time"] = lambda row: row.timed or row.runs
        pictures["overview.png"] = draw_dots(study.title, lines, panes)
    if study.tails:
        pictures["tails.png"] = draw_tails(study.title, groups)
    if study.along_damping:
        return {"dampings.png": draw_along(study.title, groups), **pictures}
    if len(groups) <= _MOST_PANELS:
        pictures["curves.png"] = draw_curves(study.title, groups)
        if study.equal_time:
            pictures["curves_time.png"] = draw_curves(study.title, groups, against="seconds")
    return pictures
