"""The page on the paper: its tables and the numbers in its sentences are those of the runs on record."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from statistics import fmean
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


def test_every_number_in_a_sentence_is_on_record(paper: ModuleType) -> None:
    text = (DOCS / "results/paper.md").read_text("utf-8")
    found = re.findall(r"<!-- value: ([\w.]+) -->(.*?)<!-- end -->", text)
    assert len(found) > 50
    assert [name for name, number in found if number in ("–", "?", "")] == []


def test_a_number_without_records_is_a_dash(paper: ModuleType, tmp_path: Path) -> None:
    text = "gains <!-- value: paper_explanation.hard_fisher -->6<!-- end --> and <!-- value: engine.x -->1<!-- end -->"
    assert re.sub(r"<!--.*?-->", "", paper.filled(text, tmp_path)) == "gains – and –"


def test_the_gain_of_the_finding_is_that_of_the_lines_of_the_record(paper: ModuleType) -> None:
    lines = (DOCS / "results/paper_explanation/runs.jsonl").read_text("utf-8").splitlines()
    runs = [json.loads(line) for line in lines]
    final: dict[str, list[float]] = {}
    for run in runs:
        if run["phase"] == "report":
            final.setdefault(run["method"], []).append(run["final"]["exact"])
    gains = [
        fmean(final[f"{loss}_naive_fisher"]) - fmean(final[f"{loss}_naive"])
        for loss in ("neuralsort_hard", "softsort_hard", "logistic_hard")
    ]
    assert paper.value("paper_explanation.hard_fisher", DOCS / "results") == f"{min(gains):.0f} to {max(gains):.0f}"
