"""The studies on record beside the source: their folders open, and give the tables that are committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlcore_bench import Ltr, Paths, Ranking, Store, Study, Totals
from nlcore_bench.defaults import table as defaults_table
from nlcore_bench.defaults import verdict
from nlcore_bench.report import table
from nlcore_bench.statistics import summarise
from nlcore_bench.tasks.default import PROBLEMS, Default

RESULTS = Path(__file__).parents[3] / "docs/results"

if not RESULTS.exists():
    pytest.skip("records are committed beside the source alone", allow_module_level=True)

RECORDED = {
    "totals": Study(task=Totals()),
    "ranking": Study(task=Ranking()),
    "ltr": Study(task=Ltr(), seeds=10),
    "paths": Study(task=Paths(), seeds=5, tuning=1, timed=True),
}


def opened(study: Study) -> Store:
    return Store(RESULTS / study.task.name, study.settings())


@pytest.mark.parametrize("page", RECORDED)
def test_a_recorded_study_gives_its_committed_table(page: str) -> None:
    study = RECORDED[page]
    made = table(study, summarise(study, opened(study).runs)).markdown()
    assert (RESULTS / f"{page}.md").read_text().endswith(made)


def test_the_recorded_study_of_the_default_gives_its_committed_table() -> None:
    studies = [Study(task=Default(problem=problem), seeds=5) for problem in PROBLEMS]
    found = defaults_table([verdict(study, opened(study).runs) for study in studies], 5, 500)
    assert (RESULTS / "defaults.md").read_text() == found.markdown()


def test_every_folder_of_records_is_opened_here() -> None:
    names = {study.task.name for study in RECORDED.values()} | {Default(problem=problem).name for problem in PROBLEMS}
    assert {path.parent.name for path in RESULTS.glob("*/runs.jsonl")} == names
