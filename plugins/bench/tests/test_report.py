"""Reports: the finding first, then pictures and tables, all from the file of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from nlcore_bench import Plan, Study, load, make_report, run_study, write_report
from nlcore_bench.rows import rows_of
from nlcore_bench.statistics import Sample
from nlcore_bench.tables import Table


@pytest.fixture
def plan(study: Study, tmp_path: Path) -> Plan:
    return run_study(study, tmp_path, quiet=True)


def test_nothing_but_the_promised_files_is_left(plan: Plan, tmp_path: Path) -> None:
    text = write_report(plan, tmp_path)
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"curves.png", "report.html", "report.md", "report.txt", "runs.jsonl", "settings.json"}
    assert text == (tmp_path / "report.txt").read_text()
    assert not list(tmp_path.glob("checkpoints/*"))
    picture = image.imread(tmp_path / "curves.png")
    assert picture.shape[0] > 500
    assert len({tuple(pixel) for row in picture[::7, ::7] for pixel in row.round(2).tolist()}) > 20


def test_a_report_has_its_parts_in_order_in_every_format(plan: Plan, tmp_path: Path) -> None:
    study = plan.study.model_copy(update={"question": "Why?", "limits": ("Nothing <else>.",), "notes": ("A & b.",)})
    write_report(Plan(study, plan.runs), tmp_path)
    page = (tmp_path / "report.md").read_text()
    parts = [
        "# Reading 3 digits",
        "Why?",
        "**Gradient clipping is level with plain (",
        "curves.png",
        "| method |",
        "A & b.",
    ]
    parts += ["## What this does not say", "Nothing <else>.", "## Repeat it", "torch 2", "--methods supervised"]
    at = [page.index(part) for part in parts]
    assert at == sorted(at)
    whole = (tmp_path / "report.html").read_text()
    assert "Nothing &lt;else&gt;." in whole
    assert whole.index("<strong>") < whole.index("<img") < whole.index("<table>") < whole.index("<h2>")
    assert "With 2 seeds these are observations; a claim needs 8." in " ".join(page.split())


def test_rows_without_all_of_their_runs_are_named_and_left_out(plan: Plan) -> None:
    runs = {cell: run for cell, run in plan.runs.items() if (cell.method, cell.seed) != ("fisher", 1001)}
    report = make_report(Plan(plan.study, runs))
    assert [row[0] for row in report.tables[0].rows] == ["plain", "gradient clipping", "supervised"]
    assert report.notes[0] == "Rows without all of their runs are left out: totals adam fisher."
    assert make_report(Plan(plan.study, {})).finding == ("No method has all of its runs yet.",)


def test_a_failed_run_is_named_and_drawn_as_far_as_it_came(plan: Plan) -> None:
    fisher = plan.study.entries(methods=["fisher"])[0]
    cell = plan.reported(fisher)[1]
    broken = {**plan.runs, cell: replace(plan.runs[cell], failure="step 2: NaN", steps=(), curves={}, times=())}
    report = make_report(Plan(plan.study, broken))
    assert "A run of 'empirical Fisher' stopped early and counts as it stood: step 2: NaN" in report.notes
    assert report.pictures["curves.png"].startswith(b"\x89PNG")


def test_when_a_threshold_is_reached_counted_by_hand(plan: Plan) -> None:
    row = rows_of(plan, plan.entries)[0]
    curves = [(10.0, 50.0, 40.0, 60.0), (60.0, 0.0, 0.0, 0.0), (0.0, 0.0, 49.9, 0.0)]
    runs = [replace(row.runs[0], steps=(5, 10, 15, 20), curves={"accuracy": one}) for one in curves]
    three = replace(row, runs=tuple(runs))
    assert three.reached(lambda run: run.steps) == [10, 5]
    assert three.reached_text(lambda run: run.steps) == "8 (2 of 3)"
    assert replace(row, runs=(runs[2],)).reached_text(lambda run: run.steps) == "–"
    assert replace(row, runs=(runs[0],)).reached_text(lambda run: (0.5, 1.25), digits=2) == "1.25"


def test_the_subject_is_summed_up_for_every_measure_and_pair(content: dict[str, Any], tmp_path: Path) -> None:
    content["tasks"]["totals"]["options"]["loss_batches"] = 2
    content["tasks"]["blur"] = {**content["tasks"]["totals"], "label": "a blur"}
    content["optimizers"] = {"adam": {}, "sgd": {"kind": "sgd", "learning_rates": [1e-3, 1e-2]}}
    content["methods"]["plain"]["group"] = content["methods"]["clipping"]["group"] = "control"
    content |= {
        "baseline": "plain",
        "subject": "fisher",
        "against": ["plain", "control"],
        "measures": ["loss", "accuracy"],
    }
    plan = run_study(load(content), tmp_path, quiet=True)
    report = make_report(plan)
    finding = " ".join(report.finding)
    for words in (
        "Fisher against plain in loss: ",
        "worse on 0 under adam; ",
        "with the best pair. Fisher against best of control in loss: ",
    ):
        assert words in finding
    assert "of 2 tasks" in finding
    units, training, loss, accuracy = report.tables[:4]
    assert units.head == ("task", "adam", "sgd", "best pair")
    assert [row[0] for row in units.rows] == ["totals", "a blur"]
    means = [Sample(tuple(plan.runs[cell].final["loss"] for cell in plan.reported(one))).mean for one in plan.entries]
    mine, plain = (
        next(mean for mean, one in zip(means, plan.entries, strict=True) if one.key == ("totals", "adam", name))
        for name in ("fisher", "plain")
    )
    assert units.rows[0][1].startswith(f"{mine / plain:.2f} (")
    assert training.title.startswith("Loss on the training data of the fisher")
    cells = {one.key: plan.reported(one) for one in plan.entries}
    mine, plain = (
        Sample(tuple(plan.runs[cell].train["loss"] for cell in cells["totals", "adam", name])).mean
        for name in ("fisher", "plain")
    )
    assert training.rows[0][1].startswith(f"{mine / plain:.2f} (")
    assert [row[:2] for row in loss.rows] == [
        (task, pair) for task in ("totals", "a blur") for pair in ("adam", "sgd", "best pair")
    ]
    assert loss.title == "Summary: held-out loss"
    assert accuracy.title == "Summary: digits right"
    assert set(report.pictures) == {"summary.png"}
    assert report.commands[0] == "nlcore bench run small --methods plain --tasks totals --optimizers adam"
    titles = [table.title for table in report.tables]
    assert "A blur, sgd: differences in held-out loss" in titles
    pair = plan.entries[2]
    row = next(one for one in rows_of(plan, [pair]))
    found = row.difference(row.compared[0])
    assert found is not None
    assert found.mine == tuple(plan.runs[cell].final["loss"] for cell in plan.reported(pair))


def test_tables_escape_what_their_format_reads() -> None:
    table = Table(head=("a|b", "n"), rows=(("x<y", "1"), ("|", "22")), title="T", notes=("& note",))
    assert table.text().splitlines()[2] == "a|b   n"
    assert "| a&#124;b | n |" in table.markdown()
    assert "<td>x&lt;y</td><td style='text-align:right'>1</td>" in table.html()
    assert "&amp; note" in table.html()
