"""A plugin built for version 0.1 installs beside this one, is listed, trains and passes the conformance checks."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from .test_new_plugin import ROOT, Place, borrow, build, run

OLD = Path(__file__).with_name("plugin_of_0_1")
IMPORTS = """
import warnings
import torch
import nlcore
from nlcore.newton import (
    Auto, Bounded, Composed, Curvature, EmpiricalFisher, GaussNewton, Hessian, InjectFisher, NewtonLoss, NewtonStep,
    Relative, Result, compose, inject_fisher, newton_step,
)

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from nlcore.newton import Diagnosis, diagnose

    traits = nlcore.make("veteran/bowl").traits
    assert traits.convex is True and traits.psd_hessian is True
    assert nlcore.Traits(order=1, convex=False) == nlcore.Traits(order=1)
names = " ".join(str(one.message) for one in said)
for new in ("nlcore.diagnosis.Diagnosis", "nlcore.diagnosis.diagnose", "psd_hessian"):
    assert new in names, names
assert all(issubclass(one.category, DeprecationWarning) for one in said)
y, t = torch.randn(8, 4, requires_grad=True), torch.randn(8, 4)
criterion = nlcore.NewtonLoss(nlcore.make("veteran/bowl"), Hessian(damping=0.0))
criterion(y, t).backward()
print(criterion.stats["negative"] if "negative" in criterion.stats else "not repaired")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("veteran"))
    build([ROOT, OLD], made.wheels)
    venv.create(made.folder / "venv", with_pip=False)
    (site,) = (made.folder / "venv").rglob("site-packages")
    borrow(site)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(made.bin / "python"),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    run([*pip, *map(str, sorted(made.wheels.glob("*.whl")))], made.folder)
    return made


def test_it_is_listed(place: Place) -> None:
    told = place.run("nlcore", "list").stdout
    assert "veteran/bowl-v1" in told
    assert "veteran/smooth_maximum-v1" in told
    assert place.run("nlcore", "doctor").stdout.endswith("All is well.\n")


def test_it_passes_the_checks(place: Place) -> None:
    told = place.run("nlcore", "check", "veteran").stdout.splitlines()
    assert told[-1] == "passed: 2 configurations"


def test_its_imports_work_and_old_names_say_the_new_ones(place: Place) -> None:
    assert place.run("python", "-c", IMPORTS).stdout.strip() == "not repaired"
