"""The guard of the default: losses that rise, of both signs, and directions on trial."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import nlcore
from nlcore import NewtonLoss
from nlcore.newton.guard import LossGuard
from nlcore.newton.step_length import StepLength


def fed(losses, *, direction=0, on_trial=False, guard=None):
    """Return a guard that has seen losses, and of each whether it found it lost."""
    guard = guard or LossGuard()
    said = []
    for loss in losses:
        said.append(guard.judge(loss, direction, on_trial=on_trial) == "lost")
        guard.count_in(loss)
    return guard, said


def noisy(mean, size, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (mean + size * torch.randn(count, generator=generator, dtype=torch.float64)).tolist()


@pytest.mark.parametrize("shift", [0.0, -1.0, -5.0, -100.0])
def test_a_log_likelihood_that_rises_is_seen_wherever_zero_is(shift):
    guard, said = fed(noisy(shift, 0.2, 300))
    assert not any(said)
    guard, said = fed(noisy(shift + 2.0, 0.2, 40, seed=1), guard=guard)
    assert any(said)
    assert guard.level > shift + 1.0  # the mean follows: a single high loss hardly counts, many do


def test_a_positive_loss_has_risen_at_twice_its_lowest_mean():
    guard, said = fed([1.0] * 100)
    assert not any(said)
    _, said = fed([1.8] * 200, guard=guard)
    assert not any(said)
    guard, said = fed([2.5] * 200, guard=guard)
    assert any(said)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("mean", [-2.0, 3.0])
def test_what_it_says_does_not_depend_on_the_scale_of_the_loss(scale, mean):
    losses = [scale * one for one in noisy(mean, 0.3, 100) + noisy(mean + 3.0, 0.3, 60, seed=1)]
    guard, said = fed(losses, direction=1, on_trial=True)
    plain, expected = fed([one / scale for one in losses], direction=1, on_trial=True)
    assert said == expected
    assert any(said)
    assert guard.level == pytest.approx(scale * plain.level)


def test_a_direction_on_trial_fails_where_the_loss_rises_soon():
    guard, _ = fed(noisy(3.0, 0.3, 100))
    risen = noisy(3.8, 0.3, 20, seed=1)  # less than three deviations, far from twice the mean
    assert not any(fed(risen, direction=2, guard=LossGuard.of(guard.state()))[1])
    assert any(fed(risen, direction=2, on_trial=True, guard=LossGuard.of(guard.state()))[1])
    assert not any(fed(risen, direction=0, on_trial=True, guard=LossGuard.of(guard.state()))[1])
    fallen = noisy(2.7, 0.3, 40, seed=1)
    assert not any(fed(fallen, direction=2, on_trial=True, guard=LossGuard.of(guard.state()))[1])


def test_a_slow_rise_is_in_doubt_long_before_it_is_lost():
    guard, found = LossGuard(), []
    for loss in noisy(1.0, 0.2, 400):
        found.append(guard.judge(loss, 5, on_trial=False))
        guard.count_in(loss)
        if found[-1] == "doubtful":
            guard.excuse()
    assert "lost" not in found
    assert found[30:].count("doubtful") <= 3  # noise alone, which costs a few probes
    said = []
    for step, loss in enumerate(noisy(1.0, 0.2, 200, seed=1)):
        said.append(guard.judge(loss + step / 200, 5, on_trial=False))
        guard.count_in(loss + step / 200)
    assert "doubtful" in said[:60]
    assert "lost" not in said
    guard.excuse()
    assert guard.judge(guard.level, 0, on_trial=False) == "fine"


def test_noise_alone_raises_doubt_once_in_a_few_hundred_steps():
    guard, doubts = LossGuard(), 0
    for step, loss in enumerate(noisy(1.0, 0.2, 5000)):
        doubtful = guard.judge(loss, 5, on_trial=False) == "doubtful"
        guard.count_in(loss)
        if doubtful:
            guard.excuse()
            doubts += step > 100
    assert 4900 / 350 <= doubts <= 4900 / 175


def test_the_samples_own_steps_earn_their_score_anew_where_the_loss_rises():
    torch.manual_seed(0)
    net = nn.Linear(4, 6)
    criterion = NewtonLoss(nlcore.make("core/cross_entropy"))
    x, label = torch.randn(32, 4), torch.randint(6, (32,))
    for _ in range(40):
        criterion(net(x), label)
    choice = criterion._selection
    own = criterion.directions.index("Hessian(aggregate='sample', power=0.5)")
    choice.board.scores[own], choice.board.current, choice.next_probe = 0.5, own, 10**6
    with torch.no_grad():
        net.bias[0] += 10.0  # every other class becomes less likely
    for _ in range(20):
        criterion(net(x), label)
        if choice.board.current == 0:
            break
    assert choice.board.current == 0
    assert float(choice.board.scores[own]) == 0.0
    assert choice.board.held == 0  # in doubt, not lost


def classified(criterion, seed):
    """Return the mean loss of the last 50 steps of a network with dropout that learns noisy labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 10, generator=generator)
    mixing = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    label = (x @ mixing + torch.randn(512, 6, generator=generator)).argmax(1)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(10, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 6))
    optimizer, losses = torch.optim.Adam(net.parameters(), 3e-3), []
    for step in range(300):
        torch.manual_seed(step)
        some = torch.randperm(512, generator=generator)[:32]
        optimizer.zero_grad()
        loss = criterion(net(x[some]), label[some])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-50:]) / 50


@pytest.mark.parametrize("seed", [4, 7, 22])
def test_noisy_labels_are_learned_as_plainly(seed):
    """The samples' own Newton steps, in use throughout, end at twice the loss of plain training here."""
    loss = nlcore.make("core/cross_entropy")
    plain = classified(lambda y, label: loss(y, label).mean(), seed)
    assert classified(NewtonLoss(loss), seed) <= 1.2 * plain


def test_its_state_is_whole():
    guard, _ = fed(noisy(-1.0, 0.2, 50), direction=1, on_trial=True)
    assert LossGuard.of(guard.state()) == guard
    fresh = LossGuard.of(LossGuard().state())
    assert math.isnan(fresh.level)
    assert fresh.direction == 0


def mixture(parameters, target):
    """Return the negative log-likelihood [N] of a mixture of five normal distributions."""
    weights, means, scales = parameters.split(5, 1)
    density = weights.log_softmax(1) - ((target - means) * (-scales).exp()).square() / 2 - scales
    return 0.5 * math.log(2 * math.pi) - density.logsumexp(1)


def ends_of_two_branches(seed, criterion):
    """Return the loss after 200 steps on y = ±(1.5 sin x + 0.5), which a mixture has to tell apart."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(256, 1, generator=generator) * 2 - 1
    sign = torch.randint(0, 2, (256, 1), generator=generator) * 2 - 1
    y = sign * (1.5 * x.sin() + 0.5) + 0.1 * torch.randn(256, 1, generator=generator)
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 15))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(200):
        index = torch.randint(0, 256, (64,), generator=generator)
        optimizer.zero_grad()
        criterion(net(x[index]), y[index]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(mixture(net(x), y).mean())


def test_a_mixture_density_network_is_trained_as_plainly():
    plain = [ends_of_two_branches(seed, lambda p, t: mixture(p, t).mean()) for seed in range(6, 10)]
    default = [ends_of_two_branches(seed, NewtonLoss(mixture)) for seed in range(6, 10)]
    assert sum(default) / 4 < sum(plain) / 4 + 0.1  # with a guard for positive losses alone, 0.2 more


def test_gradients_that_grow_lengthen_the_steps():
    length = StepLength(typical=1.0, recent=1.0)
    for _ in range(60):
        fitted = length.fit(10.0, plainly=False, steady=False, training=True)
    assert 5 < fitted <= 10
    for _ in range(60):
        fitted = length.fit(2.0, plainly=False, steady=False, training=True)
    assert fitted > 5  # gradients that shrink do not shorten them as soon
