"""Training studies as data; importing the package imports neither torch nor matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_bench.catalogue import find, load, shipped
    from nlcore_bench.plan import Plan
    from nlcore_bench.records import Cell, ResultsError, Run, Store
    from nlcore_bench.report import make_report, write_report
    from nlcore_bench.run import run_study
    from nlcore_bench.statistics import Paired, Sample, holm
    from nlcore_bench.study import Study
    from nlcore_bench.tasks import (
        Align,
        Batch,
        Choices,
        Classification,
        Deblurring,
        Decisions,
        Forecast,
        Heat,
        LinearOscillators,
        Ltr,
        Measure,
        Meters,
        Oscillators,
        Paths,
        Pendulum,
        Ranking,
        Task,
        Totals,
    )

_HOMES = {
    "catalogue": ["find", "load", "shipped"],
    "plan": ["Plan"],
    "records": ["Cell", "ResultsError", "Run", "Store"],
    "report": ["make_report", "write_report"],
    "run": ["run_study"],
    "statistics": ["Paired", "Sample", "holm"],
    "study": ["Study"],
    "tasks": [
        "Align",
        "Batch",
        "Choices",
        "Classification",
        "Deblurring",
        "Decisions",
        "Forecast",
        "Heat",
        "LinearOscillators",
        "Ltr",
        "Measure",
        "Meters",
        "Oscillators",
        "Paths",
        "Pendulum",
        "Ranking",
        "Task",
        "Totals",
    ],
}
__all__ = [
    "Align",
    "Batch",
    "Cell",
    "Choices",
    "Classification",
    "Deblurring",
    "Decisions",
    "Forecast",
    "Heat",
    "LinearOscillators",
    "Ltr",
    "Measure",
    "Meters",
    "Oscillators",
    "Paired",
    "Paths",
    "Pendulum",
    "Plan",
    "Ranking",
    "ResultsError",
    "Run",
    "Sample",
    "Store",
    "Study",
    "Task",
    "Totals",
    "find",
    "holm",
    "load",
    "make_report",
    "run_study",
    "shipped",
    "write_report",
]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
