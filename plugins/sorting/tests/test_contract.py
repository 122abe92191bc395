"""Errors, small sizes, identity, configuration and registration."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import torch
from torch.func import vmap

import nlcore_sorting
from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError
from nlcore.protocol import SuppliesHessian
from nlcore_sorting import (
    FastSoftSort,
    LapSum,
    NeuralSort,
    OptimalTransportSort,
    RankingLoss,
    SoftSort,
    SortingNetwork,
    ranks,
)
from nlcore_sorting._plugin import nlcore_algorithms

SCORES = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.0, 0.5]])
TARGET = torch.tensor([[1, 0, 2], [2, 0, 1]])
REGULARIZATIONS = ("regularization", {"l2", "kl"})


@pytest.mark.parametrize(
    ("prediction", "target", "error", "message"),
    [
        (SCORES[0], TARGET[0], ShapeError, r"prediction has shape \[3\]"),
        (SCORES[None], TARGET[None], ShapeError, r"prediction has shape \[1, 2, 3\]"),
        (torch.zeros(2, 0), TARGET[:, :0], ShapeError, r"shape \[2, 0\]"),
        (SCORES.long(), TARGET, DtypeError, r"torch\.int64.*\.float\(\)"),
        (SCORES, TARGET.float(), DtypeError, r"target is torch\.float32.*nlcore_sorting\.ranks\(values\)"),
        (SCORES, TARGET.int(), DtypeError, r"target is torch\.int32"),
        (SCORES, TARGET[:, :2], ShapeError, r"target has shape \[2, 2\], but \[batch, n\] = \[2, 3\]"),
        (SCORES, [[1, 0, 2]], ContractError, "target is a list"),
        (SCORES, TARGET.to("meta"), DeviceError, "target is on meta, prediction on cpu"),
        (SCORES, torch.tensor([[1, 0, 2], [0, 0, 1]]), ContractError, r"samples 1 .*\[0, 0, 1\].*ranks\(values\)"),
        (SCORES, torch.tensor([[1, 2, 3], [2, 0, 1]]), ContractError, r"samples 0 .*0 … 2.*\[1, 2, 3\]"),
    ],
)
def test_errors_name_the_algorithm_and_the_values(
    operator: RankingLoss, prediction: torch.Tensor, target: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        operator(prediction, target)
    assert str(caught.value).startswith(f"{operator.id}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_named(loss: RankingLoss, value: float) -> None:
    scores = SCORES.clone()
    scores[1, 2] = value
    with pytest.raises(NonFiniteError, match="NaN or infinite") as caught:
        loss(scores, TARGET)
    assert caught.value.samples == (1,)


def test_scores_that_would_overflow_are_named(loss: RankingLoss) -> None:
    with pytest.raises(NonFiniteError, match="overflows") as caught:
        loss(SCORES * torch.tensor([[1e38], [1.0]]), TARGET)
    assert caught.value.samples == (0,)


def test_wrong_rows_of_the_hessian_are_refused_too(curved: RankingLoss) -> None:
    assert isinstance(curved, SuppliesHessian)
    with pytest.raises(ContractError, match="permutation"):
        curved.hessian(SCORES, TARGET * 2)


def test_values_are_checked_under_derivatives_and_let_pass_under_vmap(loss: RankingLoss) -> None:
    wrong = torch.zeros_like(TARGET)
    with pytest.raises(ContractError, match="permutation"):
        torch.func.grad(lambda s: loss(s, wrong).sum())(SCORES)
    together = vmap(lambda s, t: loss(s.unsqueeze(0), t.unsqueeze(0)).squeeze(0))(SCORES, TARGET)
    torch.testing.assert_close(together, loss(SCORES, TARGET))


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_sizes(loss: RankingLoss, n: int, batch: int) -> None:
    scores = torch.randn(batch, n, requires_grad=True)
    target = ranks(torch.randn(batch, n))
    value = loss(scores, target)
    assert value.shape == (batch,)
    torch.autograd.backward(value.sum())
    assert scores.grad is not None
    assert scores.grad.shape == (batch, n)
    assert scores.grad.isfinite().all()
    if n == 1:
        assert (value == 0).all()
        assert (scores.grad == 0).all()
    if isinstance(loss, SuppliesHessian):
        assert loss.hessian(scores, target).shape == (batch, n, n)


def test_inputs_are_left_alone_and_samples_are_independent(loss: RankingLoss) -> None:
    scores, target = SCORES.clone(), TARGET.clone()
    together = loss(scores, target)
    assert (scores == SCORES).all()
    assert (target == TARGET).all()
    torch.testing.assert_close(loss(scores[1:], target[1:]), together[1:], rtol=1e-6, atol=0)


def test_example_comes_from_the_generator(loss: RankingLoss) -> None:
    draws = [
        loss.example(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, device="cpu") for _ in "ab"
    ]
    for first, second in zip(*draws, strict=True):
        assert (first == second).all()
    scores, target = draws[0]
    assert scores.dtype == torch.float64
    assert scores.shape == target.shape == (4, 5)
    assert loss(scores, target).shape == (4,)


def test_compiles_as_one_graph(operator: RankingLoss) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda s, t: operator(s, t), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(SCORES, TARGET), operator(SCORES, TARGET))


def test_identity(loss: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), copy.copy(loss), dataclasses.replace(loss)):
        assert twin == loss
        assert hash(twin) == hash(loss)
        assert type(twin) is type(loss)
        assert repr(loss).startswith(type(loss).__name__)
        assert repr(twin) == repr(loss)
    option, choices = ("objective", {"rows", "entries"}) if hasattr(loss, "objective") else REGULARIZATIONS
    own = getattr(loss, option)
    other = dataclasses.replace(loss, **{option: (choices - {own}).pop()})
    assert other != loss
    assert dataclasses.replace(other, **{option: own}) == loss
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(loss, option, own)


def test_repr_shows_the_options() -> None:
    assert repr(NeuralSort(temperature=2)) == "NeuralSort(temperature=2.0, objective='rows')"
    assert repr(SoftSort(objective="entries")) == "SoftSort(temperature=1.0, objective='entries')"
    assert repr(SortingNetwork(steepness=5.0)) == (
        "SortingNetwork(network='odd_even', distribution='cauchy', steepness=5.0, art_lambda=0.25, objective='rows')"
    )


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (NeuralSort, {"temperature": 0.0}, "'temperature' was given 0.0.*Options: temperature=1.0, objective='rows'"),
        (SoftSort, {"temperature": float("nan")}, "temperature"),
        (SoftSort, {"objective": "columns"}, "'objective' was given 'columns'"),
        (SortingNetwork, {"network": "bubble"}, "'network' was given 'bubble'"),
        (SortingNetwork, {"distribution": "gauss"}, "'distribution'"),
        (SortingNetwork, {"steepness": -1.0}, "'steepness'"),
        (SortingNetwork, {"art_lambda": 1.5}, "'art_lambda'"),
        (SortingNetwork, {"steepness": "10"}, "'steepness'"),
        (FastSoftSort, {"regularization": "l1"}, "'regularization' was given 'l1'"),
        (FastSoftSort, {"regularization_strength": 0.0}, "'regularization_strength'"),
        (LapSum, {"temperature": -1.0}, "'temperature'"),
        (OptimalTransportSort, {"iterations": 0}, "'iterations'"),
    ],
)
def test_bad_options(cls: type[RankingLoss], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(**options)


def test_specifications_resolve() -> None:
    for spec in nlcore_algorithms():
        module, attribute = spec.factory.split(":")
        cls = getattr(import_module(module), attribute)
        assert cls.id == spec.id
        assert spec.config is not None
        module, attribute = spec.config.split(":")
        config = getattr(import_module(module), attribute)()
        loss = cls(**config.model_dump())
        assert loss == cls()
        for option in type(config).model_fields:
            assert getattr(loss, option) == getattr(config, option)


def test_public_names() -> None:
    for public in nlcore_sorting.__all__:
        assert getattr(nlcore_sorting, public).__name__ == public
        assert public in dir(nlcore_sorting)
    with pytest.raises(AttributeError, match="no attribute 'BubbleSort'"):
        _ = nlcore_sorting.BubbleSort


def test_registration_imports_no_torch() -> None:
    code = (
        "import sys, nlcore_sorting, nlcore_sorting.config, nlcore_sorting._plugin as plugin\n"
        "assert plugin.nlcore_algorithms()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
