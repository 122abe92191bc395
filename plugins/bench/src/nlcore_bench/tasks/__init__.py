"""The tasks: data, networks, supervision and measures."""

from __future__ import annotations

from nlcore_bench.tasks.align import Align
from nlcore_bench.tasks.base import Batch, Measure, Task
from nlcore_bench.tasks.choices import Choices
from nlcore_bench.tasks.classification import Classification
from nlcore_bench.tasks.decisions import Decisions
from nlcore_bench.tasks.forecast import Forecast
from nlcore_bench.tasks.inverse import Deblurring, Heat, Pendulum
from nlcore_bench.tasks.ltr import Ltr
from nlcore_bench.tasks.meters import Meters
from nlcore_bench.tasks.oscillators import LinearOscillators, Oscillators
from nlcore_bench.tasks.paths import Paths
from nlcore_bench.tasks.ranking import Ranking
from nlcore_bench.tasks.totals import Totals

__all__ = [
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
]
