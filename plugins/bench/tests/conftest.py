"""A study so small that it trains in a blink, with everything that a real one has."""

from __future__ import annotations

from typing import Any

import pytest

from nlcore_bench import Study, load

CONTENT: dict[str, Any] = {
    "id": "small",
    "title": "Reading 3 digits",
    "steps": 6,
    "every": 4,
    "seeds": 2,
    "tuning_seeds": 2,
    "learning_rates": [1e-3, 1e-2],
    "tasks": {"totals": {"id": "bench/totals", "options": {"length": 3, "batch": 8, "hidden": [8]}}},
    "methods": {
        "plain": {},
        "clipping": {"label": "gradient clipping", "clip": 0.16},
        "fisher": {"label": "empirical Fisher", "curvature": {"EmpiricalFisher": {"damping": {"relative": 0.1}}}},
        "supervised": {"reference": True, "loss": {"id": "core/squared_error", "target": "outputs"}},
    },
}


@pytest.fixture
def content() -> dict[str, Any]:
    """Return the content of the study's file, to be changed."""
    import copy

    return copy.deepcopy(CONTENT)


@pytest.fixture
def study() -> Study:
    """Four methods, two learning rates, two tuning seeds, two reported seeds: 24 runs of 6 steps."""
    return load(CONTENT)
