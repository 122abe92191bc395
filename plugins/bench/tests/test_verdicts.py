"""What intervals say, counted by hand, and the report of a study for equal time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nlcore_bench import Study, workers
from nlcore_bench.report import table
from nlcore_bench.statistics import Sample, summarise
from nlcore_bench.verdicts import verdict, verdicts


def test_the_interval_is_student_s() -> None:
    low, high = Sample((1.0, 2.0, 3.0)).interval
    half = 4.302653 / 3**0.5  # two degrees of freedom
    assert (low, high) == (pytest.approx(2 - half, abs=1e-5), pytest.approx(2 + half, abs=1e-5))
    with pytest.raises(ValueError, match="one difference"):
        assert Sample((1.0,)).interval


def test_a_verdict_is_where_the_interval_lies() -> None:
    assert verdict(Sample((5.0, 5.1, 5.2))) == "helps"
    assert verdict(Sample((-5.0, -5.1, -5.2))) == "hurts"
    assert verdict(Sample((5.0, 0.0, 5.2))) == "no difference"
    assert verdict(Sample((0.0, 0.0, 0.0))) == "no difference"


def test_lines_say_what_the_differences_are(study: Study, tmp_path: Path) -> None:
    timed = replace(study, timed=True)
    with workers(1) as pool:
        runs = timed.run(tmp_path, pool, quiet=True)
    rows = summarise(timed, runs)
    plain = rows[0]
    for row in rows[1:]:
        assert row.timed is not None
        base = [run.final["accuracy"] for run in plain.runs]
        mine = [run.final["accuracy"] for run in row.timed_runs]
        assert row.timed["accuracy"].values == tuple(a - b for a, b in zip(mine, base, strict=True))
    made = {
        "clipping": ((4.0, 4.1), (3.0, 3.1)),
        "fisher": ((-9.0, -9.1), (9.0, -9.0)),
        "supervised": ((1.0, 1.0),) * 2,
    }
    rows = [
        row
        if row.difference is None
        else replace(
            row,
            difference={"accuracy": Sample(made[row.method.name][0])},
            timed={"accuracy": Sample(made[row.method.name][1])},
        )
        for row in rows
    ]
    first, *overall = verdicts(rows, "accuracy")
    low, high = Sample((-9.0, -9.1)).interval
    assert f"empirical Fisher hurts ({low:+.1f} … {high:+.1f}), at equal time no difference" in first
    assert first.startswith("plain: gradient clipping helps")
    assert overall[0] == (
        "gradient clipping over all 1: +4.0 at equal steps, helps 1, hurts 0; +3.0 at equal time, helps 1, hurts 0."
    )
    for page in (table(timed, rows).markdown(), " ".join(table(timed, rows).text().split())):
        assert "empirical Fisher hurts" in page
        assert "equal time: difference to plain" in page
    assert "hurts" not in table(study, rows).markdown()
    assert "equal time" in table(timed, rows).markdown()


def test_methods_count_once_each_over_all(study: Study, tmp_path: Path) -> None:
    timed = replace(study, timed=True, methods=("plain", "fisher"))
    with workers(1) as pool:
        rows = summarise(timed, timed.run(tmp_path, pool, quiet=True))
    two = [replace(rows[1], difference={"accuracy": Sample(values)}, timed=None) for values in ((1.0, 3.0), (6.0, 6.0))]
    line = verdicts([rows[0], *two], "accuracy")[-1]
    assert line == "empirical Fisher over all 2: +4.0 ± 2.0 at equal steps, helps 1, hurts 0."
