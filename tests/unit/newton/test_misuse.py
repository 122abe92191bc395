"""Uses that would train silently with something else than was meant: they raise an error or warn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import nlcore
from nlcore.errors import ConfigError, DtypeError, NumericalWarning

DATA = torch.Generator().manual_seed(3)
PREDICTION, TARGET = torch.randn(2, 8, 3, generator=DATA, dtype=torch.float64)


def squares(prediction, target):
    return (prediction - target).square().sum(-1) / 2


def leaf():
    return PREDICTION.clone().requires_grad_()


CURVATURES = [None, nlcore.Hessian(damping=1.0), nlcore.EmpiricalFisher(damping=1.0), nlcore.Auto(aim="outputs")]


@pytest.mark.parametrize(("name", "value"), [("loss", squares), ("curvature", nlcore.Hessian(damping=1.0))])
def test_loss_and_curvature_cannot_be_replaced(name, value):
    criterion = nlcore.NewtonLoss(nlcore.make("core/squared_error"))
    with pytest.raises(ConfigError, match=f"The {name} of a NewtonLoss cannot be replaced.*Make a new one"):
        setattr(criterion, name, value)


@pytest.mark.parametrize("name", ["reduction", "value", "on_failure", "backend"])
def test_an_option_that_is_set_later_is_checked_too(name):
    criterion = nlcore.NewtonLoss(squares)
    with pytest.raises(ConfigError, match=name):
        setattr(criterion, name, "avg")


def test_a_reduction_that_is_set_later_holds():
    criterion = nlcore.NewtonLoss(squares)
    criterion.reduction = "sum"
    torch.testing.assert_close(criterion(leaf(), TARGET).detach(), squares(PREDICTION, TARGET).sum())


@pytest.mark.parametrize("curvature", CURVATURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "loss",
    [
        lambda prediction, target: (prediction.argmax(-1) != target.argmax(-1)).double(),
        lambda prediction, target: (prediction > target).double().sum(-1),
        lambda prediction, target: target.sum(-1),
    ],
    ids=["argmax", "comparison", "no prediction"],
)
def test_a_loss_without_a_derivative_is_named(loss, curvature):
    with pytest.raises(RuntimeError, match="does not require grad"):
        loss(leaf(), TARGET).mean().backward()
    with pytest.warns(NumericalWarning, match="no derivative with respect to the prediction"):
        nlcore.NewtonLoss(loss, curvature)(leaf(), TARGET)


def test_a_loss_at_its_minimum_is_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlcore.NewtonLoss(squares)(leaf(), PREDICTION)


def test_weights_that_are_learned_are_named():
    weight = torch.ones(8, dtype=torch.float64, requires_grad=True)
    criterion = nlcore.NewtonLoss(squares)
    with pytest.warns(NumericalWarning, match="weight requires a gradient, and gets none"):
        criterion(leaf(), TARGET, weight=weight)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(leaf(), TARGET, weight=weight)


@pytest.mark.parametrize("target", [TARGET.numpy(), {"values": [TARGET, np.ones(8)]}])
def test_an_array_of_numpy_is_no_target(target):
    with pytest.raises(DtypeError, match=r"the target holds a ndarray.*torch\.as_tensor"):
        nlcore.NewtonLoss(squares)(leaf(), target)


@pytest.mark.parametrize("curvature", CURVATURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("loss", [squares, nlcore.make("sequences/prefix_sum")], ids=["function", "prefix_sum"])
def test_the_default_device_does_not_matter(loss, curvature):
    network = torch.nn.Linear(3, 3, dtype=torch.float64)

    def train():
        criterion = nlcore.NewtonLoss(loss, curvature)
        network.zero_grad()
        for _ in range(8):
            criterion(network(PREDICTION), TARGET).backward()
        criterion.load_state_dict(criterion.state_dict())
        return network.weight.grad.clone(), criterion.explain()

    wanted, explained = train()
    torch.set_default_device("meta")
    try:
        found, again = train()
    finally:
        torch.set_default_device(None)
    assert again == explained
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
