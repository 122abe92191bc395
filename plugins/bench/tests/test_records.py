"""The folder of a study: whole lines, a tolerated tail, and no mixing of settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlcore.errors import NlcoreError
from nlcore_bench.files import write_whole
from nlcore_bench.records import Cell, ResultsError, Run, Store

SETTINGS: dict[str, Any] = {
    "steps": 6,
    "rates": (0.1, 0.2),
    "arms": {"plain": {"clip": None}, "fisher": {"damping": 0.1}},
}


def run(seed: int, value: float = 50.0) -> Run:
    return Run(
        cell=Cell("report", "plain", 0.1, seed),
        final={"accuracy": value},
        train={"accuracy": value + 1},
        steps=(4, 6),
        curves={"accuracy": (1 / 3, value)},
        seconds=0.5,
        cpu_seconds=0.25,
        failure=None,
    )


def fill(folder: Path, *seeds: int) -> Store:
    store = Store(folder, SETTINGS)
    with store.writing():
        for seed in seeds:
            store.add(run(seed))
    return store


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    store = fill(tmp_path / "a" / "b", 0, 1, 2)
    again = Store(tmp_path / "a" / "b", SETTINGS)
    assert again.runs == store.runs
    assert again.runs[run(1).cell] == run(1)


def test_dampings_lengths_and_times_are_kept_and_may_be_missing(tmp_path: Path) -> None:
    plain = run(0)
    full = replace(plain, cell=replace(plain.cell, phase="timed", damping=10.0, length=7), times=(0.5, 1.5))
    assert Run.parse(full.line()) == full
    body = json.loads(plain.line())
    assert not {"damping", "length"} & set(body)
    del body["times"]  # as older studies wrote it
    assert Run.parse(json.dumps(body)) == plain


def test_a_cell_is_written_once(tmp_path: Path) -> None:
    store = fill(tmp_path, 0)
    with store.writing():
        store.add(run(0, 60.0))
    assert store.runs[run(0).cell] == run(0)
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_off_by_a_kill_is_dropped_and_the_file_repaired(tmp_path: Path, cut: int) -> None:
    fill(tmp_path, 0, 1)
    path = tmp_path / "runs.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    cut_off = path.read_bytes()
    assert list(Store(tmp_path, SETTINGS).runs) == [run(0).cell]
    assert path.read_bytes() == cut_off  # a reader changes nothing
    fill(tmp_path, 1)
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 1]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    fill(tmp_path, 0)
    path = tmp_path / "runs.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ResultsError, match="line 1"):
        Store(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": 7}, ["steps is 6 there and 7 here"]),
        ({"rates": (0.1, 0.3)}, ["rates is [0.1, 0.2] there and [0.1, 0.3] here"]),
        ({"arms": {**SETTINGS["arms"], "fisher": {"damping": 1.0}}}, ["arms.fisher.damping is 0.1 there and 1.0 here"]),
        ({"arms": {"plain": {"clip": None}}}, ["arms.fisher.damping is 0.1 there and absent here"]),
        ({"batch": 4}, ["batch is absent there and 4 here"]),
        ({"steps": 7, "a": 1, "b": 2, "c": 3}, ["1 more"]),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: dict[str, object], words: list[str]) -> None:
    fill(tmp_path, 0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(NlcoreError) as caught:
        Store(tmp_path, {**SETTINGS, **changed})
    for word in [*words, str(tmp_path), "--out"]:
        assert word in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_environment_may_differ(tmp_path: Path) -> None:
    Store(tmp_path, SETTINGS, {"torch": "1"})
    Store(tmp_path, SETTINGS, {"torch": "2"})
    assert json.loads((tmp_path / "settings.json").read_text())["environment"] == {"torch": "1"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 3}'])
def test_settings_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ResultsError, match=r"settings\.json"):
        Store(tmp_path, SETTINGS)


def test_runs_without_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(ResultsError, match=r"settings\.json"):
        Store(tmp_path, SETTINGS)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultsError, match="taken"):
        Store(tmp_path / "taken", SETTINGS)


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    first = Store(tmp_path, SETTINGS)
    second = Store(tmp_path, SETTINGS)
    with first.writing(), pytest.raises(ResultsError, match="another"), second.writing():
        pass
    with second.writing():
        second.add(run(0))
    with first.writing():
        assert list(first.runs) == [run(0).cell]  # what the other one added is not repeated


def test_adding_needs_the_right_to_write(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="writing"):
        Store(tmp_path, SETTINGS).add(run(0))


def test_numbers_that_are_not_finite_never_reach_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path, SETTINGS)
    with store.writing(), pytest.raises(ValueError, match="JSON"):
        store.add(run(0, float("nan")))
    assert (tmp_path / "runs.jsonl").read_bytes() == b""


def test_write_whole_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.txt"
    write_whole(path, "old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("nlcore_bench.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.txt"]
