"""The command: help that helps, errors that say what to do, and no torch before a study starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nlcore.cli import main


def test_registering_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import argparse, sys, nlcore_bench, nlcore_bench._plugin as plugin\n"
        "plugin.nlcore_commands(argparse.ArgumentParser().add_subparsers())\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'numpy', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["bench", "--help"], ["totals", "ranking", "demo", "examples:"]),
        (
            ["bench", "totals", "--help"],
            ["--seeds", "--steps", "--out", "--methods", "clipping", "supervised", "--quick"],
        ),
        (["bench", "ranking", "--help"], ["neuralsort_fisher", "network_hessian"]),
        (["bench", "engine", "--help"], ["--out", "--quick", "--quiet"]),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], words: list[str], shown: list[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "fischer"], "did you mean 'fisher'?"),
        (["--seeds", "0"], "--seeds was given 0"),
        (["--steps", "-1"], "--steps was given -1"),
        (["--workers", "0"], "--workers was given 0"),
        (["--tuning-seeds", "0"], "--tuning-seeds was given 0"),
        (["--seeds", "x"], "invalid int value"),
        (["--seeds", str(2**70)], "--seeds was given a number of 22 digits; give 1 or more, at most 1000"),
        (["--tuning-seeds", "1001"], "--tuning-seeds was given 1001"),
        (["--steps", "9" * 4000], "--steps was given a number of 4000 digits"),
        (["--workers", str(10**9)], "--workers was given 1000000000"),
        (["--workers", "9" * 5000], "invalid int value"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str) -> None:
    assert main(["bench", "totals", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_study_by_command_and_a_second_one_that_does_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["bench", "totals", "--quick", "--steps", "3", "--methods", "plain", "fisher", "--workers", "1", "--out"]
    assert main([*words, str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "empirical Fisher" in shown.out
    assert "100%" in shown.err
    folder = tmp_path / "totals"
    assert {"curves.png", "runs.jsonl", "settings.json", "table.md", "table.txt"} == {p.name for p in folder.iterdir()}
    assert json.loads((folder / "settings.json").read_text())["settings"]["steps"] == 3
    assert (folder / "table.txt").read_text() in shown.out

    other = [word if word != "3" else "4" for word in words]
    assert main([*other, str(tmp_path), "--quiet"]) == 1
    assert "steps is 3 there and 4 here" in capsys.readouterr().err


def test_an_interrupted_study_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nlcore_bench.study.run_cell", interrupt)
    assert main(["bench", "ranking", "--quick", "--workers", "1", "--quiet", "--out", str(tmp_path)]) == 130
    assert "goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["engine"], ["totals"], ["defaults"]])
def test_a_folder_that_cannot_be_made_is_named_before_any_time_is_spent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def spend(*_: object, **__: object) -> None:
        raise AssertionError("time was spent")

    for name in ("engine.run_bench", "study.run_cell"):
        monkeypatch.setattr(f"nlcore_bench.{name}", spend)
    (tmp_path / "taken").write_text("")
    assert main(["bench", *words, "--quick", "--out", str(tmp_path / "taken")]) == 1
    assert "cannot make the folder" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == ""


@pytest.mark.parametrize(
    ("words", "suite"),
    [(["sorting"], "sorting"), (["sorting", "--quick", "--out", "x"], "sorting"), (["paths", "--speed"], "paths")],
)
def test_timings_beside_other_libraries_are_elsewhere(
    capsys: pytest.CaptureFixture[str], words: list[str], suite: str
) -> None:
    assert main(["bench", *words]) == 2
    assert f"python -m benchmarks {suite}" in capsys.readouterr().err


def test_the_old_name_of_methods_still_works_and_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "totals", "--quick", "--steps", "2", "--workers", "1", "--quiet", "--out"]
    assert main([*words, str(tmp_path / "old"), "--arms", "plain"]) == 0
    shown = capsys.readouterr()
    assert "--arms is deprecated and will be removed in 0.3; use --methods." in shown.err
    assert main([*words, str(tmp_path / "new"), "--methods", "plain"]) == 0
    assert capsys.readouterr().err == ""
    folders = [tmp_path / name / "totals" for name in ("old", "new")]
    cells = [[json.loads(line)["method"] for line in (one / "runs.jsonl").read_text().splitlines()] for one in folders]
    assert cells[0] == cells[1]
    assert set(cells[0]) == {"plain"}
