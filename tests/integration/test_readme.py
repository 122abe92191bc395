"""The README says what a command printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_its_table_is_that_of_the_committed_results():
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition("<!-- the table of docs/results/totals/report.md")[2].partition("<!-- end -->")[0]
    printed = (ROOT / "docs" / "results" / "totals" / "report.md").read_text()
    assert len(table(shown)) == 9
    assert table(shown) == table(printed)[:9]


def test_the_gains_of_the_default_are_those_of_the_committed_results():
    page = (ROOT / "docs/concepts/when.md").read_text()
    shown = page.partition("<!-- the table of docs/results/default/report.md")[2]
    printed = (ROOT / "docs/results/default/report.md").read_text().partition("in units of plain")[2]
    lines = table(shown.partition("<!-- end -->")[0])
    assert len(lines) > 14
    assert lines == table(printed.partition("**Summary")[0])


def test_the_counts_of_the_readme_are_those_of_the_committed_verdict():
    report = (ROOT / "docs/results/default/report.md").read_text()
    verdicts = {}
    for words in ("plain", "best of control"):
        (sentence,) = re.findall(rf"Default against {words} in loss: (.+?)\.(?: |\*)", report)
        for part in sentence.split("; "):
            better, tasks, level, worse, optimizer = re.fullmatch(
                r"better on (\d+) of (\d+) tasks?, level on (\d+), worse on (\d+) (?:under|with the) (.+)", part
            ).groups()
            verdicts.setdefault(optimizer, []).extend([tasks, f"{better} / {level} / {worse}"])
    training = table(report.partition("on the training data")[2].partition("**Summary")[0])
    head, *tasks = [[cell.strip() for cell in line.strip("|").split("|")] for line in training if "---" not in line]
    columns = {name: [task[place].split()[-1] for task in tasks] for place, name in enumerate(head) if place}
    counts = {
        name: " / ".join(str(words.count(one)) for one in ("better", "level", "worse"))
        for name, words in columns.items()
    }
    expected = {name: [one[0], one[1], one[3], counts[name]] for name, one in verdicts.items() if one[0] == one[2]}
    shown = (ROOT / "README.md").read_text().partition("<!-- the counts of docs/results/default/report.md")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(shown.partition("<!-- end -->")[0])]
    assert {name.lower(): cells for name, *cells in rows[2:]} == expected
    assert {"adam", "muon", "soap", "best pair"} <= expected.keys()


def test_the_time_of_the_demo_is_stated_once_and_covers_the_runs_on_record():
    stated = "about five minutes on two idle cores"
    files = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    lines = [line for path in files for line in path.read_text().splitlines() if "demo" in line and "minutes" in line]
    (line,) = [line for line in lines if "demo-paths" not in line]
    assert stated in line
    results = [ROOT / "docs/results" / study / "runs.jsonl" for study in ("totals", "ranking")]
    seconds = sum(json.loads(run)["cpu_seconds"] for path in results for run in path.read_text().splitlines())
    assert 210 < seconds / 2 < 330
