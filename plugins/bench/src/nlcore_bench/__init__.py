"""Training studies as data; importing the package imports neither torch nor matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_bench.catalogue import find as find
    from nlcore_bench.catalogue import load as load
    from nlcore_bench.catalogue import shipped as shipped
    from nlcore_bench.plan import Plan as Plan
    from nlcore_bench.records import Cell as Cell
    from nlcore_bench.records import ResultsError as ResultsError
    from nlcore_bench.records import Run as Run
    from nlcore_bench.records import Store as Store
    from nlcore_bench.report import make_report as make_report
    from nlcore_bench.report import write_report as write_report
    from nlcore_bench.run import run_study as run_study
    from nlcore_bench.statistics import Paired as Paired
    from nlcore_bench.statistics import Sample as Sample
    from nlcore_bench.statistics import holm as holm
    from nlcore_bench.study import Study as Study
    from nlcore_bench.tasks import Align as Align
    from nlcore_bench.tasks import Batch as Batch
    from nlcore_bench.tasks import Choices as Choices
    from nlcore_bench.tasks import Classification as Classification
    from nlcore_bench.tasks import Deblurring as Deblurring
    from nlcore_bench.tasks import Decisions as Decisions
    from nlcore_bench.tasks import Forecast as Forecast
    from nlcore_bench.tasks import Heat as Heat
    from nlcore_bench.tasks import LinearOscillators as LinearOscillators
    from nlcore_bench.tasks import Ltr as Ltr
    from nlcore_bench.tasks import Measure as Measure
    from nlcore_bench.tasks import Meters as Meters
    from nlcore_bench.tasks import Oscillators as Oscillators
    from nlcore_bench.tasks import Paths as Paths
    from nlcore_bench.tasks import Pendulum as Pendulum
    from nlcore_bench.tasks import Ranking as Ranking
    from nlcore_bench.tasks import Task as Task
    from nlcore_bench.tasks import Totals as Totals

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

__all__ = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
