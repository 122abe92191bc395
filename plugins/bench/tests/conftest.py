"""A study so small that it trains in a blink, with everything that a real one has."""

from __future__ import annotations

import pytest

from nlcore_bench import Study, Totals

METHODS = ("plain", "clipping", "fisher", "supervised")


@pytest.fixture
def study() -> Study:
    """Four methods, two learning rates, two tuning seeds, two reported seeds: 24 runs of 6 steps."""
    task = Totals(length=3, batch=8, steps=6, every=4, hidden=(8,), learning_rates=(1e-3, 1e-2))
    return Study(task=task, methods=METHODS, tuning=2, seeds=2)
