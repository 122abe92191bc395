"""The check on a GPU: its parts, their limits, packages beside an environment, and the whole of it on the CPU."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import gpu, gpu_packages
from tools.gpu import Part, main, parts, run
from tools.metadata import project, projects


def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_PROBE", "print('2.11.0 False')")


def test_without_a_gpu_it_prints_the_parts_with_their_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without_gpu(monkeypatch)
    assert main(["--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    limits = [int(one) for one in re.findall(r": at most (\d+) s$", shown, re.MULTILINE)]
    assert limits[0] == 120
    assert sum(limits[1:4]) == 120
    assert sum(limits) == 540
    assert "no GPU" in shown
    assert not (tmp_path / "out").exists()


def test_an_old_torch_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "_PROBE", "print('2.4.1+cu121 False')")
    assert main([]) == 0
    assert "torch 2.11 or newer is expected" in capsys.readouterr().out


def test_the_study_has_more_and_more_seeds_and_reads_mnist(tmp_path: Path) -> None:
    *_, study = parts(tmp_path, "cuda", mnist=tmp_path / "mnist")
    seeds = [words[words.index("--seeds") + 1] for words in study.commands]
    assert seeds[:4] == ["1", "1", "2", "2"]
    assert f"folder={tmp_path / 'mnist'}" in study.commands[1]
    assert all("cuda" in words for words in study.commands)


def test_a_part_that_fails_or_is_too_long_does_not_stop_the_next(tmp_path: Path) -> None:
    sleep = ("timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(600)")
    quick = ("timeit", "-n", "1", "-r", "1", "pass")
    plan = [
        Part("absent", "a module that is absent", 0.3, (("no_such_module",), quick)),
        Part("long", "a long one", 0.01, (quick, sleep)),
        Part("good", "a good one", 0.3, (quick, quick)),
    ]
    import time

    assert gpu._run_all(plan, tmp_path, "nothing", time.monotonic() + 300, "") == 1
    page = (tmp_path / "summary.md").read_text()
    assert "| a module that is absent | failed with 1 | 0 of 2 |" in page
    assert re.search(r"\| a long one \| out of time \| [01] of 2 \|", page)
    assert "| a good one | finished | 2 of 2 |" in page
    assert "no_such_module" in (tmp_path / "absent.log").read_text()


def test_what_a_part_has_started_ends_with_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    (tmp_path / "starts.py").write_text(code)
    found = run(Part("starts", "", 1, (("starts",),)), tmp_path, 2.0, sys.executable, str(tmp_path))
    assert found.state == "out of time"
    assert found.seconds < 60


def test_the_packages_are_all_that_tests_and_studies_need() -> None:
    names = _closure(["nlcore-bench", "pytest"])
    with_torch = _closure(["torch"])
    needed = {re.sub(r"[-_.]+", "-", one).lower() for one in gpu_packages.NEEDED}
    lacking = {one for one in names if one not in needed | with_torch and not one.startswith("nlcore")}
    assert "scikit-learn" in names
    assert lacking == set()


def _closure(left: list[str]) -> set[str]:
    """Return the normalised names of distributions with all that they require here."""
    names: set[str] = set()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in names:
            continue
        names.add(name)
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return names


def test_plugins_are_found_where_they_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_packages, "_present", lambda name: False)
    said = gpu_packages.install([], tmp_path)
    found = {one.metadata["Name"]: one for one in distributions(path=[str(tmp_path)])}
    tables = [project(path) for path in projects()]
    assert list(found) and set(found) == {one["name"] for one in tables}
    assert all(name in said for name in found)
    for table in tables:
        own = found[table["name"]]
        assert own.version == table["version"]
        points = {(one.group, one.name, one.value) for one in own.entry_points}
        group = "nlcore.plugins.v1"
        assert {(group, *item) for item in table["entry-points"][group].items()} <= points
    path = gpu_packages.search_path(tmp_path).split(":")
    assert path[-1] == str(tmp_path)
    assert sum(one.endswith("/src") for one in path) >= len(tables) - 1


def test_a_package_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    said = gpu_packages.install(["iniconfig"], tmp_path / "packages", tmp_path / "wheels")
    assert "Installed: nothing." in said
    assert "Cannot be installed: iniconfig." in said


@pytest.mark.slow
def test_the_whole_check_on_the_cpu(tmp_path: Path) -> None:
    assert main(["--device", "cpu", "--tiny", "--minutes", "90", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "summary.md").read_text()
    assert page.count("| finished |") == 5
    written = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*.md")}
    tables = {"summary.md", "tests.md", "sorting.md", "paths.md", "engine/engine.md", "study/ranking/report.md"}
    assert written >= tables
    assert "| 0 | 0 |" in (tmp_path / "tests.md").read_text()
