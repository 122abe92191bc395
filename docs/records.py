"""The studies on record under docs/results, for pages that join several of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nlcore_bench import find
from nlcore_bench.plan import Plan
from nlcore_bench.records import Run
from nlcore_bench.rows import Row, rows_of

RESULTS = Path(__file__).parent / "results"
NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon", "soap": "SOAP"}


@cache
def plan_of(id: str, results: Path = RESULTS) -> Plan | None:
    """Return a study with its runs; `None` for one without records."""
    path = results / id / "runs.jsonl"
    if not path.exists():
        return None
    runs = map(Run.parse, path.read_text(encoding="utf-8").splitlines())
    return Plan(find(id), {run.cell: run for run in runs})


@cache
def rows(id: str) -> tuple[Row, ...]:
    """Return the rows of a study whose runs are all there; none for one without records."""
    plan = plan_of(id)
    return () if plan is None else tuple(rows_of(plan, plan.entries))


def row(id: str, task: str, optimizer: str, method: str) -> Row | None:
    """Return a row of a study by its names; `None` if it is not on record."""
    return next((one for one in rows(id) if one.entry.key == (task, optimizer, method)), None)
