"""The folder of a study: whole lines, a tolerated tail, and no mixing of settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlcore.errors import NlcoreError
from nlcore_bench.files import write_whole
from nlcore_bench.records import Cell, ResultsError, Run, Store

SETTINGS: dict[str, Any] = {
    "steps": 6,
    "learning_rates": (0.1, 0.2),
    "methods": {"plain": {"clip": None}, "fisher": {"damping": 0.1}},
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
    full = replace(
        plain,
        cell=replace(plain.cell, phase="timed", damping=10.0, length=7, task="a", optimizer="sgd"),
        times=(0.5, 1.5),
    )
    assert Run.parse(full.line()) == full
    body = json.loads(plain.line())
    assert not {"damping", "length", "task", "optimizer"} & set(body)
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
        ({"learning_rates": (0.1, 0.3)}, ["learning_rates is [0.1, 0.2] there and [0.1, 0.3] here"]),
        (
            {"methods": {**SETTINGS["methods"], "fisher": {"damping": 1.0}}},
            ["methods.fisher.damping is 0.1 there and 1.0 here"],
        ),
        ({"methods": {"plain": {"clip": None, "damping": 1}}}, ["methods.plain.damping is absent there and 1 here"]),
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


def test_methods_and_tasks_that_one_side_lacks_are_added(tmp_path: Path) -> None:
    fill(tmp_path, 0)
    less = {**SETTINGS, "methods": {"plain": {"clip": None}}, "tasks": {"new": {"id": "a/b-v1"}}}
    store = Store(tmp_path, less, {"torch": "2"})
    assert list(store.runs) == [run(0).cell]
    with store.writing():
        pass
    found = json.loads((tmp_path / "settings.json").read_text())
    assert found["settings"]["methods"] == SETTINGS["methods"]
    assert found["settings"]["tasks"] == less["tasks"]
    assert found["environment"] == {}
    fill(tmp_path, 1)


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


def opened(folder: Path, *lines: str | bytes, measures: tuple[str, ...] = ("accuracy",)) -> Store:
    """Open a folder whose `runs.jsonl` has these lines."""
    Store(folder, SETTINGS)
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / "runs.jsonl").write_bytes(b"".join(line + b"\n" for line in raw))
    return Store(folder, SETTINGS, measures={"": measures})


GOOD = run(0).line()
VALUES = json.loads(GOOD)
NO_NUMBERS = ["1", True, None, [1], {"a": 1}, float("nan"), float("inf"), 10**400]
NO_COUNTS = ["1", True, None, [1], 0.5, 1.0, -1, float("nan"), 10**30]
NO_TEXTS = [5, True, ["a"], {"a": "b"}, "\ud800"]
NO_OBJECTS = ["abc", 1, None, [["accuracy", 1.0]]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("phase", value) for value in ["evil", "", 1, None, ["tune"]]),
        *(("method", value) for value in [*NO_TEXTS, None]),
        *(("learning_rate", value) for value in [*NO_NUMBERS, 0, -0.1]),
        *(("seed", value) for value in NO_COUNTS),
        *(("damping", value) for value in [*NO_NUMBERS, -1.0] if value is not None),
        *(("length", value) for value in [*NO_COUNTS, 0] if value is not None),
        *((name, value) for name in ("final", "train") for value in NO_OBJECTS),
        *((name, {"accuracy": value}) for name in ("final", "train") for value in NO_NUMBERS),
        *(("steps", value) for value in ["46", 4, None, {"4": 6}, [6, 4], [4, 4]]),
        *(("steps", [value, 6]) for value in NO_COUNTS),
        *(("curves", value) for value in NO_OBJECTS),
        *(("curves", {"accuracy": value}) for value in ["xy", 1.0, None, [1.0], [1.0, 2.0, 3.0]]),
        *(("curves", {"accuracy": [value, 1.0]}) for value in NO_NUMBERS),
        *((name, value) for name in ("seconds", "cpu_seconds") for value in [*NO_NUMBERS, -1.0]),
        *(("failure", value) for value in NO_TEXTS),
        *(("times", value) for value in ["12", 1.0, None, [1.0], [1.0, "2"], [1.0, float("nan")], [-1.0, 1.0]]),
    ],
)
def test_a_value_of_another_type_is_named_with_its_line_and_field(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ResultsError, match=rf"runs\.jsonl, line 2: not a record of a run \({field}\b.*Remove the line"):
        opened(tmp_path, run(1).line(), json.dumps({**VALUES, field: value}), run(2).line())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        *(
            (json.dumps({name: VALUES[name] for name in VALUES if name != one}), f"the field {one} is missing")
            for one in VALUES
            if one != "times"
        ),
        (json.dumps({**VALUES, "accuracy": 1.0}), "the field accuracy is unknown"),
        (json.dumps({**VALUES, "cell": {"seed": 1}}), "not a JSON object with the fields of a run"),
        (GOOD.replace('"seed": 0', '"seed": 0, "seed": 1'), "the key 'seed' occurs twice"),
        (GOOD.replace('{"accuracy": 50.0}', '{"accuracy": 50.0, "accuracy": 9.0}'), "the key 'accuracy' occurs twice"),
        (json.dumps({**VALUES, "final": {"exact": 1.0}}), r"final has \['exact'\] in place of .* \['accuracy'\]"),
        (json.dumps({**VALUES, "train": {}}), r"train has \[\] in place of"),
        (json.dumps({**VALUES, "curves": {}}), r"curves has \[\] in place of"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('"seconds": 1'.join(["{", "0" * 5000 + "}"]), "digits"),
        (GOOD.encode().replace(b"plain", b"pl\xffin"), "utf-8.*0xff"),
        (GOOD.encode("utf-16"), "utf-8.*0xff"),
        ("\ufeff" + GOOD, "BOM"),
        (GOOD[:-20] + GOOD, "not JSON"),
        (b"\0" * 40, "not JSON"),
        *((line, "not a JSON object") for line in ("[]", "3", "null", '"text"')),
        *((line, "not JSON") for line in ("", " ", "no json")),
    ],
)
def test_a_line_that_is_not_a_record_is_named(tmp_path: Path, line: str | bytes, words: str) -> None:
    with pytest.raises(ResultsError, match=rf"runs\.jsonl, line 2: not a record of a run \(.*{words}.*Remove the line"):
        opened(tmp_path, run(1).line(), line, run(2).line())


def test_a_line_that_is_repeated_is_read_once_and_a_contradiction_is_named(tmp_path: Path) -> None:
    lines = [run(seed).line() for seed in range(3)]
    assert len(opened(tmp_path, *lines, lines[1]).runs) == 3
    assert len(opened(tmp_path, *(f"{line}\r" for line in lines)).runs) == 3
    for other in (run(1, 60.0), replace(run(1), seconds=9.0), replace(run(1), failure="step 3: NaN")):
        with pytest.raises(ResultsError, match=r"line 4: another result of the run of line 2 \(.*plain.*seed 1\)"):
            opened(tmp_path, *lines, other.line())


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    line = json.dumps({**VALUES, "final": {"accuracy": 50}, "learning_rate": 1})
    assert opened(tmp_path, line).runs[replace(run(0).cell, learning_rate=1.0)].final == {"accuracy": 50.0}


def test_a_kill_at_any_byte_of_a_write_costs_that_run_alone(tmp_path: Path) -> None:
    fill(tmp_path, 0, 1)
    path = tmp_path / "runs.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        store = Store(tmp_path, SETTINGS)
        assert list(store.runs) == [run(0).cell]
        with store.writing():
            store.add(run(1))
        assert path.read_bytes() == whole


CHILD = """
import sys
from pathlib import Path
from nlcore_bench.records import Cell, ResultsError, Run, Store
store = Store(Path(sys.argv[1]), {"a": 1})
with store.writing():
    for seed in range(int(sys.argv[2])):
        limit(seed)
        cell = Cell("tune", "plain", 0.1, seed)
        try:
            store.add(Run(cell, {"m": 0.5}, {"m": 0.5}, tuple(range(100)), {"m": (0.25,) * 100}, 1.0, 1.0, None))
        except ResultsError as error:
            print(error, file=sys.stderr)
        else:
            print(seed, flush=True)
"""


def test_a_kill_loses_no_run_that_was_added(tmp_path: Path) -> None:
    for _ in range(3):
        code = "limit = lambda seed: None" + CHILD
        command = [sys.executable, "-c", code, str(tmp_path), "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            added = [int(child.stdout.readline()) for _ in range(20)]
            child.kill()
            added += [int(line) for line in child.stdout]
        kept = {cell.seed for cell in Store(tmp_path, {"a": 1}).runs}
        assert set(added) <= kept


@pytest.mark.skipif(os.name != "posix", reason="limits on file sizes are POSIX")
def test_a_full_disk_loses_the_run_that_did_not_fit_alone(tmp_path: Path) -> None:
    limit = """
import resource
def limit(seed):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = (Path(sys.argv[1]) / "runs.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300 if seed in (2, 4) else hard, hard))
"""
    child = subprocess.run(
        [sys.executable, "-c", limit + CHILD, str(tmp_path), "6"], capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == ["0", "1", "3", "5"]
    assert "runs.jsonl: File too large. The 2 earlier runs are kept; free some space" in child.stderr
    assert sorted(cell.seed for cell in Store(tmp_path, {"a": 1}).runs) == [0, 1, 3, 5]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"final": {"accuracy": "50"}}, "final.accuracy is '50'"),
        ({"final": {"exact": 1.0}}, "final has"),
        ({"curves": {"accuracy": (1.0,)}}, "curves.accuracy has 1 values for 2 steps"),
        ({"failure": object()}, "not JSON serializable"),
    ],
)
def test_a_run_that_could_not_be_read_again_is_not_stored(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    store = Store(tmp_path, SETTINGS, measures={"": ["accuracy"]})
    with store.writing():
        store.add(run(0))
        with pytest.raises(ResultsError, match=rf"the run \(.*seed 1\) cannot be stored as JSON: .*{words}"):
            store.add(replace(run(1), **changed))
        store.add(run(2))
    assert [cell.seed for cell in Store(tmp_path, SETTINGS).runs] == [0, 2]


@pytest.mark.parametrize("name", ["settings.json", "runs.jsonl"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    Store(tmp_path, SETTINGS)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(ResultsError, match=rf"{name}.*directory"):
        Store(tmp_path, SETTINGS)


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> bool:
        raise OSError(37, "No locks available")

    store = Store(tmp_path, SETTINGS)
    monkeypatch.setattr("nlcore_bench.records.lock", refuse)
    with pytest.raises(ResultsError, match=r"runs\.jsonl for writing: .*No locks available"), store.writing():
        pass


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, SETTINGS)
    path = tmp_path / "settings.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 2'))
    with pytest.raises(ResultsError, match=r"another version of nlcore-bench \(format 2; this one has format 3\)"):
        Store(tmp_path, SETTINGS)
