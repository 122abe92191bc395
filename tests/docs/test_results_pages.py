"""The pages of results: those that join studies are what their scripts write, all have a finding and a picture."""

from __future__ import annotations

import json
import re
import sys

import pytest
from pages import DOCS

pytest.importorskip("nlcore_bench")
sys.path.insert(0, str(DOCS))

import choices
import gains
import landing
import optimizers
import others
import records
import results_list

import nlcore_bench

RESULTS = DOCS / "results"
PAGES = sorted([*RESULTS.glob("*.md"), *RESULTS.glob("*/report.md")])


def test_the_page_of_optimisers_is_what_the_records_say():
    found = optimizers.comparisons()
    assert len(found) > 20
    assert (RESULTS / "optimizers.md").read_text("utf-8") == optimizers.page(found), "run: python docs/optimizers.py"


@pytest.mark.parametrize("path", gains.MARKS)
def test_the_tables_of_the_default_are_what_the_records_say(path):
    text, (mark, made) = path.read_text("utf-8"), gains.MARKS[path]
    assert text == results_list.replaced(text, mark, made()), "run: python docs/gains.py"


def test_the_landing_page_describes_its_chart_of_losses_as_the_records_do():
    found = landing.verdicts_of(landing.table_of(records.plan_of("default"), landing.LOSS, "loss"))
    words = {"better": "lowest", "level": "level with the best without curvature", "worse": "higher"}
    described = ", ".join(f"{words[word]} under {records.NAMES[name]}" for name, word in found.items())
    page = (DOCS / "index.md").read_text("utf-8")
    assert page.count(f"the default is {described}") == 2
    assert page.count("Two bar charts") == 2


def test_the_page_of_others_is_what_the_records_say():
    assert (RESULTS / "others.md").read_text("utf-8") == others.page(), "run: python docs/others.py"


def test_the_page_of_choices_is_that_of_its_figures():
    found = json.loads(choices.FILE.read_text("utf-8"))
    assert (RESULTS / "choices.md").read_text("utf-8") == choices.page(found)
    for name, sample in found["samples"].items():
        assert round(sample["best"], 3) == choices.PUBLISHED[name]
        assert all(row["steps"] is None or row["gaps"][-1] < choices.WITHIN for row in sample["rows"].values())


@pytest.mark.parametrize(
    ("study", "row", "sentence"),
    [
        (
            "decisions",
            "Default",
            "On {1} pairs of loss and task, the default is better than plain training on {0}, level on {2} "
            "and worse on {3},",
        ),
        ("decisions", "Clipped", "Clipping is better on {0}, level on {2} and worse on {3}."),
        (
            "optimizers",
            "Default, aim loss in loss at equal time",
            "the default is better than plain training on {0} of {1} pairs of task and optimiser, level on {2} and "
            "worse on {3}.",
        ),
        ("paths", "Fisher", "In the same number of steps it is better on {0} losses, level on {2} and worse on {3};"),
        ("paths", "Fisher at equal time", "in equal time it is better on {0}, level on {2} and worse on {3}."),
        (
            "paths",
            "Hessian",
            "The Hessian is better on {0} of {1} losses and level on {2} in the same number of steps;",
        ),
    ],
)
def test_the_prose_on_results_has_the_counts_of_the_reports(study, row, sentence):
    report = (RESULTS / study / "report.md").read_text("utf-8")
    counted = rf"{row}: better on (\d+) of (\d+) (?:cases|losses), level on (\d+), worse on (\d+)"
    counts = re.search(counted, report).groups()
    said = " ".join((RESULTS / "index.md").read_text("utf-8").split())
    assert sentence.format(*("none" if one == "0" else one for one in counts)) in said


def test_the_tables_of_the_list_of_results_are_what_the_pages_say():
    text = (RESULTS / "index.md").read_text("utf-8")
    assert text == results_list.with_tables(text), "run: python docs/results_list.py"


def test_every_page_of_results_is_in_a_group_of_the_list():
    assert list(results_list.missing()) == []
    listed = [one.path for pages in results_list.GROUPS.values() for one in pages]
    assert len(listed) == len(set(listed))


def test_a_page_with_rows_of_the_default_says_which():
    pages = {one.path: one for pages in results_list.recorded().values() for one in pages}
    for path in RESULTS.glob("*/runs.jsonl"):
        study = nlcore_bench.find(path.parent.name)
        automatic = any("Auto" in str(one.curvature) for one in study.methods.values())
        default = pages[f"{path.parent.name}/report.md"].default
        assert (default != "–") == (automatic or default == results_list.FIRST), path.parent.name


def test_the_list_of_results_has_the_counts_of_the_page_of_optimisers():
    counts = r"\| (\d+ / \d+ / \d+) \| (\d+ / \d+ / \d+) \|"
    listed = re.findall(rf"^\| (\w+) {counts}$", (RESULTS / "index.md").read_text("utf-8"), re.MULTILINE)
    found = re.findall(rf"^\| (\w+) \| \d+ {counts}", (RESULTS / "optimizers.md").read_text("utf-8"), re.MULTILINE)
    assert {name for name, *_ in listed} == {"Adam", "Muon", "SOAP"}
    assert set(listed) <= set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(RESULTS)))
def test_every_page_has_its_finding_its_picture_its_table_and_its_command(page):
    text = page.read_text("utf-8")
    if page.name == "index.md":
        return
    assert re.search(r"^\*\*[^*\n]{40,}\*\*$", text, re.MULTILINE), "no finding in a sentence"
    assert re.search(r"^\|-?-", text, re.MULTILINE), "no table"
    assert re.search(r"(nlcore |python -m |python (docs|examples)/|make )", text), "no command"
    pictures = re.findall(r"\]\(([\w/-]+\.png)\)", text)  # those of two schemes are drawn when the site is built
    assert pictures or page.with_suffix(".png").exists(), "no picture"
    assert all((page.parent / name).exists() for name in pictures)
