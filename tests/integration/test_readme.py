"""The README says what a command printed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_its_table_is_that_of_the_committed_results():
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition("<!-- the table of docs/results/totals/report.md")[2].partition("<!-- end -->")[0]
    printed = (ROOT / "docs" / "results" / "totals" / "report.md").read_text()
    assert len(table(shown)) == 7
    assert table(shown) == table(printed)[:7]
