"""The state of a NewtonLoss: tensors alone, exact after a resumption, harmless where it is missing."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from nlcore import Bounded, GaussNewton, NewtonLoss, compose
from nlcore.errors import ConfigError


def bent(y):
    return y.cumsum(-1).sin() + y


class Model(nn.Module):
    """A network and its criterion, as trainers save them."""

    def __init__(self, criterion=None):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(5, 6)
        bounded = GaussNewton(damping=Bounded(limit=1.05, refresh=5), normalize=True)
        self.criterion = NewtonLoss(compose(bent), bounded) if criterion is None else criterion


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [
        (3 * torch.randn(16, 5, generator=generator), torch.randn(16, 6, generator=generator)) for _ in range(count)
    ]


def train(model, steps):
    for x, t in steps:
        model.zero_grad()
        model.criterion(model.network(x), t).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.3 * p.grad
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("done", [1, 4, 7])
def test_training_goes_on_as_if_it_had_not_been_interrupted(done, tmp_path):
    steps = batches(12)
    model = Model()
    train(model, steps[:done])
    assert all(isinstance(value, torch.Tensor) for value in model.state_dict().values())
    again, through_file = Model(), Model()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    save_model(model, str(tmp_path / "model.safetensors"))
    load_model(through_file, str(tmp_path / "model.safetensors"))
    expected = train(model, steps[done:])
    assert torch.equal(train(again, steps[done:]), expected)
    assert torch.equal(train(through_file, steps[done:]), expected)


def test_the_state_matters():
    """Without it the damping is looked up at other steps, and training goes another way."""
    steps = batches(12)
    model = Model()
    train(model, steps[:7])
    forgetful = Model()
    forgetful.network.load_state_dict(model.network.state_dict())
    assert not torch.equal(train(forgetful, steps[7:]), train(model, steps[7:]))


def test_a_checkpoint_of_plain_training_loads():
    old = Model(nn.MSELoss()).state_dict()
    old["network.weight"] += 1.0
    model = Model()
    model.load_state_dict(old)
    assert torch.equal(model.network.weight, old["network.weight"])
    with pytest.raises(RuntimeError, match=r"network\.bias"):
        model.load_state_dict({"network.weight": old["network.weight"]})
    with pytest.raises(RuntimeError, match=r"network\.wieght"):
        model.load_state_dict({**old, "network.wieght": old["network.weight"]})


def test_a_checkpoint_of_version_0_1_loads():
    model = Model()
    state = {f"network.{name}": value for name, value in model.network.state_dict().items()}
    state |= {"criterion._rho": torch.tensor(0.25, dtype=torch.float64), "criterion._per_sample": torch.tensor(True)}
    model.load_state_dict({**state, "criterion._extra_state": 3})
    assert model.criterion.get_extra_state().tolist() == [0.25, 1.0, 3.0]


def test_half_precision_leaves_the_state_alone():
    model = Model()
    train(model, batches(3))
    before = model.criterion.get_extra_state()
    model.bfloat16()
    assert before.dtype == torch.float64
    assert torch.equal(model.criterion.get_extra_state(), before)


@pytest.mark.parametrize(
    "state",
    [
        3,
        None,
        "state",
        torch.zeros(2),
        torch.tensor([-1.0, 0.0, 0.0]),
        torch.tensor([0.1, 2.0, 0.0]),
        torch.tensor([0.1, 0.0, -1.0]),
        torch.tensor([0.1, 0.0, 0.5]),
        torch.tensor([float("nan"), 0.0, 0.0]),
    ],
    ids=str,
)
def test_an_odd_state_is_refused(state):
    model = Model()
    whole = model.state_dict()
    whole["criterion._extra_state"] = state
    with pytest.raises(ConfigError, match="cannot load the state"):
        model.load_state_dict(whole)
