"""The effective learning rate: seen where steps are proportional to the gradient, and how far a step goes then."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import nlcore
from nlcore import NewtonLoss
from nlcore.newton.candidates import Candidates
from nlcore.newton.learning_rate import EffectiveLearningRate, entries
from nlcore.newton.scoreboard import Scoreboard
from nlcore.newton.step_length import StepLength

LOSS = nlcore.compose(lambda y: y.cumsum(1) / 4)


def started(optimizer, *, before=None, steps=8, every=1, dtype=torch.float32, seed=0):
    """Train for a few steps.

    Args:
        optimizer: From parameters to an optimiser.
        before: What is done to the parameters just before each step of it.
        steps: Number of batches.
        every: Batches per step of the optimiser.
        dtype: Type of the parameters.
        seed: Of the network and the data.

    Returns:
        The criterion.
    """
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 12)).to(dtype)
    criterion, opt = NewtonLoss(LOSS), optimizer(list(net.parameters()))
    for step in range(steps):
        x = torch.randn(32, 8, dtype=dtype)
        criterion(net(x), (torch.tanh(x @ torch.ones(8, 12, dtype=dtype)) + 1.5).cumsum(1) / 4).backward()
        if (step + 1) % every:
            continue
        if before is not None:
            before(list(net.parameters()))
        opt.step()
        opt.zero_grad()
    return criterion


def groups(parameters):
    return torch.optim.SGD([{"params": parameters[:2], "lr": 1e-3}, {"params": parameters[2:], "lr": 1e-2}])


PROPORTIONAL = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-2),
    "momentum": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, nesterov=True),
    "decay": lambda p: torch.optim.SGD(p, 1e-2, weight_decay=5e-4),
    "groups": groups,
}
RESCALING = {
    "adam": lambda p: torch.optim.Adam(p, 1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "muon": lambda p: torch.optim.Muon([one for one in p if one.ndim == 2], 1e-3),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PROPORTIONAL)
def test_steps_in_proportion_are_seen(name, seed):
    assert started(PROPORTIONAL[name], seed=seed)._selection.learning_rate.value > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", RESCALING)
def test_steps_that_are_rescaled_have_none(name, seed):
    assert started(RESCALING[name], steps=60, seed=seed)._selection.learning_rate.value == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("learning_rate", [1e-4, 1e-2])
def test_that_of_sgd_is_its_learning_rate(learning_rate, dtype):
    criterion = started(lambda p: torch.optim.SGD(p, learning_rate), dtype=dtype)
    assert criterion._selection.learning_rate.value == pytest.approx(learning_rate, rel=1e-3)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_what_momentum_repeats_is_no_part_of_it(momentum):
    criterion = started(lambda p: torch.optim.SGD(p, 1e-3, momentum=momentum), steps=40)
    assert criterion._selection.learning_rate.value == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
def test_a_multiple_of_the_loss_at_as_small_a_rate_trains_alike(factor):
    def trained(factor):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 12)).double()
        criterion = NewtonLoss(lambda y, t: factor * LOSS(y, t))
        optimizer = torch.optim.SGD(net.parameters(), 1e-3 / factor)
        for _ in range(40):
            x = torch.randn(32, 8, dtype=torch.float64)
            criterion(net(x), (torch.tanh(x) @ torch.ones(8, 12, dtype=torch.float64)).cumsum(1)).backward()
            optimizer.step()
            optimizer.zero_grad()
        return criterion._selection.board.mean_reach, torch.cat([one.detach().flatten() for one in net.parameters()])

    (reach, weights), (expected_reach, expected) = trained(factor), trained(1.0)
    assert torch.allclose(reach + math.log(factor), expected_reach, atol=1e-6)
    assert torch.allclose(weights, expected, atol=1e-8)


def test_clipping_is_part_of_it():
    clipped = started(PROPORTIONAL["sgd"], before=lambda p: nn.utils.clip_grad_norm_(p, 0.1), steps=2)
    plain = started(PROPORTIONAL["sgd"], steps=2)
    assert 0 < clipped._selection.learning_rate.value < 0.2 * plain._selection.learning_rate.value


@pytest.mark.parametrize(("name", "proportional"), [("sgd", True), ("adam", False)])
def test_a_step_for_several_batches_is_waited_for(name, proportional):
    optimizer = (PROPORTIONAL | RESCALING)[name]
    assert started(optimizer, steps=4, every=4)._selection.learning_rate.value is None  # compared at the next batch
    assert (started(optimizer, steps=5, every=4)._selection.learning_rate.value > 0) == proportional


def test_a_step_without_effect_is_no_evidence():
    warmup = started(lambda p: torch.optim.SGD(p, 0.0), steps=12)
    assert warmup._selection.learning_rate.value is None


def test_a_step_goes_no_farther_than_the_best_point_of_the_search():
    selection = started(PROPORTIONAL["sgd"], steps=3)._selection
    rate = selection.learning_rate.value
    assert selection.learning_rate.farthest(3 * rate) == pytest.approx(3)
    assert started(RESCALING["adam"])._selection.learning_rate.farthest(1.0) == math.inf


def test_too_great_a_length_shrinks_step_by_step():
    length = StepLength(typical=4.0, recent=1.0)
    lengths = [length.fit(1.0, plainly=False, steady=False, training=True, farthest=2.0) for _ in range(12)]
    assert lengths[0] == pytest.approx(3.6, rel=1e-3)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize(("stalled", "least"), [(False, 1.0), (True, 0.1)])
def test_a_step_may_be_as_long_as_recent_gradients_before_a_stall_and_a_tenth_after_it(stalled, least):
    length = StepLength(typical=1.5, recent=1.0, falling=0.0 if stalled else 1.0)
    for _ in range(40):
        fitted = length.fit(1.0, plainly=False, steady=False, training=True, farthest=0.01)
    assert fitted == pytest.approx(least, rel=1e-2)


def test_a_nearer_best_point_counts_at_once_and_a_farther_one_in_the_mean():
    half = nlcore.GaussNewton(power=0.5)
    board = Scoreboard(Candidates.of(nlcore.EmpiricalFisher(power=0.0), half, cautious=half))
    board.current = 1
    for length, expected in ((1.0, 1.0), (0.01, 0.01), (1.0, 0.01 ** (1 / 3))):
        board.reached(torch.tensor([1.0, length], dtype=torch.float64), [0, 1])
        board.probes += 1
        assert board.reach == pytest.approx(expected)


def test_parameters_of_one_entry_are_no_evidence():
    rate = EffectiveLearningRate()
    leaves = (torch.ones(1), torch.ones(1))
    rate.ask(leaves, entries(leaves))
    leaves[0].sub_(0.1)
    rate.see(1.0)
    assert rate.value == 0


def test_it_is_part_of_a_checkpoint():
    criterion = started(PROPORTIONAL["momentum"], steps=12)
    again = NewtonLoss(LOSS)
    again.load_state_dict(criterion.state_dict())
    x = torch.randn(4, 12, requires_grad=True)
    again(x, torch.zeros(4, 12)).backward()
    assert again._selection.learning_rate.value == criterion._selection.learning_rate.value > 0
    assert again._selection.board.reach == criterion._selection.board.reach
    assert torch.equal(again._selection.board.last_reach, criterion._selection.board.last_reach)


def trained_from_a_long_gradient(seed, make, learning_rate, activation, momentum):
    """Train by SGD towards outputs of mean 1.5, which the network lacks at first: its first gradients are the longest.

    Returns:
        The loss after the training.
    """
    torch.manual_seed(seed)
    x = torch.randn(900, 8)
    target = (torch.tanh(x @ torch.randn(8, 12)) + 1.5).cumsum(1) / 4
    layers = [nn.Linear(8, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 32), activation()]
    net = nn.Sequential(*layers, nn.Linear(32, 12))
    criterion, optimizer = make(LOSS), torch.optim.SGD(net.parameters(), learning_rate, momentum=momentum)
    for _ in range(300):
        index = torch.randint(900, (32,))
        optimizer.zero_grad()
        criterion(net(x[index]), target[index]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(LOSS(net(x), target).mean())


def plainly(loss):
    return lambda *given: loss(*given).mean()


@pytest.mark.parametrize(
    ("learning_rate", "activation", "momentum"),
    [
        (0.006, nn.ReLU, 0.9),
        (0.0125, nn.ReLU, 0.9),
        (0.015, nn.ReLU, 0.0),
        (0.03, nn.ReLU, 0.0),
        (0.06, nn.ReLU, 0.0),
        (0.06, nn.Tanh, 0.0),
    ],
)
def test_a_long_first_gradient_does_no_harm(learning_rate, activation, momentum):
    ratios = [
        trained_from_a_long_gradient(seed, NewtonLoss, learning_rate, activation, momentum)
        / trained_from_a_long_gradient(seed, plainly, learning_rate, activation, momentum)
        for seed in range(3)
    ]
    assert math.prod(ratios) ** (1 / 3) < 1, ratios


@pytest.mark.parametrize("change", ["moved", "resized"])
def test_a_network_that_is_changed_between_two_steps_is_no_evidence(change):
    rate = EffectiveLearningRate()
    layer = nn.Linear(4, 4)
    leaves = tuple(layer.parameters())
    rate.ask(leaves, entries(leaves))
    if change == "moved":
        layer.to("meta")
    else:
        layer.weight.data = torch.zeros(8, 4)
    rate.see(1.0)
    assert rate.value is None


def test_a_step_without_length_is_no_evidence():
    rate = EffectiveLearningRate()
    leaf = torch.ones(8)
    rate.ask((leaf,), entries((leaf,)))
    leaf -= 0.1
    rate.see(0.0)
    assert rate.value is None
    rate.ask((leaf,), entries((leaf,)))
    leaf -= 0.09  # along the leaf itself
    rate.see(2.0)
    assert rate.value == pytest.approx(0.05)
