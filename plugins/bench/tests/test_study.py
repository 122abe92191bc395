"""A study from end to end: the same budget for all, fresh seeds, and going on after a kill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from nlcore.errors import ConfigError
from nlcore_bench import Paths, Ranking, ResultsError, Study, Task, Totals, workers
from nlcore_bench.methods.base import Candidate
from nlcore_bench.methods.totals import TOTALS
from nlcore_bench.records import Cell, Run, Store
from nlcore_bench.study import run_cell
from nlcore_bench.train import train


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


def test_every_method_gets_the_same_runs_and_fresh_seeds(study: Study, tmp_path: Path) -> None:
    counting = Counting()
    runs = study.run(tmp_path, counting, quiet=True)
    assert set(runs) == set(counting.done)
    assert Counter((cell.method, cell.phase) for cell in runs) == {
        (method.name, phase): count for method in study.chosen for phase, count in (("tune", 4), ("report", 2))
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
    Study(task=study.task, methods=("plain",), tuning=2, seeds=1).run(tmp_path, Counting(), quiet=True)
    more = Counting()
    study.run(tmp_path, more, quiet=True)
    assert Counter((cell.method, cell.phase) for cell in more.done if cell.method == "plain") == {
        ("plain", "report"): 1
    }


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


def test_a_record_without_the_metrics_of_the_task_is_named(study: Study, tmp_path: Path) -> None:
    study.run(tmp_path, Counting(), quiet=True)
    path = tmp_path / "runs.jsonl"
    lines = path.read_text().splitlines()
    for field in ("final", "train"):
        wrong = json.dumps({**json.loads(lines[2]), field: {"exact": 1.0}})
        path.write_text("\n".join([*lines[:2], wrong, *lines[3:], ""]))
        with pytest.raises(ResultsError, match=rf"line 3: .*{field} has \['exact'\] in place of .* \['accuracy'\]"):
            study.run(tmp_path, Counting(), quiet=True)


def runs_of(
    values: Mapping[tuple[str, float], Sequence[float]], failed: Sequence[tuple[str, float]] = ()
) -> Iterator[Run]:
    for (method, learning_rate), finals in values.items():
        for seed, value in enumerate(finals):
            failure = "step 3: NaN" if (method, learning_rate) in failed else None
            yield Run(Cell("tune", method, learning_rate, seed), {"accuracy": value}, {}, (), {}, 0.0, 0.0, failure)


def test_the_learning_rate_with_the_best_mean_wins(study: Study) -> None:
    one = Study(task=study.task, methods=("plain", "fisher"), tuning=2, seeds=1)
    values = {
        ("plain", 1e-3): (40.0, 60.0),
        ("plain", 1e-2): (49.0, 49.0),
        ("fisher", 1e-3): (50.0, 50.0),
        ("fisher", 1e-2): (50.0, 50.0),  # of equal ones the smaller
    }
    best = one.best({run.cell: run for run in runs_of(values)})
    assert best == {"plain": Candidate(1e-3), "fisher": Candidate(1e-3)}
    failing = {run.cell: run for run in runs_of(values, failed=[("plain", 1e-3)])}
    assert one.best(failing)["plain"] == Candidate(1e-2)


@dataclass(frozen=True)
class Tuned(Totals):
    """Totals with a method that has learning rates and dampings of its own."""

    methods: ClassVar = (
        TOTALS[0],
        replace(TOTALS[2], learning_rates=(1e-3, 2e-3), dampings=(0.1, 10.0)),
    )


@pytest.fixture
def tuned() -> Study:
    return Study(
        task=Tuned(length=3, batch=8, steps=20, every=10, hidden=(8,), learning_rates=(1e-3, 1e-2)), tuning=1, seeds=2
    )


def test_a_method_chooses_among_its_learning_rates_times_dampings(tuned: Study) -> None:
    cells = [cell for cell in tuned.tuning_cells() if cell.method == "fisher"]
    assert [(cell.learning_rate, cell.damping) for cell in cells] == [
        (1e-3, 0.1),
        (1e-3, 10.0),
        (2e-3, 0.1),
        (2e-3, 10.0),
    ]
    assert [cell.damping for cell in tuned.tuning_cells() if cell.method == "plain"] == [None, None]
    finals = dict(zip([(cell.learning_rate, cell.damping) for cell in cells], (50.0, 50.0, 50.0, 40.0), strict=True))
    runs = {
        cell: Run(cell, {"accuracy": finals.get((cell.learning_rate, cell.damping), 0.0)}, {}, (), {}, 0.0, 1.0, None)
        for cell in tuned.tuning_cells()
    }
    assert tuned.best(runs)["fisher"] == Candidate(
        1e-3, 10.0
    )  # of equal ones the small learning rate, then the large damping


def test_the_damping_of_a_cell_is_the_one_it_is_trained_with(tuned: Study, tmp_path: Path) -> None:
    runs = tuned.run(tmp_path, Counting(), quiet=True)
    method = TOTALS[2]
    assert method.curvature is not None
    for damping in (0.1, 10.0):
        fixed = replace(method, curvature=replace(method.curvature, damping=damping))
        alone = train(tuned.task, fixed, learning_rate=2e-3, seed=0, part="validation", curves=False)
        assert runs[Cell("tune", "fisher", 2e-3, 0, damping)].train == alone.train
    again = Counting()
    assert tuned.run(tmp_path, again, quiet=True) == runs
    assert again.done == []


def test_runs_for_equal_time_are_as_long_as_the_baseline_s_in_time(tuned: Study, tmp_path: Path) -> None:
    timed = replace(tuned, timed=True)
    untimed = tuned.run(tmp_path, Counting(), quiet=True)
    best = timed.best(untimed)
    seconds = {"plain": 2.0, "fisher": 5.0}
    slow = {cell: replace(run, cpu_seconds=seconds[cell.method]) for cell, run in untimed.items()}
    cells = timed.timed_cells(best, slow)
    assert [(cell.method, cell.seed, cell.length) for cell in cells] == [("fisher", 1000, 8), ("fisher", 1001, 8)]
    quick = {cell: replace(run, cpu_seconds=1 / seconds[cell.method]) for cell, run in untimed.items()}
    assert {cell.length for cell in timed.timed_cells(best, quick)} == {20}  # never longer than the others
    assert tuned.timed_cells(best, slow) == []

    more = Counting()
    timed.run(tmp_path, more, quiet=True)  # a finished folder is gone on with
    assert {cell.phase for cell in more.done} == {"timed"}
    task = replace(timed.task, steps=8)  # type: ignore[type-var]
    run = run_cell(timed.task, cells[0])
    method = timed.chosen[1].damped(cells[0].damping)
    assert (
        run.final
        == train(task, method, learning_rate=cells[0].learning_rate, seed=1000, part="test", curves=False).final
    )


def test_dampings_without_a_curvature_are_refused() -> None:
    with pytest.raises(ConfigError, match="'plain' has dampings"):
        replace(TOTALS[0], dampings=(1.0,))


@pytest.mark.parametrize("task", [Totals(), Ranking(), Paths()], ids=lambda task: task.name)
def test_committed_records_are_still_those_of_their_study(task: Task) -> None:
    folder = Path(__file__).parents[3] / "docs/results" / task.name
    if not folder.exists():
        pytest.skip("records are committed beside the source alone")
    study = Study(task=task, tuning=1 if task.name == "paths" else 2, timed=task.name == "paths")
    store = Store(folder, study.settings())
    assert set(study.tuning_cells()) <= set(store.runs)
    best = study.best(store.runs)
    assert {*study.report_cells(best), *study.timed_cells(best, store.runs)} <= set(store.runs)


def test_wrong_studies_are_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"no method 'fischer' \(did you mean 'fisher'\?\)"):
        Study(task=study.task, methods=("fischer",))
    with pytest.raises(ConfigError, match="seeds was given 0"):
        Study(task=study.task, seeds=0)


def test_the_number_of_processes_changes_no_result(tmp_path: Path) -> None:
    task = Totals(length=3, batch=8, steps=6, every=4, hidden=(8,), learning_rates=(1e-2,))
    study = Study(task=task, methods=("plain", "fisher"), tuning=1, seeds=2)
    results = []
    for count in (1, 2):
        with workers(count) as pool:
            runs = study.run(tmp_path / str(count), pool, quiet=True)
        results.append({cell: (run.final, run.train, run.curves) for cell, run in runs.items()})
    assert results[0] == results[1]


def test_ranking_runs_with_every_method(tmp_path: Path) -> None:
    task = Ranking(items=3, digits=2, batch=8, steps=3, every=2, hidden=(8,), learning_rates=(1e-2,))
    study = Study(task=task, tuning=1, seeds=1)
    with workers(1) as pool:
        runs = study.run(tmp_path, pool, quiet=True)
    assert len(runs) == 2 * len(task.methods)
    assert all(run.failure is None for run in runs.values())


def test_progress_is_shown_unless_quiet(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study.run(tmp_path / "loud", Counting())
    shown = capsys.readouterr()
    assert "totals: learning rates: 100%" in shown.err
    assert "totals: fresh seeds: 100%" in shown.err
    assert shown.out == ""
    study.run(tmp_path / "quiet", Counting(), quiet=True)
    assert capsys.readouterr().err == ""
