"""Commands of the Makefile that repeat names of the library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nlcore_bench.catalogue import shipped

ROOT = Path(__file__).parents[2]
OUTER = {"PYTHON", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of a `make` that runs these tests


def test_the_small_studies_are_all_that_there_are() -> None:
    words = re.search(r"^STUDIES := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert words is not None
    assert sorted(words[1].split()) == sorted(shipped())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_results_are_those_of_every_study_on_record() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OUTER}
    command = ["make", "-n", "-s", "results", "MNIST=mnist"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if "bench run" in line]
    alone = {word: "--workers" in line for line in lines for word in line if word in shipped()}
    assert sorted(alone) == sorted(path.parent.name for path in (ROOT / "docs/results").glob("*/runs.jsonl"))
    assert alone == {id: shipped()[id][1].equal_time for id in alone}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_check_on_a_gpu_uses_the_python_that_is_given() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OUTER}

    def said(*words: str) -> str:
        command = ["make", "-n", "-s", "gpu", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    given = said("PYTHON=/usr/bin/python3.12", "MNIST=a b", "WHEELS=w")
    assert given.split() == '/usr/bin/python3.12 -m tools.gpu --mnist "a b" --wheels "w"'.split()
    assert ".venv/bin/python -m tools.gpu" in said()
