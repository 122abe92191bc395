"""The device of the tests: a GPU, or what `NLCORE_TEST_DEVICE` names; without either they are skipped."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the device."""
    found = torch.device(os.environ.get("NLCORE_TEST_DEVICE", "cuda"))
    if found.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU; NLCORE_TEST_DEVICE=cpu runs the tests on the CPU")
    return found
