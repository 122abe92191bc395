"""Tens of thousands of outputs without a matrix of theirs: memory, the dense path, negative curvature."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from nlcore import newton_step

from . import large

OUTPUTS = 16_384
DENSE = 512


def measured(name):
    """Return MiB taken, whether every direction is finite and descends, indefinite samples, residual."""
    command = [sys.executable, large.__file__, name, str(OUTPUTS)]
    words = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    return float(words[0]), words[1] == "True", int(words[2]), float(words[3])


@pytest.mark.parametrize("name", large.CASES)
def test_memory_stays_under_a_gibibyte(name, record_property):
    memory, right, indefinite, residual = measured(name)
    record_property("MiB", memory)
    assert memory < 1024  # one matrix of float64 would be 2048
    assert right
    assert indefinite == 0
    assert residual < 2e-5


def test_negative_curvature_is_detected_at_that_size():
    memory, right, indefinite, _ = measured("negative")
    assert memory < 1024
    assert right
    assert indefinite == large.BATCH


@pytest.mark.parametrize("name", large.CASES)
def test_the_dense_path_agrees(name):
    loss, free, dense = large.CASES[name]
    prediction, target = large.data(DENSE, torch.float64)
    found, expected = (newton_step(loss, prediction, target, curvature).direction for curvature in (free, dense))
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-6
    gradient = newton_step(loss, prediction, target, dense).gradient
    assert not torch.allclose(found / found.norm(), gradient / gradient.norm(), rtol=1e-2)


def test_negative_curvature_is_seen_by_both_paths():
    loss, curvature = large.NEGATIVE
    prediction, target = large.data(DENSE, torch.float64)
    step = newton_step(loss, prediction, target, curvature)
    dense = newton_step(loss, prediction, target, large.CASES["hessian"][2])
    assert step.stats["indefinite"] == dense.stats["indefinite"] == large.BATCH
    assert ((step.gradient * step.direction).sum(1) > 0).all()  # the truncated solve still descends
