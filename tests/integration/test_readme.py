"""The README says what a command printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_its_table_is_that_of_the_committed_results():
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition("<!-- the table of docs/results/totals/report.md")[2].partition("<!-- end -->")[0]
    printed = (ROOT / "docs" / "results" / "totals" / "report.md").read_text()
    assert len(table(shown)) == 9
    assert table(shown) == table(printed)[:9]


@pytest.mark.parametrize("page", ["README.md", "docs/concepts/when.md"])
def test_the_gains_of_the_default_are_those_of_the_committed_results(page):
    shown = (ROOT / page).read_text().partition("<!-- the table of docs/results/default/report.md")[2]
    printed = (ROOT / "docs/results/default/report.md").read_text().partition("in units of plain")[2]
    lines = table(shown.partition("<!-- end -->")[0])
    assert len(lines) > 7
    assert lines == table(printed)[: len(lines)]
    assert len(lines) == len(table(printed.partition("**Summary")[0]))


def test_the_time_of_the_demo_is_stated_once_and_covers_the_runs_on_record():
    stated = "about five minutes on two idle cores"
    files = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    lines = [line for path in files for line in path.read_text().splitlines() if "demo" in line and "minutes" in line]
    (line,) = [line for line in lines if "demo-paths" not in line]
    assert stated in line
    results = [ROOT / "docs/results" / study / "runs.jsonl" for study in ("totals", "ranking")]
    seconds = sum(json.loads(run)["cpu_seconds"] for path in results for run in path.read_text().splitlines())
    assert 210 < seconds / 2 < 330
