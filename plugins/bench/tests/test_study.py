"""A study from end to end: the same budget for all, fresh seeds, and going on after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nlcore.errors import ConfigError
from nlcore_bench import Ranking, ResultsError, Study, Task, Totals, workers
from nlcore_bench.records import Cell, Run
from nlcore_bench.study import run_cell


class Counting:
    """Runs cells in this process, remembers them, and is killed after `limit` of them."""

    def __init__(self, limit: int = 10**6) -> None:
        self.limit = limit
        self.done: list[Cell] = []

    def __call__(self, task: Task, cells: Sequence[Cell]) -> Iterable[Run]:
        for cell in cells:
            if len(self.done) == self.limit:
                raise KeyboardInterrupt
            self.done.append(cell)
            yield run_cell(task, cell)


def test_every_arm_gets_the_same_runs_and_fresh_seeds(study: Study, tmp_path: Path) -> None:
    counting = Counting()
    runs = study.run(tmp_path, counting, quiet=True)
    assert set(runs) == set(counting.done)
    assert Counter((cell.arm, cell.phase) for cell in runs) == {
        (arm.name, phase): count for arm in study.chosen for phase, count in (("tune", 4), ("report", 2))
    }
    seeds = {phase: {cell.seed for cell in runs if cell.phase == phase} for phase in ("tune", "report")}
    assert not seeds["tune"] & seeds["report"]
    assert all(bool(run.curves) == (cell.phase == "report") for cell, run in runs.items())


def test_a_finished_study_is_not_repeated(study: Study, tmp_path: Path) -> None:
    first = study.run(tmp_path, Counting(), quiet=True)
    again = Counting()
    assert study.run(tmp_path, again, quiet=True) == first
    assert again.done == []


@pytest.mark.parametrize("limit", [0, 5, 18])
def test_a_killed_study_goes_on_and_ends_the_same(study: Study, tmp_path: Path, limit: int) -> None:
    whole = study.run(tmp_path / "whole", Counting(), quiet=True)
    killed = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        study.run(killed, Counting(limit), quiet=True)
    lines = (killed / "runs.jsonl").read_bytes()
    (killed / "runs.jsonl").write_bytes(lines[:-7])  # the kill came in the middle of the last line
    rest = Counting()
    runs = study.run(killed, rest, quiet=True)
    assert len(rest.done) == len(whole) - max(0, limit - 1)
    for cell, run in whole.items():
        assert (runs[cell].final, runs[cell].train, runs[cell].curves) == (run.final, run.train, run.curves)


def test_a_missing_line_is_run_again_and_nothing_else(study: Study, tmp_path: Path) -> None:
    study.run(tmp_path, Counting(), quiet=True)
    path = tmp_path / "runs.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[4:]))
    again = Counting()
    study.run(tmp_path, again, quiet=True)
    assert again.done == [Run.parse(lines[3]).cell]


def test_arms_and_seeds_can_be_added_to_a_folder(study: Study, tmp_path: Path) -> None:
    Study(task=study.task, arms=("plain",), tuning=2, seeds=1).run(tmp_path, Counting(), quiet=True)
    more = Counting()
    study.run(tmp_path, more, quiet=True)
    assert Counter((cell.arm, cell.phase) for cell in more.done if cell.arm == "plain") == {("plain", "report"): 1}


def test_other_settings_are_refused_before_anything_runs(study: Study, tmp_path: Path) -> None:
    study.run(tmp_path, Counting(), quiet=True)
    assert isinstance(study.task, Totals)
    for other, word in (
        (replace(study, task=replace(study.task, steps=7)), "steps"),
        (replace(study, tuning=3), "tuning_seeds"),
        (Study(task=Ranking(), tuning=2), "task"),
    ):
        again = Counting()
        with pytest.raises(ResultsError, match=word):
            other.run(tmp_path, again, quiet=True)
        assert again.done == []


def runs_of(
    values: Mapping[tuple[str, float], Sequence[float]], failed: Sequence[tuple[str, float]] = ()
) -> Iterator[Run]:
    for (arm, rate), finals in values.items():
        for seed, value in enumerate(finals):
            failure = "step 3: NaN" if (arm, rate) in failed else None
            yield Run(Cell("tune", arm, rate, seed), {"accuracy": value}, {}, (), {}, 0.0, 0.0, failure)


def test_the_rate_with_the_best_mean_wins(study: Study) -> None:
    one = Study(task=study.task, arms=("plain", "fisher"), tuning=2, seeds=1)
    values = {
        ("plain", 1e-3): (40.0, 60.0),
        ("plain", 1e-2): (49.0, 49.0),
        ("fisher", 1e-3): (50.0, 50.0),
        ("fisher", 1e-2): (50.0, 50.0),  # of equal ones the smaller
    }
    assert one.best_rates({run.cell: run for run in runs_of(values)}) == {"plain": 1e-3, "fisher": 1e-3}
    failing = {run.cell: run for run in runs_of(values, failed=[("plain", 1e-3)])}
    assert one.best_rates(failing)["plain"] == 1e-2


def test_wrong_studies_are_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"no arm 'fischer' \(did you mean 'fisher'\?\)"):
        Study(task=study.task, arms=("fischer",))
    with pytest.raises(ConfigError, match="seeds was given 0"):
        Study(task=study.task, seeds=0)


def test_the_number_of_processes_changes_no_result(tmp_path: Path) -> None:
    task = Totals(length=3, batch=8, steps=6, every=4, hidden=(8,), rates=(1e-2,))
    study = Study(task=task, arms=("plain", "fisher"), tuning=1, seeds=2)
    results = []
    for count in (1, 2):
        with workers(count) as pool:
            runs = study.run(tmp_path / str(count), pool, quiet=True)
        results.append({cell: (run.final, run.train, run.curves) for cell, run in runs.items()})
    assert results[0] == results[1]


def test_ranking_runs_with_every_arm(tmp_path: Path) -> None:
    task = Ranking(items=3, digits=2, batch=8, steps=3, every=2, hidden=(8,), rates=(1e-2,))
    study = Study(task=task, tuning=1, seeds=1)
    with workers(1) as pool:
        runs = study.run(tmp_path, pool, quiet=True)
    assert len(runs) == 2 * len(task.arms)
    assert all(run.failure is None for run in runs.values())


def test_progress_is_shown_unless_quiet(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study.run(tmp_path / "loud", Counting())
    shown = capsys.readouterr()
    assert "totals: learning rates: 100%" in shown.err
    assert "totals: fresh seeds: 100%" in shown.err
    assert shown.out == ""
    study.run(tmp_path / "quiet", Counting(), quiet=True)
    assert capsys.readouterr().err == ""
