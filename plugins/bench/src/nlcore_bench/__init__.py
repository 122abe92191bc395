"""Training studies on real data; importing the package imports neither torch nor matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_bench.methods.base import Curvature, Method
    from nlcore_bench.records import ResultsError, Store
    from nlcore_bench.report import write_report
    from nlcore_bench.study import Study, workers
    from nlcore_bench.tasks import Batch, Ltr, Metric, Paths, Ranking, Task, Totals

__all__ = [
    "Batch",
    "Curvature",
    "Ltr",
    "Method",
    "Metric",
    "Paths",
    "Ranking",
    "ResultsError",
    "Store",
    "Study",
    "Task",
    "Totals",
    "workers",
    "write_report",
]

_HOMES = {
    "methods.base": ["Curvature", "Method"],
    "records": ["ResultsError", "Store"],
    "report": ["write_report"],
    "study": ["Study", "workers"],
    "tasks": ["Batch", "Ltr", "Metric", "Paths", "Ranking", "Task", "Totals"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
