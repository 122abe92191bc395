"""The comparison with PyEPO: the same data, the same values and gradients, and a quick run of the trainings."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import __main__ as command
from benchmarks import decision_problems, decisions
from benchmarks.decision_methods import METHODS, Method
from benchmarks.decision_problems import PROBLEMS, Problem
from benchmarks.decision_tables import page
from benchmarks.pyepo_losses import LOSSES, SOLVERS, Answers
from nlcore_bench.data.decisions import grid_samples, knapsack_samples
from nlcore_decisions import (
    BlackBox,
    NegativeIdentity,
    PerturbedFenchelYoung,
    SolutionPool,
    SPOPlus,
    perturbed_fenchel_young,
)
from nlcore_decisions.perturbed import draw_noise

needs_pyepo = pytest.mark.skipif(
    find_spec("pyepo") is None or find_spec("ortools") is None, reason="needs pyepo and ortools"
)


@pytest.fixture(scope="module", params=list(PROBLEMS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]()


@pytest.fixture
def case(problem: Problem) -> tuple[Tensor, Answers]:
    """Noisy predictions of the costs of some samples, and their answers, in float64."""
    _, truth = problem.train
    generator = torch.Generator().manual_seed(1)
    answers = Answers(truth.costs[:24].double(), truth.solutions[:24].double(), truth.objectives[:24].double())
    noise = torch.randn(answers.costs.shape, generator=generator, dtype=torch.float64)
    return (answers.costs.mean() * (1 + 0.5 * noise)).requires_grad_(), answers


def slope(value: Tensor, prediction: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value, prediction)
    return gradient


@needs_pyepo
@pytest.mark.parametrize("degree", [1, 4, 8])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_equal_seeds_give_the_data_of_pyepo(degree: int, noise: float) -> None:
    from pyepo.data import knapsack, shortestpath

    samples = grid_samples(50, height=4, width=3, degree=degree, noise=noise, seed=7)
    features, costs = shortestpath.genData(50, 5, (4, 3), degree, noise, seed=7)
    assert np.array_equal(samples.features.numpy(), features.astype(np.float32))
    assert np.array_equal(samples.costs.numpy(), costs)
    drawn = knapsack_samples(50, items=9, dims=2, degree=degree, noise=noise, seed=7)
    weights, features, values = knapsack.genData(50, 5, 9, 2, degree, noise, seed=7)
    assert np.array_equal(drawn.weights.numpy(), weights)
    assert np.array_equal(drawn.samples.features.numpy(), features.astype(np.float32))
    assert np.array_equal(drawn.samples.costs.numpy(), values)


@needs_pyepo
def test_solvers_agree_with_those_of_pyepo(problem: Problem, case: tuple[Tensor, Answers]) -> None:
    prediction, _ = case
    model = problem.model()
    found = problem.decide(prediction.detach())
    for costs, solution in zip(prediction.detach(), found, strict=True):
        model.setObj(costs.numpy())
        theirs, value = model.solve()
        assert value == pytest.approx(float(costs @ solution), rel=1e-6)
        assert np.allclose(theirs, solution.numpy(), atol=1e-6)


def agree(mine: Tensor, theirs: Tensor, prediction: Tensor) -> None:
    """Check that values and gradients are equal."""
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope(mine, prediction), slope(theirs, prediction), rtol=1e-6, atol=1e-6)


@needs_pyepo
@pytest.mark.parametrize("both", [False, True])
def test_spo_plus_equals_that_of_pyepo(problem: Problem, case: tuple[Tensor, Answers], both: bool) -> None:
    prediction, truth = case
    target = {"costs": truth.costs, "solution": truth.solutions} if both else truth.costs
    mine = SPOPlus(problem.solver, sense=problem.sense)(prediction, target).mean()
    agree(mine, LOSSES["spo_plus"](problem.model(), None, 0)(prediction, truth), prediction)


@needs_pyepo
@pytest.mark.parametrize("multiplicative", [False, True])
def test_perturbed_fenchel_young_equals_that_of_pyepo_up_to_the_noise_on_the_target(
    problem: Problem, case: tuple[Tensor, Answers], monkeypatch: pytest.MonkeyPatch, multiplicative: bool
) -> None:
    """One sample at a time: both libraries then draw the same numbers in the same order from equal seeds.

    nlcore takes the noisy costs of the target too, which keeps every value at 0 or above; PyEPO its costs. That is
    known from the noise, and 0 in the mean. Values are negated before noise is added: it has the other sign there.
    """
    predictions, answers = case
    sigma, sign = (0.5, 1) if multiplicative else (1.0, -1 if problem.sense == "maximise" else 1)
    monkeypatch.setattr(perturbed_fenchel_young, "draw_noise", lambda *given, **more: sign * draw_noise(*given, **more))
    noise = "multiplicative" if multiplicative else "additive"
    loss = PerturbedFenchelYoung(problem.solver, sense=problem.sense, num_samples=3, sigma=sigma, noise=noise)
    theirs = LOSSES["multiplicative" if multiplicative else "perturbed_fenchel_young"]
    for index, values in enumerate(predictions.detach()):
        prediction = values.abs()[None].clamp(min=0.1).requires_grad_()
        truth = Answers(answers.costs[index, None], answers.solutions[index, None], answers.objectives[index, None])
        drawn = draw_noise(prediction, 3, generator=torch.Generator().manual_seed(index))
        moved = prediction * (sigma * drawn - sigma**2 / 2).exp() if multiplicative else prediction + sigma * drawn
        extra = ((moved.mean(0) - prediction) * truth.solutions).sum()
        mine = loss(prediction, truth.solutions, generator=torch.Generator().manual_seed(index)).mean()
        extra = -extra if problem.sense == "maximise" else extra
        agree(mine, theirs(problem.model(), None, index)(prediction, truth) + extra, prediction)


@needs_pyepo
@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [("blackbox", BlackBox, {"interpolation": 20.0}), ("negative_identity", NegativeIdentity, {})],
)
def test_gradients_through_a_solver_equal_those_of_pyepo(
    problem: Problem, case: tuple[Tensor, Answers], name: str, loss: type[Any], options: dict[str, Any]
) -> None:
    prediction, truth = case
    mine = loss(problem.solver, sense=problem.sense, **options)(prediction, truth.solutions).sum()
    agree(mine, LOSSES[name](problem.model(), None, 0)(prediction, truth), prediction)


@needs_pyepo
@pytest.mark.parametrize("method", [one for one in METHODS if one.pool], ids=lambda one: one.peer)
def test_losses_over_a_pool_equal_those_of_pyepo(
    problem: Problem, case: tuple[Tensor, Answers], method: Method
) -> None:
    from pyepo.data.dataset import optDataset

    prediction, truth = case
    dataset = optDataset(problem.model(), problem.train[0][:24], truth.costs.float())
    mine = method.loss(SolutionPool(problem.solver, dataset.sols), sense=problem.sense)
    target = truth.costs if method.target == "costs" else truth.solutions
    theirs = LOSSES[method.peer](problem.model(), dataset, 0)  # of which the first call does not solve
    agree(mine(prediction, target).mean(), theirs(prediction, truth), prediction)


def test_the_quick_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_problems, "_TRAIN", 64)
    monkeypatch.setattr(decision_problems, "_TEST", 64)
    assert command.main(["decisions", "--quick", "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "decisions.json").read_text())
    rows = document["rows"]
    assert set(document["microseconds"]) == {"grid", "knapsack"}
    mine = [row for row in rows if row["library"] == "nlcore"]
    assert len(mine) == 2 + len(METHODS) + len(decision_problems._QUICKER)
    assert all(row["regret"] >= 0 and row["seconds"] > 0 for row in rows)
    assert "## Knapsack" in (tmp_path / "decisions.md").read_text()


RECORD = Path(__file__).parents[2] / "docs/results/decisions_speed.json"


def test_the_page_is_that_of_its_record() -> None:
    assert RECORD.with_suffix(".md").read_text("utf-8") == page(json.loads(RECORD.read_text("utf-8")))


def test_what_the_page_says_of_its_record() -> None:
    document = json.loads(RECORD.read_text("utf-8"))
    assert document["steps"] == PROBLEMS["grid"]().steps == PROBLEMS["knapsack"]().steps
    assert document["titles"] == {name: make().title for name, make in PROBLEMS.items()}
    for name, times in document["microseconds"].items():
        own, trained, *others = times
        assert own.startswith("nlcore")
        assert trained == f"PyEPO, {SOLVERS[name][0]}"
        assert times[trained] == min(times[one] for one in (trained, *others))
    rows = {(row["problem"], row["method"], row["library"]): row for row in document["rows"]}
    for (problem, method, library), row in rows.items():
        assert (row["faster"] is not None) == (library == "nlcore" and (problem, method, "PyEPO") in rows)
        if row["faster"] is not None:
            peer = rows[problem, method, "PyEPO"]
            assert row["faster"] == pytest.approx(peer["seconds"] / row["seconds"])
    published = {(method.title, method.published) for method in METHODS if method.published}
    assert {(row["method"], tuple(row["published"])) for row in rows.values() if row["published"]} == published


def test_runs_that_are_in_the_file_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_problems, "_TRAIN", 64)
    monkeypatch.setattr(decisions, "METHODS", METHODS[:1])
    problem, path = PROBLEMS["grid"](), tmp_path / "runs.json"
    options: dict[str, Any] = {"epochs": 1, "seeds": {"nlcore": 2}}
    first = decisions.train_all(problem, path, **options)
    assert [one.seed for one in first] == [0, 0, 1, 1]
    assert decisions.train_all(problem, path, **options) == first
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    again = decisions.train_all(problem, path, **options)
    assert {replace(one, seconds=0.0) for one in again} == {replace(one, seconds=0.0) for one in first}


def test_another_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["decisions", "--quick", "--device", "cuda", "--out", str(tmp_path)]) == 1
    assert "on the CPU" in capsys.readouterr().err
