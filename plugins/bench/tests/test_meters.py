"""The task of meters: real hours, readings that hide them, and the statistician's answer."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("river")

from nlcore.errors import ConfigError
from nlcore_bench.data.water import chow_lin, flows, persistence
from nlcore_bench.tasks import Meters

PARTS = ("train", "validation", "test")


def test_parts_are_apart_in_time_and_windows_have_no_gap() -> None:
    windows = {part: flows(part, 48) for part in PARTS}
    assert [len(one) for one in windows.values()] == [555, 121, 106]
    seen = {part: {tuple(row[:8].tolist()) for row in one} for part, one in windows.items()}
    assert not seen["train"] & (seen["test"] | seen["validation"])
    assert all(float(one.min()) < -2 for one in windows.values())  # each has an interruption of the supply
    for one in windows.values():  # a window is the one before, an hour later, unless there is a gap
        shared = (one[1:, :-1] == one[:-1, 1:]).all(1)
        assert shared.float().mean() > 0.9


def test_batches_hold_totals_and_few_readings_of_the_running_total() -> None:
    task = Meters(noise=0.0)
    batch = next(task.batches(3))
    torch.testing.assert_close(batch.inputs, batch.outputs.view(32, 8, 6).sum(2))
    known = ~batch.target.isnan()
    assert (known.sum(1) == 16).all()
    assert known[:, -1].all()
    torch.testing.assert_close(batch.target[known], batch.outputs.cumsum(1)[known])
    assert float(task.loss(batch.outputs, batch.target).abs().max()) < 1e-6


def test_chow_lin_keeps_totals_is_exact_for_a_mean_and_equals_the_conditional_expectation() -> None:
    totals = torch.tensor([[6.0, 12.0, 3.0], [4.0, 4.0, 4.0]])
    found = chow_lin(totals, 12, 0.8)
    torch.testing.assert_close(found.view(2, 3, 4).sum(2), totals)
    torch.testing.assert_close(found[1], torch.ones(12))
    hour = torch.arange(12, dtype=torch.float64)
    covariance = 0.8 ** (hour[:, None] - hour).abs() + 1e8  # a mean about which nothing is known
    gather = torch.eye(3, dtype=torch.float64).repeat_interleave(4, 1)
    expected = covariance @ gather.mT @ torch.linalg.solve(gather @ covariance @ gather.mT, totals[0].double())
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_persistence_is_found_for_series_of_a_known_one() -> None:
    assert persistence(48, 8) in (0.8, 0.9, 0.95, 0.98)
    assert Meters().chow_lin_error("test") == pytest.approx(0.2644, abs=1e-3)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="hours=50 must be a multiple of blocks=8"):
        Meters(hours=50)
