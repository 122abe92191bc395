"""Tables and pictures: every number is the one that the file of runs gives."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev

import pytest
from matplotlib import image

from nlcore_bench import Study, workers, write_report
from nlcore_bench.picture import band
from nlcore_bench.records import Cell, Run
from nlcore_bench.report import table
from nlcore_bench.statistics import Sample, first_step, summarise
from nlcore_bench.tasks import Metric


@pytest.fixture
def finished(study: Study, tmp_path: Path) -> tuple[Study, Mapping[Cell, Run], Path]:
    with workers(1) as pool:
        runs = study.run(tmp_path, pool, quiet=True)
    write_report(study, runs, tmp_path)
    return study, runs, tmp_path


def recomputed(folder: Path) -> dict[str, list[str]]:
    """Compute the table from the lines of the file, without any code of the package."""
    tuned: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    for line in lines:
        if line["phase"] == "tune":
            tuned[line["method"]][line["learning_rate"]].append(line["final"]["accuracy"])
    best = {
        method: max(learning_rates, key=lambda learning_rate: (mean(learning_rates[learning_rate]), -learning_rate))
        for method, learning_rates in tuned.items()
    }
    reported = defaultdict(list)
    for line in sorted(lines, key=lambda line: line["seed"]):
        if line["phase"] == "report" and line["learning_rate"] == best[line["method"]]:
            reported[line["method"]].append(line)
    plain = [line["final"]["accuracy"] for line in reported["plain"]]
    table = {}
    for method, group in reported.items():
        final = [line["final"]["accuracy"] for line in group]
        train = [line["train"]["accuracy"] for line in group]
        gain = [mine - other for mine, other in zip(final, plain, strict=True)]
        table[method] = [
            f"{mean(final):.1f} ± {stdev(final):.1f}",
            f"{mean(train):.1f} ± {stdev(train):.1f}",
            "" if method == "plain" else f"{mean(gain):+.1f} ± {stdev(gain) / len(gain) ** 0.5:.1f}",
            f"{best[method]:g}",
            f"{mean(line['cpu_seconds'] for line in group):.2f}",
        ]
    return table


def test_the_table_is_what_the_file_gives(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    study, _, folder = finished
    expected = recomputed(folder)
    rows = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(study.chosen) == len(expected)
    for method, row in zip(study.chosen, rows, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        label, held_out, train, gain, _, learning_rate, seconds = cells
        assert label == method.title
        assert [held_out, train, gain, learning_rate.rstrip("*"), seconds] == expected[method.name]
        line = next(one for one in (folder / "table.txt").read_text().splitlines() if one.startswith(label))
        assert [cell for cell in re.split(r"\s{2,}", line.strip()) if cell] == [cell for cell in cells if cell]


def test_seed_by_seed_values_stand_in_the_rows(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    study, runs, _ = finished
    plain, *others = summarise(study, runs)
    assert plain.difference is None
    for row in others:
        assert row.difference is not None
        for position, seed in enumerate((1000, 1001)):
            mine = runs[Cell("report", row.method.name, row.learning_rate, seed)].final["accuracy"]
            base = runs[Cell("report", "plain", plain.learning_rate, seed)].final["accuracy"]
            assert row.held_out["accuracy"].values[position] == mine
            assert row.difference["accuracy"].values[position] == mine - base


def test_without_the_baseline_there_is_no_difference(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    study, runs, _ = finished
    alone = replace(study, methods=("fisher",))
    assert "difference to plain" not in table(alone, summarise(alone, runs)).text()


def test_the_picture_is_an_image_of_a_readable_size(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    picture = image.imread(finished[2] / "curves.png")
    height, width, _ = picture.shape
    assert height > 500
    assert width > 800
    assert len({tuple(pixel) for row in picture[::7, ::7] for pixel in row.round(2).tolist()}) > 20


def test_the_band_is_mean_and_deviation_of_the_curves(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    study, runs, _ = finished
    for row in summarise(study, runs):
        steps, means, spreads = band(row, "accuracy")
        assert steps == [4, 6]
        for position in range(2):
            column = [run.curves["accuracy"][position] for run in row.runs]
            assert means[position] == pytest.approx(mean(column))
            assert spreads[position] == pytest.approx(stdev(column))


def test_nothing_but_the_promised_files_is_left(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    names = sorted(path.name for path in finished[2].iterdir())
    assert names == ["curves.png", "runs.jsonl", "settings.json", "table.md", "table.txt"]


def test_a_failed_run_is_named_and_drawn_as_far_as_it_came(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    study, runs, folder = finished
    learning_rate = study.best(runs)["fisher"].learning_rate
    cell = Cell("report", "fisher", learning_rate, 1001)
    broken = {**runs, cell: replace(runs[cell], failure="step 2: NaN", steps=(), curves={})}
    table = write_report(study, broken, folder)
    assert "'empirical Fisher' stopped early and counts as it stood: step 2: NaN" in " ".join(table.split())


def test_sample_counted_by_hand() -> None:
    sample = Sample((1.0, 2.0, 6.0))
    assert sample.mean == 3.0
    assert sample.spread == pytest.approx(7**0.5)
    assert sample.error == pytest.approx((7 / 3) ** 0.5)
    assert Sample((1.0,)).spread is None
    assert Sample((1.0,)).error is None


def test_steps_to_a_threshold_counted_by_hand(finished: tuple[Study, Mapping[Cell, Run], Path]) -> None:
    metric = Metric("accuracy", "digits", 50.0)
    study, runs, _ = finished
    some = next(iter(runs.values()))
    curves = [(10.0, 50.0, 40.0, 60.0), (60.0, 0.0, 0.0, 0.0), (0.0, 0.0, 49.9, 0.0)]
    made = [replace(some, steps=(5, 10, 15, 20), curves={"accuracy": curve}) for curve in curves]
    reached = [first_step(run, metric) for run in made]
    assert reached == [10, 5, None]
    row = replace(summarise(study, runs)[0], runs=tuple(made), reached={"accuracy": tuple(reached)})
    assert row.steps_to(metric) == f"{median([10, 5]):.0f} (2 of 3)"
    assert replace(row, reached={"accuracy": (None, None, None)}).steps_to(metric) == "–"
    assert replace(row, reached={"accuracy": (10, 5, 15)}).steps_to(metric) == "10"
