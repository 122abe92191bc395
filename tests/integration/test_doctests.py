"""Every example in a docstring holds, in the core and in every plugin of this repository."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import nlcore
import nlcore_bench
import nlcore_decisions
import nlcore_ranking
import nlcore_sequences
import nlcore_shortest_paths
import nlcore_sorting

OPTIONAL = {"llvmlite", "numba", "scipy"}
"""Packages that may be missing, and with them the modules that are built on them."""


def modules() -> Iterator[str]:
    plugins = (nlcore_sorting, nlcore_ranking, nlcore_decisions, nlcore_shortest_paths, nlcore_sequences, nlcore_bench)
    for package in (nlcore, *plugins):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__") and ".templates" not in found.name and importable(found.name):
                yield found.name


def importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in OPTIONAL:
            return False
        raise
    return True


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of_the_docstrings_hold(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


def test_there_are_examples():
    tried = sum(
        len(test.examples) for name in modules() for test in doctest.DocTestFinder().find(importlib.import_module(name))
    )
    assert tried > 10
