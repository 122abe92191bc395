"""The studies on record under docs/results, for pages that join several of them, and the look of their pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nlcore.plotting.figure import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from nlcore_bench import Plan, find
from nlcore_bench.rows import Row, rows_of
from nlcore_bench.run import open_store
from nlcore_bench.run import plan_of as plan_of_runs

RESULTS = Path(__file__).parent / "results"
NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon", "soap": "SOAP"}
LOOKS = {
    "plain": (GREY, "o"),
    "control": (SKY, "v"),
    "half": (GREEN, "s"),
    "default": (BLUE, "D"),
    "outputs": (ORANGE, "P"),
    "half_inverse": (VERMILION, "^"),
}
"""Colour and mark of a method, the same on all pages."""


@cache
def plan_of(id: str, results: Path = RESULTS) -> Plan | None:
    """Return a study with its runs; `None` for one without records.

    Raises:
        ResultsError: A record is damaged, or the records are those of other settings than the study's.
    """
    folder = results / id
    if not (folder / "runs.jsonl").exists():
        return None
    study = find(id)
    return plan_of_runs(study, open_store(study, folder, ()).runs, folder)


@cache
def rows(id: str, results: Path = RESULTS) -> tuple[Row, ...]:
    """Return the rows of a study whose runs are all there; none for one without records."""
    plan = plan_of(id, results)
    return () if plan is None else tuple(rows_of(plan, plan.entries))


def row(id: str, task: str, optimizer: str, method: str) -> Row | None:
    """Return a row of a study by its names; `None` if it is not on record."""
    return next((one for one in rows(id) if one.entry.key == (task, optimizer, method)), None)
