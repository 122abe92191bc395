"""SIGKILL at random moments loses nothing that was finished, and the report is that of an undisturbed study."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

STUDY = """
id = "killed"
title = "Reading 4 digits"
steps = 600
every = 100
seeds = 2
tuning_seeds = 1
learning_rates = [0.001, 0.01]

[tasks.totals]
id = "bench/totals"
options = { length = 4, batch = 16, hidden = [16] }

[methods.plain]

[methods.fisher]
curvature = { EmpiricalFisher = { damping = { relative = 0.1 } } }

[methods.default]
curvature = "Auto"
"""
CODE = """
import sys
import nlcore_bench.train
nlcore_bench.train.CHECKPOINT_SECONDS = 0.02
from nlcore.cli import main
sys.exit(main(["bench", *sys.argv[1:]]))
"""


def started(*words: str) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL  # a pipe would be held open by the workers, which end half a second later
    return subprocess.Popen([sys.executable, "-c", CODE, *words], stdout=nowhere, stderr=nowhere)


def finished(*words: str) -> str:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(folder: Path) -> list[tuple[str, int]]:
    """Return the files of a study with the times of their last change."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a checkpoint of a run that has just ended
            found += [(path.name, path.stat().st_mtime_ns)] if path.suffix in {".jsonl", ".pt"} else []
    return sorted(found)


def records(folder: Path) -> dict[str, Any]:
    """Return the runs by their names, without their times, which no two studies share."""
    found = {}
    *lines, _ = (folder / "runs.jsonl").read_text().split("\n")  # the last one may be torn
    for line in lines:
        run = json.loads(line)
        values = {name: run.pop(name) for name in ("final", "train", "steps", "curves", "failure")}
        for name in ("seconds", "cpu_seconds", "times"):
            del run[name]
        name = json.dumps(run, sort_keys=True)
        assert name not in found, "a finished run was repeated"
        found[name] = values
    return found


def report(folder: Path) -> str:
    """Return the report of the runs with times of 1."""
    path = folder / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    for run in runs:
        run |= {"seconds": 1.0, "cpu_seconds": 1.0, "times": [1.0 for _ in run["times"]]}
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return finished("report", str(folder.parent / "killed.toml"), "--out", str(folder.parent)).replace(str(folder), "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_study_that_is_killed_ten_times_gives_the_same_report(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "killed.toml").write_text(STUDY)
    words = ["--workers", "2", "--quiet", "--out"]
    finished("run", str(tmp_path / "whole/killed.toml"), *words, str(tmp_path / "whole"))
    chance, kept = random.Random(0), dict[str, Any]()
    folder, study = tmp_path / "killed" / "killed", str(tmp_path / "killed/killed.toml")
    for _ in range(10):
        before = written(folder)
        with started("run", study, *words, str(folder.parent)) as child:
            while child.poll() is None and written(folder) == before:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.4))
            assert child.poll() is None, "the study is too short to be killed ten times"
            os.kill(child.pid, signal.SIGKILL)
        now = records(folder) if (folder / "runs.jsonl").exists() else {}
        assert {name: now[name] for name in kept} == kept
        kept = now
    finished("resume", study, *words, str(folder.parent))
    assert records(folder) == records(tmp_path / "whole" / "killed")
    assert report(folder) == report(tmp_path / "whole" / "killed")
    assert not list(folder.glob("checkpoints/*"))
