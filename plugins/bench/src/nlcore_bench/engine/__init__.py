"""The cost of a Newton step: the loss part alone, a whole training step, and every solver by size."""

from __future__ import annotations

from nlcore_bench.engine.report import write_engine_report
from nlcore_bench.engine.run import Bench, Figures, run_bench

__all__ = ["Bench", "Figures", "run_bench", "write_engine_report"]
