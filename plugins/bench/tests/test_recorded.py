"""The studies on record beside the source: their folders open, and give the reports that are committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlcore_bench import find, make_report, shipped
from nlcore_bench.report import _given, _machine
from nlcore_bench.run import open_store, plan_of

RESULTS = Path(__file__).parents[3] / "docs/results"
OLD = Path(__file__).parent / "on_record"
STILL_TO_RUN = {
    "default",
    "default_long",
    "default_outputs",
    "half_inverse",
    "optimizers",
}  # without all of their records
NEED_DATA = {"paper_mnist"}  # whose data are given on the command line
RECORDED = sorted(path.parent.name for path in RESULTS.glob("*/report.md"))

if not RESULTS.exists():
    pytest.skip("records are committed beside the source alone", allow_module_level=True)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made = {}
    for name in RECORDED:
        study, folder = find(name), RESULTS / name
        store = open_store(study, folder, () if name in NEED_DATA else None)
        made[name] = make_report(plan_of(study, store.runs, folder), _machine(folder), _given(study, folder)).markdown()
    return made


def cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip("| ").split(" |")]


@pytest.mark.parametrize("name", RECORDED)
def test_a_study_gives_its_committed_report(pages: dict[str, str], name: str) -> None:
    assert pages[name] == (RESULTS / name / "report.md").read_text()


@pytest.mark.parametrize("name", sorted(path.stem for path in OLD.glob("*.md")))
def test_a_study_gives_the_numbers_of_version_0_1(pages: dict[str, str], name: str) -> None:
    rows = [cells(line) for line in pages[name].splitlines() if line.startswith("| ")]
    lines = (OLD / f"{name}.md").read_text().splitlines()[2:]
    assert lines
    for line in lines:
        expected = [cell for cell in cells(line) if cell]
        # a difference has its word behind it now
        assert any(
            row[0] == expected[0]
            and all(any(found == cell or found.startswith(f"{cell} ") for found in row) for cell in expected)
            for row in rows
        ), line


def test_every_shipped_study_is_on_record() -> None:
    recorded = {path.parent.name for path in RESULTS.glob("*/runs.jsonl")}
    assert recorded | STILL_TO_RUN == set(shipped())
    assert {path.stem for path in OLD.iterdir()} <= recorded - STILL_TO_RUN
