"""The page on the paper: its tables are those of the runs on record."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    sys.modules.pop("paper", None)
    return importlib.import_module("paper")


def test_the_tables_of_the_page_are_those_of_the_records(paper: ModuleType) -> None:
    text = (DOCS / "results/paper.md").read_text("utf-8")
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(paper.TABLES)
    assert paper.filled(text) == text, "run python docs/paper.py"


def test_a_study_without_records_is_named(paper: ModuleType, tmp_path: Path) -> None:
    text = "a\n<!-- table: damping -->\nold\n<!-- end -->\nb"
    found = paper.filled(text, tmp_path)
    assert "`nlcore bench run paper_damping`" in found
    assert "old" not in found
    assert found.startswith("a\n")
    assert found.endswith("\nb")
    assert paper.filled(found, tmp_path) == found
