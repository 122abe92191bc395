"""Every algorithm of this project, in every choice of its options, passes every check: those to come, too."""

from __future__ import annotations

import torch

from nlcore.registry import default
from nlcore.registry.discovery import RESERVED
from nlcore.testing import cases, parametrize_with_checks

torch.set_num_threads(1)

SPECS = [spec for record in default.registry.plugins() if record.namespace in RESERVED for spec in record.specs]
CASES = [case for spec in SPECS for case in cases(spec, every_choice=True)]


@parametrize_with_checks(CASES)
def test_conforms(check):
    check()


def test_every_algorithm_is_there():
    found = {case.specification.id for case in CASES}
    assert {"core/squared_error-v1", "sorting/diffsort-v1", "sequences/prefix_sum-v1"} <= found
    assert found == {name for name in default.registry.names() if name.partition("/")[0] in RESERVED}
