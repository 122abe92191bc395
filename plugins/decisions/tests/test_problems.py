"""The registered losses: every problem by every method."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from importlib import import_module
from typing import Any

import pytest
import torch

import nlcore
import nlcore_decisions
from nlcore.errors import ConfigError, ContractError, DtypeError, NonFiniteError, ShapeError, UnsupportedCurvatureError
from nlcore.protocol import AlgorithmicLoss
from nlcore.testing import check_algorithm
from nlcore_decisions.problems.config import METHODS, POOLED, method_class

SPECS = {name.removeprefix("decisions/").removesuffix("-v1"): nlcore.spec(name) for name in nlcore.names("decisions")}
NEEDS_SCIPY = ("assignment", "linear_program")


def resolve(path: str) -> Any:
    module, attribute = path.split(":")
    return getattr(import_module(module), attribute)


def make(problem: str, **options: Any) -> Any:
    if problem in NEEDS_SCIPY:
        pytest.importorskip("scipy")
    return resolve(SPECS[problem].factory)(**options)


def test_the_names() -> None:
    assert set(SPECS) == {
        *("top_k", "knapsack", "assignment", "grid_edges", "dag_path", "graph_path", "spanning_tree"),
        "linear_program",
    }
    assert len(METHODS) == 13
    for name in nlcore_decisions.__all__:
        assert getattr(nlcore_decisions, name).__name__ == name
    assert dir(nlcore_decisions) == sorted(nlcore_decisions.__all__)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", SPECS)
class TestAll:
    def test_conforms(self, problem, method) -> None:
        loss = make(problem, method=method)
        check_algorithm(loss, config=type(loss).config, options={"method": method})

    def test_identity(self, problem, method) -> None:
        loss = make(problem, method=method)
        for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), dataclasses.replace(loss)):
            assert twin == loss
            assert hash(twin) == hash(loss)
            assert repr(twin) == repr(loss)
        assert loss != make(problem, method="blackbox" if method != "blackbox" else "imle")
        assert isinstance(loss, AlgorithmicLoss)
        assert nlcore.restore(nlcore.dump(nlcore.make(f"decisions/{problem}", method=method))) == loss


@pytest.mark.parametrize("problem", SPECS)
@pytest.mark.parametrize("sense", ["minimise", "maximise"])
def test_both_senses_conform(problem, sense) -> None:
    loss = make(problem, sense=sense) if problem != "graph_path" or sense == "minimise" else None
    if loss is not None:
        check_algorithm(loss, config=type(loss).config, options={"sense": sense})


@pytest.mark.parametrize("problem", ["top_k", "knapsack", "spanning_tree"])
def test_they_are_the_classes_with_the_solver(problem, generator) -> None:
    for method in METHODS:
        if method in POOLED:
            continue
        loss = make(problem, method=method)
        own = method_class(method)(loss.solver, sense=loss.sense)
        prediction, target = loss.example(9, generator=generator, dtype=torch.float64, device="cpu")
        seeded = torch.Generator().manual_seed
        torch.testing.assert_close(
            loss(prediction, target, generator=seeded(0)), own(prediction, target, generator=seeded(0))
        )
        torch.testing.assert_close(
            loss.gradient(prediction, target, generator=seeded(0)),
            own.gradient(prediction, target, generator=seeded(0)),
        )


def test_pools_follow_the_size_of_the_data(generator) -> None:
    loss = make("top_k", k=2, method="pointwise_ranking", pool_size=50)
    for n in (3, 6, 11):
        values = torch.randn(4, n, generator=generator)
        assert (loss(values, values) == 0).all()
        assert loss.inner(values).shape[1] > 1
        assert loss._method_of(values)._pool.shape == (n,)
    other = make("top_k", k=2, method="pointwise_ranking", pool_size=50, pool_seed=1)
    one, two = (one._method_of(torch.ones(1, 11))._pool for one in (loss, other))
    assert one != two


def test_options_reach_the_method() -> None:
    loss = make("knapsack", weights=[1, 2, 3], capacity=3, method="imle", sigma=0.1, noise="gumbel", num_samples=4)
    inner = loss._of_example
    assert (inner.sigma, inner.noise, inner.num_samples, inner.sense) == (0.1, "gumbel", 4, "maximise")
    assert nlcore.make("decisions/knapsack", weights=[[1, 2], [3, 1]], capacity=[3, 3]).solver.shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "blackbox", "sigma": 0.5},
            r"'sigma' was given 0\.5, but method='blackbox' does not read it; it is "
            "for perturbed_fenchel_young, imle",
        ),
        ({"method": "spo_plus", "pool_size": 8}, "'pool_size' .* it is for noise_contrastive, maximum_a_posteriori"),
        ({"method": "spoplus"}, "option 'method' was given 'spoplus'"),
        ({"sigma": -1.0}, "PerturbedFenchelYoung: option 'sigma' was given -1.0"),
        ({"noise": "gumbel"}, "PerturbedFenchelYoung: option 'noise' was given 'gumbel'"),
        ({"num_samples": 1}, "needs num_samples ≥ 2"),
        ({"k": 0}, "option 'k' was given 0"),
    ],
)
def test_bad_options(options, message) -> None:
    for maker in (resolve(SPECS["top_k"].factory), lambda **given: nlcore.make("decisions/top_k", **given)):
        with pytest.raises(ConfigError, match=message):
            maker(**options)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'num_sample' .*did you mean 'num_samples'") as caught:
        nlcore.make("decisions/top_k", num_sample=4)
    text = str(caught.value)
    assert "Options, nearest first: num_samples, " in text
    assert "=None" not in text
    assert all(name in text for name in resolve(SPECS["top_k"].config).model_fields)


def test_a_bad_value_is_named_without_the_other_options() -> None:
    with pytest.raises(ConfigError, match=r"^TopK: PerturbedFenchelYoung: option 'sigma' .* than 0\.$"):
        nlcore.make("decisions/top_k", sigma=-1.0)
    with pytest.raises(ConfigError, match=r"given 'spo' \(did you mean 'spo_plus'\?\): .*'listwise_ranking'\.$"):
        nlcore.make("decisions/top_k", method="spo")


@pytest.mark.parametrize("problem", ["dag_path", "graph_path", "spanning_tree"])
def test_edges_in_two_rows(problem) -> None:
    rows = [[0, 0, 1, 1, 2], [1, 2, 2, 3, 3]]
    message = r"these are two rows of 5 nodes, and pairs \(start, end\) are needed; transpose them: edges\.T"
    with pytest.raises(ConfigError, match=rf"option 'edges' was given \[\[0, 0, .* 3\]\]: {message}"):
        make(problem, edges=rows)
    kind = type(make(problem).solver)
    for edges in (rows, torch.tensor(rows)):
        with pytest.raises(ConfigError, match=rf"{kind.__name__}: edges were given as \[2, 5\]: {message}"):
            kind(edges, **({} if problem == "spanning_tree" else {"source": 0, "goal": 3}))
    with pytest.raises(ConfigError, match=r"Tensor. make takes JSON .* Give numbers as a list: edges\.tolist\(\)"):
        nlcore.make(f"decisions/{problem}", edges=torch.tensor(rows).T)
    with pytest.raises(ConfigError, match=r"cannot be written as JSON; for a list call \.tolist\(\) on it"):
        make(problem, edges=torch.tensor(rows).T)


@pytest.mark.parametrize("problem", SPECS)
def test_decisions_are_feasible_and_the_best(problem, generator) -> None:
    loss = make(problem)
    prediction, target = loss.example(16, generator=generator, dtype=torch.float64, device="cpu")
    found, sign = loss.decide(prediction), -1 if loss.sense == "maximise" else 1
    assert loss.solver.is_feasible(found).all()
    assert (sign * (prediction * (found - target)).flatten(1).sum(1) <= 1e-9).all()


def test_wrong_use(generator) -> None:
    loss = make("grid_edges", height=3, width=3)
    costs, target = loss.example(4, generator=generator, dtype=torch.float32, device="cpu")
    with pytest.raises(ShapeError, match=r"decisions/grid_edges-v1: prediction has shape \[4, 11\], but \[batch, 12\]"):
        loss(costs[:, :11], target[:, :11])
    with pytest.raises(NonFiniteError, match="decisions/grid_edges-v1: the predicted numbers of samples 2"):
        loss(torch.where(torch.arange(4)[:, None] == 2, torch.nan, costs), target)
    with pytest.raises(ContractError, match=r"grid_edges-v1: the target of samples .* is not a solution of GridEdges"):
        make("grid_edges", height=3, width=3)(costs.abs(), torch.zeros_like(target))
    with pytest.raises(UnsupportedCurvatureError, match="method='spo_plus' does not supply 'hessian'"):
        make("grid_edges", method="spo_plus").hessian(costs, target)
    for wrong in (target.tolist(), (costs, target), None):
        with pytest.raises(
            ContractError, match=r"target 'solution' is a .* tensor, or a dict with 'costs', 'solution'"
        ):
            loss(costs, wrong)
    with pytest.raises(DtypeError, match=r"target 'solution' is torch\.complex64; give real numbers, as by \.real"):
        loss(costs, target.to(torch.complex64))
    with pytest.raises(ContractError, match=r"generator was given 3; .*torch\.Generator\(\)\.manual_seed\(3\)"):
        loss(costs, target, generator=3)
    with pytest.raises(ContractError, match="generator was given 'cpu'; a torch"):
        make("grid_edges", height=3, width=3, method="imle")(costs, target, generator="cpu")


def test_a_context_is_refused(generator) -> None:
    loss = make("grid_edges", height=3, width=3)
    costs, target = loss.example(4, generator=generator, dtype=torch.float32, device="cpu")
    context = {"size": torch.ones(4)}
    uses = (
        lambda: loss(costs, target, context=context),
        lambda: loss.gradient(costs, target, context=context),
        lambda: loss.hessian(costs, target, context=context),
        lambda: loss.decide(costs, context=context),
    )
    for use in uses:
        with pytest.raises(ContractError, match=r"\{'size': a tensor \[4\]\}, but GridEdges takes no context.*Perturb"):
            use()


@pytest.mark.parametrize("problem", [name for name in SPECS if name not in NEEDS_SCIPY])
def test_true_costs_as_a_solution_are_found_by_their_range(problem, generator) -> None:
    loss = make(problem)
    prediction, solution = loss.example(4, generator=generator, dtype=torch.float32, device="cpu")
    costs = torch.rand(prediction.shape, generator=generator) + 0.7
    with pytest.raises(ContractError, match=r"not a solution of .* are these true costs\? Those belong under the key"):
        loss(prediction, costs)
    assert not loss.solver.excludes(0.3 * solution + 0.7 * loss.decide(prediction)).any()  # a mean of solutions


def test_wrong_features_of_a_split() -> None:
    loss = make("grid_edges", height=3, width=3, method="pointwise_ranking")
    features = loss.inner(torch.rand(4, 12))
    with pytest.raises(ShapeError, match=r"features has shape \[4, 12\].*as inner\(prediction\) returns them"):
        loss.outer(torch.rand(4, 12), torch.rand(4, 12))
    with pytest.raises(ShapeError, match=r"target 'costs' has shape \[3, 12\]"):
        loss.outer(features, torch.rand(3, 12))
    with pytest.raises(ShapeError, match=r"target 'costs' has shape \[4, 11\], but \[batch, 12\]"):
        loss.outer(features, torch.rand(4, 11))
    with pytest.raises(ContractError, match="the target holds nothing"):
        loss.outer(features, {})
    with pytest.raises(ContractError, match="target 'costs' is a NoneType"):
        loss.outer(features, None)
