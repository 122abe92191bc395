"""Every example in a docstring holds, in the core and in every plugin of this repository."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator

import pytest

import nlcore
import nlcore_bench
import nlcore_ranking
import nlcore_sequences
import nlcore_shortest_paths
import nlcore_sorting

OPTIONAL = {
    "nlcore_shortest_paths._numba": "numba",
    "nlcore_shortest_paths._scipy": "scipy",
    "nlcore_sorting._numba": "numba",
}
"""Modules that need a package which may be missing."""


def modules() -> Iterator[str]:
    for package in (nlcore, nlcore_sorting, nlcore_ranking, nlcore_shortest_paths, nlcore_sequences, nlcore_bench):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            missing = found.name in OPTIONAL and importlib.util.find_spec(OPTIONAL[found.name]) is None
            if not missing and not found.name.endswith("__main__") and ".templates" not in found.name:
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of_the_docstrings_hold(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


def test_there_are_examples():
    tried = sum(
        len(test.examples) for name in modules() for test in doctest.DocTestFinder().find(importlib.import_module(name))
    )
    assert tried > 10
