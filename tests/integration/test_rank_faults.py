"""Ranks that disagree: one has a mask, one fails, one has other options. All end alike, and at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import rank_faults

AT_ONCE = 2.0
"""Seconds; less than the time-out of a collective call."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Run every case once; return the outcomes of both ranks by case."""
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, str(Path(rank_faults.__file__)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return rank_faults.found(folder)


def of_both(outcomes, *key):
    """Return the values of both ranks; an error in their place fails the test."""
    both = outcomes[key]
    assert all(one is not None and not one.error for one in both), both
    return [one.value for one in both]


def named(keys):
    return [pytest.param(key, id="-".join(key)) for key in keys]


def keys(kind):
    return [key for key in rank_faults.CASES if key[0] == kind]


@pytest.mark.parametrize("key", named(keys("mask")))
def test_a_mask_on_one_rank_is_that_of_the_global_batch(outcomes, key):
    _, name, reduction = key
    value, gradient = rank_faults.mask_on_one(name, None, reduction)
    assert gradient.abs().max() > 1e-4
    found = of_both(outcomes, *key)
    torch.testing.assert_close(torch.cat([g for _, g in found]), gradient, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(sum(v for v, _ in found) / 2, value, rtol=1e-9, atol=0)


@pytest.mark.parametrize("key", named(keys("mask beside nothing")))
def test_a_mask_beside_a_rank_without_samples(outcomes, key):
    y, t, mask = rank_faults.drawn(0)
    loss, curvature = rank_faults.Counting(), rank_faults.CURVATURES[key[1]]
    expected = rank_faults.newton_step(loss, y, t, curvature, mask=mask).direction
    here, there = of_both(outcomes, *key)
    torch.testing.assert_close(here, expected, rtol=1e-8, atol=1e-11)
    assert there.shape == (0, rank_faults.OUTPUTS)


@pytest.mark.parametrize("key", named(keys("raises")))
def test_an_exception_of_the_users_code_raises_on_all_ranks(outcomes, key):
    there, here = outcomes[key]
    assert here is not None
    assert there is not None
    assert rank_faults.FAULT in here.message
    assert here.error == "ValueError" or here.ours
    assert there.ours, there
    assert rank_faults.FAULT in there.message
    assert max(here.seconds, there.seconds) < AT_ONCE


@pytest.mark.parametrize("key", named([*keys("size"), *keys("curvature")]))
def test_ranks_that_do_not_fit_together_are_refused_on_both(outcomes, key):
    for one in outcomes[key]:
        assert one is not None
        assert one.ours, one
        assert one.seconds < AT_ONCE


def test_a_singular_curvature_raises_or_falls_back_on_both(outcomes):
    for one in outcomes["singular", "raise"]:
        assert one.error == "SingularCurvatureError"
    for direction, gradient in of_both(outcomes, "singular", "fallback"):
        assert gradient.abs().max() > 0
        assert torch.equal(direction, gradient)


@pytest.mark.parametrize("key", named(keys("not finite")))
def test_a_rank_that_is_not_finite_falls_back_and_leaves_the_other_alone(outcomes, key):
    expected = rank_faults.not_finite(key[1], None)
    found = torch.cat(of_both(outcomes, *key))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert expected[: rank_faults.COUNT].abs().max() > 0
    assert not found[rank_faults.COUNT :].any()


def test_uneven_inputs_under_join_work_or_are_refused_by_name(outcomes):
    """Either every rank finishes its batches, or the first that cannot says that it is for `join`.

    A rank that has run out of batches may still see an error of torch's own when another one refuses.
    """
    both = outcomes[("join",)]
    assert all(one is not None for one in both), both
    if not any(one.error for one in both):
        assert [len(one.value) for one in both] == [3, 2]
        assert all(value == value and abs(value) < 1e6 for one in both for value in one.value)
        return
    assert any(one.ours and "join" in one.message for one in both), both
    assert max(one.seconds for one in both) < 10 * AT_ONCE  # with the batches before
