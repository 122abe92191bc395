"""Packages for an environment that has torch alone: a folder beside it, which leaves the environment as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tools.metadata import ROOT, project, projects

__all__ = ["NEEDED", "absent", "install", "search_path"]

NEEDED = (
    *("annotated-types", "packaging", "pluggy", "pydantic", "pydantic_core", "typing-inspection", "typing_extensions"),
    *("cloudpickle", "joblib", "narwhals", "numpy", "scikit-learn", "scipy", "threadpoolctl", "tqdm"),
    *(
        "contourpy",
        "cycler",
        "fonttools",
        "kiwisolver",
        "matplotlib",
        "pillow",
        "pyparsing",
        "python-dateutil",
        "tzdata",
    ),
    *("iniconfig", "Pygments", "pytest"),
)
"""All that tests, timings and studies need beside torch and what comes with it, with what these need."""


def absent(names: Sequence[str] = NEEDED) -> list[str]:
    """Return the packages that this Python lacks."""
    return [name for name in names if not _present(name)]


def _present(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def install(names: Sequence[str], folder: Path, wheels: Path | None = None) -> str:
    """Install packages into a folder, each without what it requires, and describe those of this repository there.

    Args:
        names: The packages.
        folder: The folder.
        wheels: Folder of wheels to install from in place of an index.

    Returns:
        What was done, in words. A package that cannot be installed is named, and the others are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    pip += ["--no-index", "--find-links", str(wheels)] if wheels else ["-c", str(ROOT / "constraints.txt")]
    failed = []
    for name in names:
        done = subprocess.run([*pip, "--target", str(folder), name], check=False)
        failed += [name] if done.returncode else []
    own = _describe(folder)
    installed = [name for name in names if name not in failed]
    sentences = [f"Installed: {', '.join(installed) or 'nothing'}."]
    sentences += [f"Described: {', '.join(own)}."] if own else []
    return " ".join(sentences + ([f"Cannot be installed: {', '.join(failed)}."] if failed else []))


def _describe(folder: Path) -> list[str]:
    """Write the metadata of the distributions of this repository that are not installed, so that plugins are found."""
    described = []
    for path in projects():
        table = project(path)
        if _present(table["name"]):
            continue
        described.append(table["name"])
        target = folder / f"{re.sub(r'[-.]+', '_', table['name'])}-{table['version']}.dist-info"
        target.mkdir(exist_ok=True)
        head = f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n"
        (target / "METADATA").write_text(head, encoding="utf-8")
        (target / "entry_points.txt").write_text(_entry_points(table), encoding="utf-8")
    return described


def _entry_points(table: dict[str, Any]) -> str:
    groups = {"console_scripts": table.get("scripts", {}), **table.get("entry-points", {})}
    lines = [[f"[{name}]", *(f"{key} = {value}" for key, value in group.items()), ""] for name, group in groups.items()]
    return "\n".join(line for group in lines for line in group)


def search_path(folder: Path) -> str:
    """Return the `PYTHONPATH` of this repository and of a folder of packages."""
    sources = [ROOT, *(path / "src" for path in projects()[1:])]
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([*map(str, sources), *(one for one in before if one), str(folder)])
