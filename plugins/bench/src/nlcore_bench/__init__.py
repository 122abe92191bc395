"""Training studies on real data; importing this package imports neither torch nor matplotlib."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_bench.arms import Arm, Curvature
    from nlcore_bench.records import ResultsError, Store
    from nlcore_bench.report import write_report
    from nlcore_bench.study import Study, workers
    from nlcore_bench.tasks import Batch, Ltr, Metric, Paths, Ranking, Task, Totals

__all__ = [
    "Arm",
    "Batch",
    "Curvature",
    "Ltr",
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

_HOME = {
    "Arm": "arms",
    "Batch": "tasks",
    "Curvature": "arms",
    "Ltr": "tasks",
    "Metric": "tasks",
    "Paths": "tasks",
    "Ranking": "tasks",
    "ResultsError": "records",
    "Store": "records",
    "Study": "study",
    "Task": "tasks",
    "Totals": "tasks",
    "workers": "study",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
