"""Run every plugin's own tests in an environment of its own: torch, pytest, its wheel and those that it depends on."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = "nlcore"


def needed(project: Path) -> list[Path]:
    """Return the folders of a project and of all projects of this repository that it depends on, itself first."""
    found = [project]
    for folder in found:
        for requirement in tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]:
            name = requirement.partition(">")[0]
            if name.startswith(OWN):
                other = ROOT if name == OWN else ROOT / "plugins" / name.removeprefix(f"{OWN}-").replace("-", "_")
                found += [other] if other not in found else []
    return found


def build(project: Path, folder: Path) -> tuple[Path, Path]:
    """Return the wheel of a project and its source distribution, which the wheel is built from."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, project]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def passes_alone(plugin: str, folder: Path) -> bool:
    """Return whether the tests of a plugin's source distribution pass beside nothing but what it depends on.

    Args:
        plugin: Name of its folder under `plugins`.
        folder: An empty folder for the environment and all that is built.
    """
    projects = needed(ROOT / "plugins" / plugin)
    built = [build(project, folder / f"{place}") for place, project in enumerate(projects)]
    with tarfile.open(built[0][1]) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in Python 3.11.0 to 3.11.3
        archive.extractall(folder / "source", **safely)
    (source,) = (folder / "source").iterdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NLCORE"))}
    subprocess.run([*install, "torch"], check=True, env=environment)
    subprocess.run([*install, "pytest", *(wheel for wheel, _ in built)], check=True, env=environment)
    # Isolated: neither the folder src nor anything of this repository may stand in for the wheel.
    command = [python, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=source, env=environment, check=False).returncode == 0


def main(plugins: list[str]) -> int:
    """Run the plugins one after the other, and return 1 if one of them fails."""
    failed = []
    for plugin in plugins:
        print(f"== {plugin}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if not passes_alone(plugin, Path(folder)):
                failed.append(plugin)
    print(f"Failed alone: {', '.join(failed)}." if failed else "All of them pass alone.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
