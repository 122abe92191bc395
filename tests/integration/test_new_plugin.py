"""From nothing to a trained network with a plugin of one's own, in a clean environment, from wheels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRAIN = """
import torch
import nlcore

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(256, 5, 3)
hidden = inputs @ torch.tensor([1.0, -2.0, 0.5])
largest = hidden.amax(1)  # all that is known of five numbers

network = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
loss = nlcore.make("stranger/smooth_maximum", temperature=0.1)
criterion = nlcore.NewtonLoss(loss)
optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
values = []
for _ in range(150):
    value = criterion(network(inputs).squeeze(-1), largest)
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
    values.append(float(value))
assert nlcore.dump(loss) == {
    "id": "stranger/smooth_maximum-v1",
    "options": {"temperature": 0.1},
    "versions": {"nlcore": nlcore.__version__, "nlcore-stranger": "0.1.0"},
}
print(values[0], values[-1], criterion.last_step.stats["curvature"], nlcore.__file__)
"""


class Place:
    """A folder with a new plugin in it and an environment that has nothing of the source tree."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.plugin, self.wheels = folder, folder / "plugin", folder / "wheels"
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        return run([str(self.bin / words[0]), *words[1:]], self.folder, check=check)


def run(words: Sequence[str], folder: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("NLCORE_", "PYTHON"))}
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
    )
    assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def build(sources: Sequence[Path], wheels: Path) -> None:
    """Build a wheel of each project, all at a time, with what is installed."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels)]
    started = [
        subprocess.Popen([*command, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for source in sources
    ]
    for one in started:
        output, _ = one.communicate(timeout=120)
        assert one.returncode == 0, output


def borrow(site: Path) -> None:
    """Link what is installed here, torch above all, but nothing of nlcore, nothing editable and no NumPy."""
    for folder in map(Path, sys.path):
        if folder.name not in {"site-packages", "dist-packages"} or not folder.is_dir():
            continue
        for item in folder.iterdir():
            ours = (
                "nlcore" in item.name.lower()
                or item.name.startswith("numpy")
                or item.suffix == ".pth"
                or item.name.startswith("__editable__")
            )
            if not ours and not (site / item.name).exists():
                (site / item.name).symlink_to(item)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("stranger"))
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from nlcore.cli import main; sys.exit(main())"
    run([sys.executable, "-c", start, str(ROOT), "new", "stranger", "--dir", str(made.plugin)], made.folder)
    build([ROOT, made.plugin], made.wheels)
    venv.create(made.folder / "venv", with_pip=False)
    (site,) = (made.folder / "venv").rglob("site-packages")
    borrow(site)
    python = made.bin / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    run([*pip, *map(str, sorted(made.wheels.glob("*.whl")))], made.folder)
    return made


def test_it_is_listed_and_described(place: Place) -> None:
    assert "stranger/smooth_maximum-v1" in place.run("nlcore", "list").stdout
    (record,) = [
        one for one in json.loads(place.run("nlcore", "plugins", "--json").stdout) if one["namespace"] == "stranger"
    ]
    assert (record["state"], record["distribution"]) == ("loaded", "nlcore-stranger")
    assert "Softness τ" in " ".join(place.run("nlcore", "show", "stranger/smooth_maximum").stdout.split())


def test_nothing_of_the_source_tree_is_there(place: Place) -> None:
    records = json.loads(place.run("nlcore", "plugins", "--json").stdout)
    assert {one["namespace"] for one in records} == {"core", "stranger"}


def test_the_doctor_finds_nothing(place: Place) -> None:
    told = place.run("nlcore", "doctor").stdout
    assert told.endswith("All is well.\n")
    assert "needs 'nlcore<1,>=0.2'" in told


def test_it_is_certified(place: Place) -> None:
    told = place.run("nlcore", "check", "stranger").stdout.splitlines()
    assert told[0] == "ok      plugin stranger: 3 passed"
    assert told[-1] == "passed: 1 configuration"
    assert "failed" not in told[1]


def test_a_fault_is_told_by_the_exit_code_and_the_last_line(place: Place) -> None:
    (module,) = (place.folder / "venv").rglob("nlcore_stranger/smooth_maximum.py")
    whole = module.read_text("utf-8")
    try:
        module.write_text(whole.replace(".square() / 2", ".square().mean() / 2"), "utf-8")
        done = place.run("nlcore", "check", "stranger/smooth_maximum", check=False)
    finally:
        module.write_text(whole, "utf-8")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "failed: shape.value"


def test_its_own_tests_pass(place: Place) -> None:
    told = place.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(place.plugin)).stdout
    assert int(told.splitlines()[-1].split(" passed")[0].split()[-1]) >= 50
    assert "skipped" not in told


def test_a_network_is_trained_with_it(place: Place) -> None:
    first, last, curvature, where = place.run("python", "-c", TRAIN).stdout.split()
    assert float(last) < 0.1 * float(first)
    assert curvature in {"gradient", "GaussNewton"}
    assert "site-packages" in where


def test_the_wheel_brings_the_templates(place: Place) -> None:
    written = json.loads(place.run("nlcore", "new", "another", "--json").stdout)["files"]
    here = {str(one.relative_to(place.plugin)) for one in place.plugin.rglob("*") if one.is_file()}
    assert {one.replace("another", "stranger") for one in written} == {
        one for one in here if "__pycache__" not in one and not one.startswith(("dist", "build"))
    }


def test_the_wheel_of_the_plugin_holds_the_package_alone(place: Place) -> None:
    (wheel,) = place.wheels.glob("nlcore_stranger-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    assert names == {"nlcore_stranger", "nlcore_stranger-0.1.0.dist-info"}
