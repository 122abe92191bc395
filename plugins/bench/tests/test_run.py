"""The runs of a study: the same budget for all, fresh seeds, optimisers, equal time, and going on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlcore.errors import ConfigError
from nlcore_bench import Cell, Plan, ResultsError, Run, Study, load, run_study
from nlcore_bench.run import _environment, _Remote, open_store, progress, train_cell
from nlcore_bench.study import Candidate, Entry


class Counting:
    """Replaces the training, remembers the cells, and is interrupted after `limit` of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int = 10**6) -> None:
        self.limit, self.done = limit, list[Cell]()
        monkeypatch.setattr("nlcore_bench.run.train_cell", self)

    def __call__(self, study: Study, entry: Entry, cell: Cell, checkpoint: Path | None = None) -> Run:
        if len(self.done) == self.limit:
            raise KeyboardInterrupt
        self.done.append(cell)
        return train_cell(study, entry, cell, checkpoint)


def numbers(runs: Mapping[Cell, Run]) -> dict[Cell, Any]:
    return {cell: (run.final, run.train, run.curves) for cell, run in runs.items()}


def test_every_method_gets_the_same_runs_and_fresh_seeds(study: Study, tmp_path: Path) -> None:
    runs = run_study(study, tmp_path, quiet=True).runs
    assert Counter((cell.method, cell.phase) for cell in runs) == {
        (name, phase): count for name in study.methods for phase, count in (("tune", 4), ("report", 2))
    }
    seeds = {phase: {cell.seed for cell in runs if cell.phase == phase} for phase in ("tune", "report")}
    assert seeds == {"tune": {0, 1}, "report": {1000, 1001}}
    assert all(bool(run.curves) == (cell.phase == "report") for cell, run in runs.items())


@pytest.mark.parametrize("limit", [0, 5, 18])
def test_a_stopped_study_goes_on_and_ends_the_same(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    whole = run_study(study, tmp_path / "whole", quiet=True).runs
    stopped = tmp_path / "stopped"
    Counting(monkeypatch, limit)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, stopped, quiet=True)
    lines = (stopped / "runs.jsonl").read_bytes()
    (stopped / "runs.jsonl").write_bytes(lines[:-7])  # a kill came in the middle of the last line
    rest = Counting(monkeypatch)
    assert numbers(run_study(study, stopped, quiet=True).runs) == numbers(whole)
    assert len(rest.done) == len(whole) - max(0, limit - 1)
    assert run_study(study, stopped, quiet=True).runs.keys() == whole.keys()
    assert len(rest.done) == len(whole) - max(0, limit - 1)  # a finished study is not repeated


def test_seeds_methods_tasks_and_learning_rates_can_be_added(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load(content)
    run_study(study, tmp_path, entries=study.entries(methods=["plain"]), quiet=True)
    content["seeds"] = 3
    content["methods"]["half"] = {"curvature": "Auto"}
    content["tasks"]["longer"] = {"id": "bench/totals", "options": {"length": 4, "hidden": [8]}}
    more = Counting(monkeypatch)
    runs = run_study(load(content), tmp_path, quiet=True).runs
    plain = [(cell.phase, cell.seed) for cell in more.done if (cell.method, cell.task) == ("plain", "totals")]
    assert plain == [("report", 1002)]
    assert len(runs) == 2 * 5 * (4 + 3)
    settings = json.loads((tmp_path / "settings.json").read_text())["settings"]
    assert set(settings["tasks"]) == {"totals", "longer"}
    assert "half" in settings["methods"]
    run_study(study, tmp_path, quiet=True)  # the study without them still fits


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 7}, "steps is 6 there and 7 here"),
        ({"schedule": "constant"}, "schedule"),
        ({"tasks": {"totals": {"id": "bench/totals", "options": {"length": 4}}}}, "tasks.totals.options.length"),
        ({"optimizers": {"adam": {"kind": "sgd"}}}, "optimizers.adam.kind"),
        ({"methods": {"plain": {"clip": 1.0}}}, "methods.plain.clip is absent there and 1.0 here"),
    ],
)
def test_other_settings_are_refused_before_anything_runs(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], word: str
) -> None:
    study = load(content)
    run_study(study, tmp_path, entries=study.entries(methods=["plain"]), quiet=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    again = Counting(monkeypatch)
    with pytest.raises(ResultsError, match=word):
        run_study(load({**content, **change}), tmp_path, quiet=True)
    assert again.done == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_record_without_the_measures_of_the_task_is_named(study: Study, tmp_path: Path) -> None:
    run_study(study, tmp_path, entries=study.entries(methods=["plain"]), quiet=True)
    path = tmp_path / "runs.jsonl"
    lines = path.read_text().splitlines()
    for field in ("final", "train"):
        wrong = json.dumps({**json.loads(lines[2]), field: {"exact": 1.0}})
        path.write_text("\n".join([*lines[:2], wrong, *lines[3:], ""]))
        with pytest.raises(ResultsError, match=rf"line 3: .*{field} has \['exact'\] in place of .* \['accuracy'\]"):
            run_study(study, tmp_path, quiet=True)


def made(
    values: Mapping[tuple[str, float], Sequence[float]], failed: Sequence[tuple[str, float]] = ()
) -> dict[Cell, Run]:
    runs = {}
    for (method, rate), finals in values.items():
        for seed, value in enumerate(finals):
            cell = Cell("tune", method, rate, seed, task="totals")
            failure = "step 3: NaN" if (method, rate) in failed else None
            runs[cell] = Run(cell, {"accuracy": value}, {}, (), {}, 0.0, 1.0, failure)
    return runs


def test_the_learning_rate_with_the_best_mean_wins(study: Study) -> None:
    values = {
        ("plain", 1e-3): (40.0, 60.0),
        ("plain", 1e-2): (49.0, 49.0),
        ("fisher", 1e-3): (50.0, 50.0),
        ("fisher", 1e-2): (50.0, 50.0),  # of equal ones the smaller
    }
    plain, fisher = study.entries(methods=["plain", "fisher"])
    plan = Plan(study, made(values))
    assert (plan.best(plain), plan.best(fisher)) == (Candidate(1e-3), Candidate(1e-3))
    assert Plan(study, made(values, failed=[("plain", 1e-3)])).best(plain) == Candidate(1e-2)


def test_runs_for_equal_time_are_as_long_as_the_baseline_s_in_time(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["methods"] = {name: content["methods"][name] for name in ("plain", "fisher")}
    runs = run_study(load({**content, "steps": 20}), tmp_path, quiet=True).runs
    timed = load({**content, "steps": 20, "equal_time": True})
    plain, fisher = timed.entries()
    for seconds, length in (({"plain": 2.0, "fisher": 5.0}, 8), ({"plain": 5.0, "fisher": 2.0}, 20)):
        plan = Plan(timed, {cell: replace(run, cpu_seconds=seconds[cell.method]) for cell, run in runs.items()})
        assert [(cell.seed, cell.length) for cell in plan.timed(fisher)] == [(1000, length), (1001, length)]
        assert plan.timed(plain) == []
        early = {  # of two learning rates one fails at once: its runs say nothing of the time of a step
            cell: replace(run, cpu_seconds=1e-3, failure="step 1") if cell.learning_rate == 1e-2 else run
            for cell, run in plan.runs.items()
        }
        assert [cell.length for cell in Plan(timed, early).timed(fisher)] == [length, length]
    more = Counting(monkeypatch)
    plan = run_study(timed, tmp_path, quiet=True)  # a finished folder is gone on with
    assert {cell.phase for cell in more.done} == {"timed"}
    cell = plan.timed(fisher)[0]
    short = load({**content, "steps": cell.length})
    assert plan.runs[cell].final == train_cell(short, fisher, replace(cell, phase="report", length=None)).final


def test_learning_rates_are_taken_from_another_study(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tmp_path / "short.toml"
    monkeypatch.setattr("nlcore_bench.run.find", lambda _: load(content))
    long = load({**content, "id": "long", "steps": 9, "learning_rates_from": str(short), "learning_rates": []})
    with pytest.raises(ResultsError, match="holds no study"):
        run_study(long, tmp_path / "long", quiet=True)
    plan = run_study(load(content), tmp_path / "small", quiet=True)
    found = run_study(long, tmp_path / "long", quiet=True)
    assert {cell.phase for cell in found.runs} == {"report"}
    for entry in plan.entries:
        assert {cell.learning_rate for cell in found.reported(entry)} == {plan.best(entry).learning_rate}


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "muon", "soap"])
def test_every_optimiser_trains(content: dict[str, Any], kind: str) -> None:
    if kind == "soap":
        pytest.importorskip("pytorch_optimizer")
    content["optimizers"] = {kind: {"kind": kind}}
    study = load({**content, "steps": 30})
    entry = study.entries(methods=["supervised"])[0]
    start, end = (
        train_cell(study, entry, Cell("report", "supervised", rate, 1000, task="totals", optimizer=kind))
        for rate in (1e-12, 1e-2)
    )
    assert end.failure is None
    assert end.final["accuracy"] > start.final["accuracy"]


def test_the_number_of_processes_changes_no_result(study: Study, tmp_path: Path) -> None:
    chosen = study.entries(methods=["plain", "fisher"])
    one, two = (run_study(study, tmp_path / str(n), entries=chosen, workers=n, quiet=True).runs for n in (1, 2))
    assert numbers(one) == numbers(two)


def test_progress_is_shown_unless_quiet(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_study(study, tmp_path, entries=study.entries(methods=["plain"]))
    shown = capsys.readouterr()
    assert "small: 100%" in shown.err
    assert shown.out == ""
    run_study(study, tmp_path, entries=study.entries(methods=["plain"]), quiet=True)
    assert capsys.readouterr().err == ""
    assert progress(study, tmp_path).startswith("6 of 24 runs are finished, 0 have a checkpoint, about 0.0 minutes")
    assert len(open_store(study, tmp_path).runs) == 6


def test_a_worker_of_a_cluster_gives_the_same_run_or_names_the_versions_that_differ(study: Study) -> None:
    entry = study.entries()[0]
    cell = Cell("report", entry.name, 0.01, 1000, task=entry.task)
    there = _Remote(study, entry, cell, {**_environment(), "python": "3.0"})()
    assert numbers({cell: there}) == numbers({cell: train_cell(study, entry, cell)})
    with pytest.raises(ConfigError, match=r"the same numbers: torch is \S+ there and 1\.0 here\."):
        _Remote(study, entry, cell, {**_environment(), "torch": "1.0"})()
