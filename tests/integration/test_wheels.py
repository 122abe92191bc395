"""The packages as a user gets them: wheels in a venv outside the repository, running the README's example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build a wheel of every project, by way of its source distribution, as a release does."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, project],
            check=True,
            capture_output=True,
            text=True,
        )
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a venv that holds the wheels, and takes their dependencies from this environment."""
    venv = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", *wheels], check=True)
    # After the venv's own packages: those of this environment, but none of its editable installs.
    dependencies = venv / "dependencies"
    dependencies.mkdir()
    for path in _site_packages().iterdir():
        if not path.name.lower().startswith(("nlcore", "_nlcore", "_editable", "__editable")) and path.suffix != ".pth":
            (dependencies / path.name).symlink_to(path)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return python


def _site_packages() -> Path:
    import torch

    return Path(torch.__file__).parents[1]


def run(python: Path, *arguments: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NLCORE"))}
    done = subprocess.run([python, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_project_gives_a_wheel(wheels):
    assert len(wheels) == len(PROJECTS)
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("/py.typed") for name in names)
        assert not any(Path(name).parts[0] in {"test", "tests"} for name in names)


def test_the_packages_come_from_the_wheels(python, tmp_path):
    where = run(
        python, "-c", "import nlcore, nlcore_sorting; print(nlcore.__file__, nlcore_sorting.__file__)", cwd=tmp_path
    )
    assert str(ROOT / "nlcore") not in where
    assert where.count("site-packages") == 2


def test_the_example_of_the_readme_runs(python, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        script = tmp_path / f"block{number}.py"
        script.write_text(block)
        assert "prefix_sum" in block or "NewtonLoss" in block
        out = run(python, "-W", "error", str(script), cwd=tmp_path)
    assert "because" in out


def test_the_command_lists_what_the_wheels_register(python, tmp_path):
    command = python.parent / "nlcore"
    out = run(python, str(command), "list", cwd=tmp_path)
    for name in ("core/squared_error-v1", "sorting/neuralsort-v1", "sequences/prefix_sum-v1"):
        assert name in out
    assert "conflict" not in run(python, str(command), "plugins", cwd=tmp_path)


def test_no_wheel_holds_the_timings_beside_other_libraries(wheels: list[Path]) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        assert files
        assert [name for name in files if "benchmarks" in name or "peers" in name] == []
