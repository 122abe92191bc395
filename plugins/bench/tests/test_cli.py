"""The command: help that helps, errors that say what to do, and no torch before a study starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlcore.cli import main


def test_registering_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import argparse, sys, nlcore_bench, nlcore_bench._plugin as plugin\n"
        "plugin.nlcore_commands(argparse.ArgumentParser().add_subparsers())\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'numpy', 'tqdm', 'joblib', 'scipy'} & set(sys.modules)\n"
        "list(plugin.nlcore_tasks()), list(plugin.nlcore_studies())\n"
        "import nlcore_bench.catalogue as catalogue\n"
        "assert catalogue.shipped()\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'numpy', 'joblib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], ["list", "run", "resume", "status", "report", "engine", "examples:"]),
        (
            ["run", "--help"],
            ["STUDY", "--seeds", "--out", "--methods", "--tasks", "--optimizers", "--workers", "--quick"],
        ),
        (["engine", "--help"], ["--out", "--quick", "--quiet"]),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], words: list[str], shown: list[str]) -> None:
    assert main(["bench", *words]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in shown)


def test_the_list_has_every_study_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"minutes on one core$", lines[0])
    totals = next(line for line in lines if line.startswith("totals "))
    assert re.search(r"running totals +nlcore-bench \S+ +196 +4$", totals)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "fischer"], "did you mean 'fisher'?"),
        (["--tasks", "total"], "did you mean 'totals'?"),
        (["--seeds", "0"], "--seeds was given 0"),
        (["--workers", "0"], "--workers was given 0"),
        (["--seeds", "x"], "invalid int value"),
        (["--seeds", str(2**70)], "--seeds was given a number of 22 digits; give 1 or more, at most 1000"),
        (["--workers", str(10**9)], "--workers was given 1000000000"),
        (["--workers", "9" * 5000], "invalid int value"),
        (["--option", "lenght=3"], "did you mean 'length'"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str) -> None:
    assert main(["bench", "run", "totals", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["resume", "status", "report"])
def test_a_study_that_has_not_begun(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    assert main(["bench", command, "totals", "--out", str(tmp_path)]) == 2
    assert "`nlcore bench run` begins one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_study_from_run_to_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["totals", "--quick", "--out", str(tmp_path)]
    assert main(["bench", "run", *words, "--methods", "plain", "fisher", "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert "empirical Fisher" in shown.out
    assert "100%" in shown.err
    folder = tmp_path / "totals"
    assert json.loads((folder / "settings.json").read_text())["settings"]["steps"] == 60
    report = (folder / "report.txt").read_text()
    assert report in shown.out
    last = " ".join(shown.out.partition(report)[2].split())
    assert "In short - Reading 16 digits from their running totals. Compared: digits right on held-out data." in last
    assert re.search(r"Empirical Fisher is (better|level|worse) (than|with) plain \(.*\)\. With 1 seed .*\.$", last)
    assert main(["bench", "status", *words]) == 0
    assert "totals: 12 of 42 runs are finished" in capsys.readouterr().out
    assert main(["bench", "resume", *words, "--methods", "clipping", "--workers", "1", "--quiet"]) == 0
    assert "gradient clipping" in capsys.readouterr().out
    assert main(["bench", "report", *words]) == 0
    assert (folder / "report.txt").read_text() in capsys.readouterr().out
    assert main(["bench", "run", "totals", "--out", str(tmp_path), "--quiet"]) == 1
    assert "steps is 60 there and 500 here" in capsys.readouterr().err


def test_a_second_study_without_its_data_stops_before_the_first_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def written(name: str, options: str) -> str:
        (tmp_path / f"{name}.toml").write_text(
            f'id = "{name}"\ntitle = "{name}"\nsteps = 1\nevery = 1\nseeds = 1\nlearning_rates = [0.1]\n'
            "[methods.plain]\n"
            f'[tasks.one]\nid = "bench/totals-v1"\noptions = {{ length = 2, batch = 2, hidden = [4]{options} }}\n'
        )
        return str(tmp_path / f"{name}.toml")

    studies = [written("embedded", ""), written("elsewhere", ', folder = "nowhere"')]
    assert main(["bench", "run", *studies, "--quiet", "--out", str(tmp_path / "runs")]) == 2
    assert "nowhere has neither" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_study_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nlcore_bench.run.train_cell", interrupt)
    assert main(["bench", "run", "ranking", "--quick", "--workers", "1", "--quiet", "--out", str(tmp_path)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["engine"], ["run", "totals"], ["run", "defaults"]])
def test_a_folder_that_cannot_be_made_is_named_before_any_time_is_spent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def spend(*_: object, **__: object) -> None:
        raise AssertionError("time was spent")

    for name in ("engine.run_bench", "run.train_cell"):
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


def test_the_old_commands_still_work_and_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--quick", "--workers", "1", "--quiet", "--out", str(tmp_path), "--methods", "plain"]
    assert main(["bench", "totals", *words]) == 0
    assert "deprecated and will be removed in 0.3; use nlcore bench run totals." in capsys.readouterr().err
    assert (tmp_path / "totals" / "report.md").exists()


def test_a_cluster_without_dask_names_the_extra(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["bench", "run", "totals", "--out", str(tmp_path), "--cluster", "tcp://127.0.0.1:8786"]
    assert main(words) == 2
    assert "the extra `cluster` of nlcore-bench. Run: pip install distributed." in capsys.readouterr().err
    assert main([*words, "--workers", "2"]) == 2
    assert "leave it out with --cluster" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
