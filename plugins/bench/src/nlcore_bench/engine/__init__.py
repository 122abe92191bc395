"""The cost of a Newton step: the loss part, a whole training step, every solver by size, and the default over a run."""

from __future__ import annotations

from nlcore_bench.engine.report import write_engine_report
from nlcore_bench.engine.run import TABLES, Bench, Figures, run_bench

__all__ = ["TABLES", "Bench", "Figures", "run_bench", "write_engine_report"]
