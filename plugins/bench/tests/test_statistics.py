"""Statistics: on stored records they are those of SciPy and of pencil and paper, and the words follow from them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nlcore_bench import Measure, Paired, Sample, find, holm, make_report
from nlcore_bench.run import open_store, plan_of

RESULTS = Path(__file__).parents[3] / "docs/results"
SHARE = Measure("accuracy", "digits right")
LOSS = Measure("loss", "loss", "lower", unit="")


def test_samples_counted_by_hand() -> None:
    sample = Sample((1.0, 2.0, 6.0))
    assert sample.mean == 3.0
    assert sample.quartiles == (1.5, 2.0, 4.0)
    assert sample.spread == pytest.approx(7**0.5)
    assert sample.error == pytest.approx((7 / 3) ** 0.5)
    assert Sample((1.0,)).spread is Sample((1.0,)).error is None


@pytest.mark.parametrize(
    ("measure", "mine", "base", "word"),
    [
        (SHARE, [53.0, 53.1, 52.9], [50.0, 50.0, 50.0], "better"),
        (SHARE, [51.9, 51.9, 51.8], [50.0, 50.0, 50.0], "level"),  # beyond 2 errors, not beyond 2 points
        (SHARE, [60.0, 50.0, 50.0], [50.0, 50.0, 50.0], "level"),  # beyond 2 points, not beyond 2 errors
        (SHARE, [40.0, 41.0, 42.0], [50.0, 50.0, 50.0], "worse"),
        (LOSS, [0.94, 0.95, 0.93], [1.0, 1.0, 1.0], "better"),
        (LOSS, [0.96, 0.96, 0.97], [1.0, 1.0, 1.0], "level"),  # not beyond 5 %
        (LOSS, [0.0096, 0.0110, 0.0106], [0.01, 0.01, 0.01], "level"),
        (LOSS, [2.0, 2.1, 2.2], [1.0, 1.0, 1.0], "worse"),
        (SHARE, [60.0], [50.0], "level"),  # one seed has no error
        (SHARE, [50.0, 50.0], [50.0, 50.0], "level"),
    ],
)
def test_the_words_follow_from_the_rule(measure: Measure, mine: list[float], base: list[float], word: str) -> None:
    pair = Paired(measure, tuple(mine), tuple(base))
    assert pair.word == word
    assert pair.claim == f"{word}?"
    assert Paired(measure, tuple(mine * 8), tuple(base * 8)).claim in {"better", "worse", "level"}


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_without_spread_have_no_nan() -> None:
    same = Paired(SHARE, (50.0, 50.0), (50.0, 50.0))
    assert (same.wilcoxon, same.student, same.interval, same.improved) == (1.0, 1.0, (0.0, 0.0), 0.0)
    shifted = Paired(SHARE, (60.0, 60.0), (50.0, 50.0))
    assert (shifted.student, shifted.interval, shifted.improved) == (0.0, (10.0, 10.0), 1.0)


def by_hand(folder: Path, baseline: dict[str, str], measure: str) -> dict[str, Any]:
    """Compute the statistics from the lines of a file, without any code of the package."""
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    tuned: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line["phase"] == "tune":
            tuned[line["method"]][line["learning_rate"]].append(line["final"][measure])
    best = {name: max(sorted(rates), key=lambda rate: fmean(rates[rate])) for name, rates in tuned.items()}
    finals: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        if line["phase"] == "report" and line["learning_rate"] == best[line["method"]]:
            finals[line["method"]][line["seed"]] = line["final"][measure]
    found = {}
    for name, base in baseline.items():
        mine, other = ([finals[one][seed] for seed in sorted(finals[one])] for one in (name, base))
        difference = np.subtract(mine, other)
        low, middle, high = np.percentile(mine, [25, 50, 75])
        bootstrap = stats.bootstrap(
            (difference,), np.mean, method="percentile", random_state=np.random.default_rng(0)
        ).confidence_interval
        tests = (stats.wilcoxon, stats.ttest_rel)
        wilcoxon, student = (test(mine, other).pvalue if difference.any() else 1.0 for test in tests)
        found[name] = {
            "mean": f"{fmean(mine):.1f} ± {stdev(mine):.1f}",
            "difference": f"{fmean(difference):+.1f} ± {stdev(difference) / len(mine) ** 0.5:.1f}",
            "quartiles": f"{middle:.1f} ({low:.1f}–{high:.1f})",
            "interval": f"{bootstrap.low:+.1f} … {bootstrap.high:+.1f}",
            "wilcoxon": wilcoxon,
            "student": student,
            "improved": f"{np.mean(difference > 0):.0%}",
        }
    return found


@pytest.mark.skipif(not RESULTS.exists(), reason="records are committed beside the source alone")
@pytest.mark.parametrize(("name", "measure"), [("totals", "accuracy"), ("ltr", "ndcg10")])
def test_a_report_on_record_is_what_scipy_gives_by_hand(name: str, measure: str) -> None:
    study, folder = find(name), RESULTS / name
    entries = [entry for entry in study.entries() if entry.baseline]
    expected = by_hand(folder, {entry.name: str(entry.baseline) for entry in entries}, measure)
    plan = plan_of(study, open_store(study, folder).runs, folder)
    figures, statistics = make_report(plan).tables
    rows = {row[0]: row for row in figures.rows}
    # Holm by hand: the smallest p times the number of tests, the next times one less, never falling, at most 1
    adjusted, highest = {}, 0.0
    for rank, (key, one) in enumerate(sorted(expected.items(), key=lambda item: item[1]["wilcoxon"])):
        highest = max(highest, min(1.0, one["wilcoxon"] * (len(expected) - rank)))
        adjusted[key] = highest
    for entry, row in zip(entries, statistics.rows, strict=True):
        one = expected[entry.name]
        assert one["mean"] in rows[entry.title]
        assert any(cell.startswith(one["difference"]) for cell in rows[entry.title])
        tests = [f"{value:.3f}" for value in (one["wilcoxon"], adjusted[entry.name], one["student"])]
        assert row[:7] == (entry.title, one["quartiles"], one["interval"], *tests, one["improved"])
