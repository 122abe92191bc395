"""Every algorithm of this project, in every choice of its options, passes every check: those to come, too."""

from __future__ import annotations

import pytest
import torch

from nlcore.registry import default
from nlcore.registry.discovery import RESERVED
from nlcore.testing import cases, parametrize_with_checks

torch.set_num_threads(1)

SPECS = [spec for record in default.registry.plugins() if record.namespace in RESERVED for spec in record.specs]
CASES = [case for spec in SPECS for case in cases(spec, every_choice=True)]

# Composed of functions in place of classes: a task of a study, and no loss for others to build on.
COMPOSED = {
    "errors.shape": "compose() hands wrong shapes on to the function",
    "errors.dtype": "compose() hands wrong dtypes on to the function",
    "errors.device": "compose() hands wrong devices on to the function",
    "config.attributes": "a composed loss keeps no options",
    "object.equality": "partial functions are equal by identity",
}
KNOWN = {"bench/blur-v1": COMPOSED, "bench/drag-v1": COMPOSED}


@parametrize_with_checks(CASES, expected_failures=lambda case: KNOWN.get(case.specification.id, {}))
def test_conforms(check):
    check()


def test_every_algorithm_is_there():
    found = {case.specification.id for case in CASES}
    assert {"core/squared_error-v1", "sorting/diffsort-v1", "sequences/prefix_sum-v1"} <= found
    assert found == {name for name in default.registry.names() if name.partition("/")[0] in RESERVED}


@pytest.mark.parametrize("known", sorted(KNOWN))
def test_no_exception_outlives_its_algorithm(known):
    assert known in {spec.id for spec in SPECS}
