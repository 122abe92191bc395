"""Version, address and the workflow that publishes: one value each, in all distributions alike."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from nlcore.registry.discovery import RESERVED
from tools.metadata import ROOT, address, disagreeing, distributions, main, project, projects, repeated, version
from tools.release import faults, pythons, unfinished

PUBLISH = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with the files that hold the version or the address."""
    for path in [*repeated(), ROOT / "CHANGELOG.md", ROOT / "README.md"]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def test_all_files_have_the_version_and_the_address_of_the_core():
    assert disagreeing() == []
    assert faults() == []


def test_every_distribution_has_all_links():
    for folder in projects():
        urls = project(folder)["urls"]
        assert set(urls) == {"Repository", "Documentation", "Changelog", "Citation", "Issues"}
        assert all(url.startswith(address()) for url in urls.values())
        for name in ("CHANGELOG.md", "CITATION.cff"):
            assert (ROOT / name).exists()
            assert f"{address()}/blob/main/{name}" in urls.values()


def test_no_other_address_of_the_project_is_written_anywhere():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]:
        assert "/project/nlcore" not in path.read_text(), path


def test_the_site_shows_the_links_without_the_widget_that_counts_stars():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert f'<a href="{address()}">Repository</a>' in settings
    assert "\nrepo_url" not in settings


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in repeated()])
def test_another_version_or_address_in_a_file_is_noticed(copy, path):
    text = (copy / path).read_text()
    changed = text.replace(address(), "https://elsewhere.example/x").replace(f'"{version()}"', '"9.8.7"')
    assert changed != text
    (copy / path).write_text(changed)
    others = disagreeing(copy)
    assert others == [path] if path != "pyproject.toml" else len(others) > 5


def test_a_new_version_and_address_reach_every_file(copy, capsys):
    assert main(["--version", "1.4.2", "--address", "https://forge.example/a/b/"], copy) == 0
    assert "1.4.2 at https://forge.example/a/b; changed: " in capsys.readouterr().out
    assert disagreeing(copy) == []
    for folder in projects(copy):
        assert project(folder)["version"] == "1.4.2"
        own = [one for one in project(folder)["dependencies"] if one.startswith("nlcore")]
        assert all(">=1.4,<1" in one for one in own)
    assert "version: 1.4.2" in (copy / "CITATION.cff").read_text()
    assert [one for one in faults(copy) if "CHANGELOG" in one]


def test_each_distribution_stands_behind_those_that_it_needs():
    order = distributions()
    assert order[0] == "nlcore"
    assert set(order) == set(RESERVED.values())
    for folder in projects():
        for requirement in project(folder)["dependencies"]:
            name = requirement.partition(">")[0]
            if name in order:
                assert order.index(name) < order.index(project(folder)["name"])


def test_a_tag_is_not_ready_until_version_date_and_address_are_there(copy):
    text = (copy / "CHANGELOG.md").read_text()
    (copy / "CHANGELOG.md").write_text(text.replace("(unreleased)", "(2026-12-01)", 1))
    found = unfinished(f"v{version()}", copy)
    assert all("placeholder" in one or "not on PyPI" in one for one in found)
    (copy / "CHANGELOG.md").write_text(text.replace("(2026-12-01)", "(unreleased)", 1))
    assert any("the tag is v9.9.9" in one for one in unfinished("v9.9.9", copy))


def test_the_workflow_publishes_all_distributions_in_order_once_and_without_a_token():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    build, publish = PUBLISH["jobs"]["build"], PUBLISH["jobs"]["publish"]
    assert PUBLISH[True]["push"]["tags"] == ["v*"]  # YAML 1.1 reads the key `on` as true
    assert publish["strategy"]["matrix"]["distribution"] == distributions()
    assert publish["strategy"]["max-parallel"] == 1
    assert publish["needs"] == "build"
    assert publish["environment"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}
    assert "id-token" not in str(build)
    assert "secrets." not in text
    assert "password" not in text
    uses = [step["uses"] for step in publish["steps"] if "uses" in step]
    assert uses[-1].startswith("pypa/gh-action-pypi-publish@")
    assert not any("checkout" in one for one in uses)
    commands = [step.get("run", "") for step in build["steps"]]
    assert any("tools.release ready" in one for one in commands)
    assert any("make release-check" in one for one in commands)


def test_the_workflow_takes_a_distributions_own_files(tmp_path):
    (command,) = [step["run"] for step in PUBLISH["jobs"]["publish"]["steps"] if "run" in step]
    for name in distributions():
        folder = tmp_path / name
        (folder / "all").mkdir(parents=True)
        for other in distributions():
            for end in ("-0.2.0-py3-none-any.whl", "-0.2.0.tar.gz"):
                (folder / "all" / f"{other.replace('-', '_')}{end}").touch()
        subprocess.run(["bash", "-ec", command], cwd=folder, env={**os.environ, "DISTRIBUTION": name}, check=True)
        taken = {one.name.partition("-")[0] for one in (folder / "dist").iterdir()}
        assert (taken, len([*(folder / "dist").iterdir()])) == ({name.replace("-", "_")}, 2)


def test_the_python_that_runs_this_is_found():
    found = pythons()
    assert list(found) == ["3.11", "3.12", "3.13", "3.14"]
    assert any(found.values())
