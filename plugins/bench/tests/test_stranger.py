"""A stranger's wheel with one task and one study, and a study of one's own from the docs: the same commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlcore.cli import main

PAGE = Path(__file__).parents[3] / "docs/reference/bench.md"

FILES = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "stranger"
version = "1.2"
dependencies = ["nlcore"]

[project.entry-points."nlcore.plugins.v1"]
stranger = "stranger.plugin"

[tool.hatch.build.targets.wheel]
packages = ["stranger"]
""",
    "stranger/__init__.py": "",
    "stranger/plugin.py": """
from pathlib import Path

from nlcore.plugin import TaskSpec, hookimpl


@hookimpl
def nlcore_tasks():
    return [TaskSpec(id="stranger/rooms-v1", factory="stranger.task:Rooms", config="stranger.config:RoomsConfig")]


@hookimpl
def nlcore_studies():
    return [Path(__file__).parent / "rooms.toml"]
""",
    "stranger/config.py": """
from nlcore import AlgorithmConfig


class RoomsConfig(AlgorithmConfig):
    walls: int = 3
""",
    "stranger/rooms.toml": """
id = "rooms"
title = "Reading a room from its echo"
steps = 40
every = 20
seeds = 2
learning_rates = [0.003, 0.03]
minutes = 0.1

[tasks.rooms]
id = "stranger/rooms"
options = { walls = 2 }

[methods.plain]

[methods.default]
curvature = "Auto"
""",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stranger's wheel, with the task that the docs show, and install it into a folder."""
    for module in ("build", "hatchling", "pip"):
        pytest.importorskip(module)
    if not PAGE.exists():
        pytest.skip("the docs are beside the source alone")
    project, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    shown = re.search(r"```python\n(import torch\n.*?class Rooms:.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown
    task = shown[1].replace(
        "class Rooms:\n", "class Rooms:\n    def __init__(self, walls):\n        self.walls = walls\n\n"
    )
    for name, text in {
        **FILES,
        "stranger/task.py": task.replace("32, 3", "32, self.walls").replace("(3, 8)", "(self.walls, 8)"),
    }.items():
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", project, project]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = project.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)
    return site


def bench(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from nlcore.cli import main; sys.exit(main(['bench', *sys.argv[1:]]))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=environ, cwd=site
    )


def test_a_stranger_s_study_is_benched_by_the_same_commands(site: Path, tmp_path: Path) -> None:
    listed = bench(site, "list").stdout
    assert re.search(r"^rooms +Reading a room from its echo +stranger 1\.2 +12 +0\.1$", listed, re.MULTILINE)
    done = bench(site, "run", "rooms", "--workers", "1", "--quiet", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "error of the depth" in done.stdout
    assert "stranger 1.2" in done.stdout
    settings = json.loads((tmp_path / "rooms" / "settings.json").read_text())["settings"]
    assert settings["tasks"] == {"rooms": {"id": "stranger/rooms-v1", "options": {"walls": 2}}}
    assert "12 of 12 runs are finished" in bench(site, "status", "rooms", "--out", str(tmp_path)).stdout
    wrong = bench(site, "run", "rooms", "--option", "wals=3", "--out", str(tmp_path / "wrong"))
    assert wrong.returncode != 0
    assert "did you mean 'walls'" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


def test_a_stranger_s_task_is_used_in_a_study_of_one_s_own(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILES["stranger/rooms.toml"].replace('"rooms"', '"mine"', 1).replace("walls = 2", "walls = 4"))
    done = bench(site, "run", str(path), "--quick", "--workers", "1", "--quiet", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "report.md").exists()


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are beside the source alone")
def test_the_study_of_the_docs_is_a_file_of_at_most_forty_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.search(r"```toml file=sums\.toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown
    assert len(shown[1].splitlines()) <= 40
    path = tmp_path / "sums.toml"
    path.write_text(shown[1], "utf-8")
    assert main(["bench", "run", str(path), "--quick", "--workers", "1", "--quiet", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for words in ("best pair", "held-out loss", "digits right", "clipping"):
        assert words in text
