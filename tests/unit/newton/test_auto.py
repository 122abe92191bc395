"""The default: it leaves no trace, resumes exactly, equals the step it reports, and never harms."""

from __future__ import annotations

import copy
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import nlcore
from nlcore import Auto, Bounded, EmpiricalFisher, GaussNewton, NewtonLoss, Relative, newton_step
from nlcore.errors import ConfigError, PerformanceWarning
from nlcore.newton.candidates import Candidates, CandidatesAtBatch
from nlcore.newton.chunks import intermediates
from nlcore.newton.fisher import GRADIENT
from nlcore.newton.network import Network
from nlcore.newton.probe import descend
from nlcore.newton.problem import Problem
from nlcore.newton.scoreboard import Scoreboard
from nlcore.newton.step_length import StepLength
from tests.unit.newton.losses import Noisy, Wavy, half_square

M, N = 6, 16


def network(*layers: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 24), *(layers or (nn.Tanh(),)), nn.Linear(24, M))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 4, generator=generator)
    return x, torch.cat([x, x[:, :2].square()], 1).cumsum(1)


def train(criterion, net, optimizer, steps, *, start=0, forward=None, after=None):
    for seed in range(start, start + steps):
        x, target = batch(seed)
        optimizer.zero_grad()
        loss = criterion((forward or net)(x), target)
        loss.backward()
        optimizer.step()
        if after is not None:
            after(seed)
    return loss.item()


def started(loss=None, *, layers=(), steps=8, **options):
    net = network(*layers)
    criterion = NewtonLoss(nlcore.make("sequences/prefix_sum") if loss is None else loss, **options)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    train(criterion, net, optimizer, steps)
    return criterion, net, optimizer


def bent(y):
    return torch.sin(y).cumsum(-1) + 0.1 * y


def test_the_network_is_seen_as_it_is():
    net = network().double()
    x = batch(0)[0].double()
    parameters = tuple(net.parameters())
    prediction = net(x)
    seen = Network.of(prediction)
    assert {id(leaf) for leaf in seen.leaves} == {id(one) for one in parameters}
    jacobians = torch.autograd.functional.jacobian(
        lambda *p: torch.func.functional_call(net, dict(zip(dict(net.named_parameters()), p, strict=True)), (x,)),
        parameters,
    )
    jacobian = {id(p): j.reshape(N * M, -1) for p, j in zip(parameters, jacobians, strict=True)}
    direction = torch.randn(N, M, dtype=torch.float64)
    change = seen.vjp(direction)
    for leaf, part in zip(seen.leaves, change, strict=True):
        assert torch.allclose(part.flatten(), direction.flatten() @ jacobian[id(leaf)], atol=1e-12)
    moved = sum(jacobian[id(leaf)] @ part.flatten() for leaf, part in zip(seen.leaves, change, strict=True))
    assert torch.allclose(seen.jvp(change).flatten(), moved, atol=1e-10)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def frozen(layer: nn.Module) -> nn.Module:
    layer.weight.requires_grad_(False)
    return layer


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.Tanh(), nn.Conv2d(4, 3, 2, bias=False)), (2, 9, 9)),
        ((nn.Conv2d(2, 4, 3, bias=False), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2, dilation=2)), (2, 9, 9)),
        ((nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, groups=2), nn.Tanh()), (2, 3, 3)),
        ((nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 1, 2)), (2, 9)),
        ((frozen(nn.Conv3d(1, 2, 2)), nn.Tanh(), frozen(nn.Conv3d(2, 2, 2, bias=False))), (1, 4, 4, 4)),
        ((Twice(),), (2, 7)),
    ],
)
def test_the_changes_of_convolutions_are_those_of_torch(layers, shape):
    net = nn.Sequential(*copy.deepcopy(layers), nn.Flatten()).double()
    prediction = net(torch.randn(3, *shape, dtype=torch.float64))
    seen = Network.of(prediction)
    change = seen.vjp(torch.randn_like(prediction))
    (plain,) = torch.autograd.grad(seen.pulled, seen.dual, change, retain_graph=True)
    assert seen.convolutions
    assert torch.equal(seen.jvp(change), plain)
    assert torch.equal(seen.jvp(change), plain)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_descent_is_that_of_a_fine_search(scale):
    torch.manual_seed(1)
    loss = nlcore.compose(bent)
    prediction, target = torch.randn(N, M, dtype=torch.float64), torch.randn(N, M, dtype=torch.float64)
    problem = Problem.of(nlcore.capabilities.read_capabilities(loss), prediction, target)
    y = prediction.clone().requires_grad_()
    value = loss(y, target)
    (slope,) = torch.autograd.grad(value.sum(), y)
    moves = torch.stack([slope, slope @ torch.randn(M, M, dtype=torch.float64).abs(), -slope]) * scale
    found = descend(problem, value.detach(), slope, moves, kept=intermediates(problem))
    lengths = torch.logspace(-6, 2, 4000, dtype=torch.float64) / scale
    for move, fall, best_length in zip(moves[:2], found.fall[:2], found.length[:2], strict=True):
        values = torch.stack([loss(prediction - length * move, target).mean() for length in lengths])
        best = value.mean() - values.min()
        assert 0.9 * best <= fall <= 1.01 * best
        reached = value.mean() - loss(prediction - best_length * move, target).mean()
        assert torch.isclose(reached, fall)
    assert found.fall[2] == 0
    alone = [descend(problem, value.detach(), slope, [move], kept=2**20) for move in moves]
    assert torch.allclose(torch.cat([one.fall for one in alone]), found.fall, rtol=1e-10)
    assert torch.allclose(torch.cat([one.length for one in alone]), found.length, rtol=1e-10)


def test_a_descent_of_a_large_batch_evaluates_few_of_its_samples():
    seen = []

    def loss(y, t):
        seen.append(len(y))
        return (bent(y) - t).square().sum(1)

    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 5000, M, generator=generator, dtype=torch.float64)
    problem = Problem.of(nlcore.capabilities.read_capabilities(loss), prediction, target)
    y = prediction.clone().requires_grad_()
    value = loss(y, target)
    (slope,) = torch.autograd.grad(value.sum(), y)
    seen.clear()
    found = descend(problem, value.detach(), slope, [slope], kept=2**30)
    assert len(seen) == 6  # and whether the loss accepts a part of the batch
    assert all(500 < count <= 1024 for count in seen)
    reached = value.mean() - loss(prediction - found.length[0] * slope, target).mean()
    assert torch.isclose(found.fall[0], reached, rtol=0.1)


def test_a_loss_that_refers_to_the_whole_batch_is_evaluated_on_it():
    prediction, target, start = torch.randn(3, 2000, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(y, t):
        return (bent(y + start) - t).square().sum(1)

    problem = Problem.of(nlcore.capabilities.read_capabilities(loss), prediction, target)
    y = prediction.clone().requires_grad_()
    value = loss(y, target)
    (slope,) = torch.autograd.grad(value.sum(), y)
    found = descend(problem, value.detach(), slope, [slope], kept=2**30)
    assert found.fall[0] > 0
    reached = value.mean() - loss(prediction - found.length[0] * slope, target).mean()
    assert torch.isclose(found.fall[0], reached)


@pytest.mark.parametrize("few", [1, 5 * M**2])
def test_a_matrix_from_few_samples_at_a_time_is_that_of_all(monkeypatch, few):
    loss = nlcore.compose(bent, traits=nlcore.Traits())
    prediction, target = torch.randn(2, N, M, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    prediction[3] = torch.nan
    steps = tuple(GaussNewton(Relative(rho)) for rho in (1e-3, 0.1))
    candidates = Candidates((EmpiricalFisher(power=0.0), *steps), newton=2, bounded=GaussNewton(Bounded()))
    found = []
    for many in (2**18, 0):
        monkeypatch.setattr("nlcore.newton.candidates._MANY", many)
        monkeypatch.setattr("nlcore.newton.candidates._FEW", few)
        problem = Problem.of(nlcore.capabilities.read_capabilities(loss), prediction, target, weight=weight)
        at_batch = CandidatesAtBatch(candidates, replace(problem, raising=False))
        at_batch.exclude_unusable()
        dispersion = at_batch.dispersion()
        found.append((at_batch.formed, dispersion, list(at_batch.directions(candidates.curvatures))))
    (whole, all_of_them, one), (parts, some_of_them, other) = found
    assert whole.own is not None and parts.own is None
    assert torch.allclose(whole.mean, parts.mean, rtol=1e-12, atol=1e-14)
    assert torch.allclose(whole.mean_curvature, parts.mean_curvature, rtol=1e-12)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-10)
    assert not all_of_them.same and not some_of_them.same
    assert all_of_them.round == some_of_them.round


def test_a_matrix_from_few_samples_at_a_time_is_formed_between_probes_too(monkeypatch):
    loss = nlcore.compose(bent, traits=nlcore.Traits())
    prediction, target = torch.randn(2, N, M, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    half, bounded = GaussNewton(power=0.5), GaussNewton(Bounded())
    candidates = Candidates((EmpiricalFisher(power=0.0), half), newton=None, bounded=bounded)
    means = []
    for many in (2**18, 0):
        monkeypatch.setattr("nlcore.newton.candidates._MANY", many)
        problem = Problem.of(nlcore.capabilities.read_capabilities(loss), prediction, target)
        means.append(CandidatesAtBatch(candidates, problem).mean_matrix(half, same=False).mean)
    assert torch.allclose(*means, rtol=1e-12, atol=1e-14)


def test_a_training_with_many_features_goes_on_between_probes():
    torch.manual_seed(0)
    net, mix = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 80)), torch.randn(80, 80) / 80**0.5
    criterion = NewtonLoss(nlcore.compose(lambda y: torch.tanh(y @ mix)))
    for seed in range(120):
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))
        criterion(net(x), torch.tanh(x.repeat(1, 20))).backward()
        selection = criterion._selection
        selection.board.current = [one.kind for one in selection.candidates.curvatures].index("gauss_newton")
    ages = {age for age, _ in selection.matrices.kept.values()}
    assert ages - {probe.step for probe in selection.history}  # a matrix was formed at a step without a probe


def test_the_first_step_is_that_of_the_curvature_it_reports():
    for loss in (nlcore.compose(bent), Wavy(), half_square, nlcore.make("sequences/prefix_sum")):
        net = network()
        criterion = NewtonLoss(loss)
        for seed in range(12):
            x, target = batch(seed)
            prediction = net(x)
            prediction.retain_grad()
            criterion(prediction, target).backward()
            step = criterion.last_step
            again = newton_step(loss, prediction.detach(), target, step.curvature)
            assert torch.allclose(again.direction, step.direction, rtol=1e-4, atol=1e-6)
            assert torch.allclose(N * prediction.grad, step.direction, rtol=1e-4, atol=1e-6)
            assert torch.allclose(step.target, prediction.detach() - step.direction, atol=1e-5)


@pytest.mark.parametrize("layers", [(nn.Tanh(),), (nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3))])
def test_a_probe_leaves_no_trace(layers):
    net = network(*copy.deepcopy(layers)).train()
    calls = []
    net[0].register_forward_hook(lambda *_: calls.append(1))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    criterion = NewtonLoss(nlcore.compose(bent))
    x, target = batch(0)
    prediction = net(x)
    prediction.retain_grad()
    grads = [parameter.grad.clone() for parameter in net.parameters()]
    buffers = [buffer.clone() for buffer in net.buffers()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    versions = [parameter._version for parameter in net.parameters()]
    hooks = [dict(module._forward_hooks) for module in net.modules()]
    criterion(prediction, target)
    assert criterion._selection._pending is not None
    assert all(torch.equal(a, b.grad) for a, b in zip(grads, net.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, net.buffers(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
    assert versions == [parameter._version for parameter in net.parameters()]
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    assert hooks == [dict(module._forward_hooks) for module in net.modules()]
    assert prediction.grad is None
    assert calls == [1]


def test_a_run_from_a_checkpoint_goes_on_to_the_last_digit():
    for loss in (nlcore.make("sequences/prefix_sum"), nlcore.compose(bent), half_square):
        criterion, net, optimizer = started(loss, steps=23)
        saved = copy.deepcopy((criterion.state_dict(), net.state_dict(), optimizer.state_dict()))
        criterion._selection._pending = None
        expected = train(criterion, net, optimizer, 30, start=23)
        criterion, net, optimizer = started(loss, steps=0 or 1)
        criterion = NewtonLoss(loss)
        for part, state in zip((criterion, net, optimizer), saved, strict=True):
            part.load_state_dict(state)
        assert train(criterion, net, optimizer, 30, start=23) == expected


def test_states_that_do_not_fit_are_refused_or_begin_anew():
    criterion, _, _ = started()
    state = criterion.get_extra_state()
    assert state.dtype == torch.float64
    other = NewtonLoss(half_square)
    other.set_extra_state(state)
    with pytest.raises(ConfigError, match="of 5 candidates, and this loss has 4"):
        train(other, net := network(), torch.optim.SGD(net.parameters(), 0.1), 1)
    for wrong in (state[:-1], torch.cat([state, state[:1]]), state * float("nan"), torch.ones(20)):
        with pytest.raises(ConfigError, match="cannot load the state"):
            NewtonLoss(half_square).set_extra_state(wrong)
    NewtonLoss(half_square, nlcore.EmpiricalFisher()).set_extra_state(state)
    fresh = NewtonLoss(half_square)
    fresh.set_extra_state(torch.zeros(3, dtype=torch.float64))
    assert fresh._selection is None


def test_equal_trainings_choose_alike():
    runs = [started(nlcore.compose(bent), steps=40)[0] for _ in range(2)]
    assert runs[0].history == runs[1].history
    assert len(runs[0].history) > 6


class OnceOnly(torch.autograd.Function):
    """The identity, whose backward pass cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, incoming):
        return incoming


calls = []


def hooked(net):
    net[1].register_full_backward_hook(lambda *_: calls.append(1))


def watched(prediction):
    prediction.register_hook(calls.append)
    return prediction


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (lambda net, x: OnceOnly.apply(net(x)), "once_differentiable"),
        (lambda net, x: checkpoint(net, x.requires_grad_(), use_reentrant=True), "[Cc]heckpoint"),
        (lambda net, x: (hooked(net), net(x))[1], "a module has a backward hook"),
        (lambda net, x: (next(net.parameters()).register_hook(calls.append), net(x))[1], "a parameter has a hook"),
        (lambda net, x: watched(net(x)), "the prediction has a hook"),
    ],
)
def test_a_network_that_cannot_be_probed_trains_plainly(forward, match):
    net = network()
    calls.clear()
    criterion = NewtonLoss(nlcore.compose(bent))
    with pytest.warns(PerformanceWarning, match="cannot probe this network") as caught:
        train(criterion, net, torch.optim.Adam(net.parameters(), 1e-2), 3, forward=lambda x: forward(net, x))
    assert len([one for one in caught if "probe" in str(one.message)]) == 1
    assert "the plain gradient, because the network cannot be probed" in criterion.explain()
    assert torch.equal(criterion.last_step.direction, criterion.last_step.gradient)
    # no hook, one that watches the prediction of its step, or one more at every step: a backward pass calls each once
    assert len(calls) in (0, 3, 1 + 2 + 3)


def test_checkpoints_without_reentry_are_probed():
    net = network()
    criterion = NewtonLoss(nlcore.compose(bent))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(criterion, net, optimizer, 12, forward=lambda x: checkpoint(net, x, use_reentrant=False))
    plain = started(nlcore.compose(bent), steps=12)[0]
    assert [one.chosen for one in criterion.history] == [one.chosen for one in plain.history]


def test_a_loss_that_scales_scales_the_directions_and_nothing_else():
    loss = nlcore.compose(bent)
    scaled = nlcore.compose(bent, lambda f, t: 1e4 * (f - t).square().sum(-1) / 2)
    a, b = started(loss, steps=30)[0], started(scaled, steps=30)[0]
    assert [one.chosen for one in a.history] == [one.chosen for one in b.history]
    assert b.stats["length"] == pytest.approx(1e4 * a.stats["length"], rel=1e-2)


@pytest.mark.parametrize(("kind", "rate"), [(torch.optim.SGD, 0.5), (torch.optim.Adam, 0.1)])
def test_steps_shrink_with_the_gradients_of_a_fit_without_noise(kind, rate):
    scales, first, last = torch.logspace(0, -1, M), {}, {}
    for name, criterion in (("plain", lambda y, t: half_square(y, t).mean()), ("default", NewtonLoss(half_square))):
        torch.manual_seed(0)
        net, true = nn.Linear(M, M), torch.randn(M, M)
        optimizer = kind(net.parameters(), rate)
        for seed in range(300):
            x = torch.randn(N, M, generator=torch.Generator().manual_seed(seed)) * scales
            optimizer.zero_grad()
            last[name] = criterion(net(x), x @ true)
            first.setdefault(name, last[name])
            last[name].backward()
            optimizer.step()
    # Steps of a steady length leave 3e-2 and 1.5e-4 of the first loss. Plain training under Adam reaches 2e-11.
    assert last["default"] <= 2 * last["plain"] + 1e-5 * first["default"]


def test_the_length_does_not_jump_when_the_choice_changes():
    lengths, taken, chosen, falling = [], [], [], []
    net = network()
    criterion = NewtonLoss(nlcore.compose(bent))

    def after(_):
        lengths.append(criterion.stats["length"])
        taken.append(criterion.last_step.direction.square().mean().sqrt().item())
        chosen.append(criterion._selection.board.current)
        falling.append(criterion._selection.length.falling > 0)

    train(criterion, net, torch.optim.Adam(net.parameters(), 1e-2), 60, after=after)
    assert len(set(chosen)) > 1
    ratios = torch.tensor(lengths[1:]) / torch.tensor(lengths[:-1])
    assert ratios.log().abs().max() < 0.06  # a memory of 20 steps, where the gradient is the direction
    steady = (torch.tensor(chosen) > 0) & torch.tensor(falling)
    assert torch.allclose(torch.tensor(taken)[steady], torch.tensor(lengths)[steady], rtol=1e-5)


class GradientAlone(Auto):
    def candidates(self, problem):
        return Candidates((EmpiricalFisher(power=0.0),))


def test_the_gradient_is_left_as_it_is_until_another_direction_is_taken():
    net = network()
    criterion = NewtonLoss(nlcore.compose(bent), GradientAlone())
    unchanged = []

    def after(_):
        unchanged.append(torch.equal(criterion.last_step.direction, criterion.last_step.gradient))

    train(criterion, net, torch.optim.SGD(net.parameters(), 0.1), 30, after=after)
    assert unchanged == [True] * 30


def test_after_a_stall_steps_differ_as_gradients_do():
    criterion, net, optimizer = started(nlcore.compose(bent), steps=12)
    criterion._selection.length.falling = 0.0
    ratios = []

    def after(_):
        step, length = criterion.last_step, criterion._selection.length
        taken, own = (one.double().square().mean().sqrt().item() for one in (step.direction, step.gradient))
        if criterion._selection.guard.risen == 0 and length.typical <= 1.5 * length.recent:
            ratios.append((taken / own) / (length.typical / length.recent))

    train(criterion, net, optimizer, 30, after=after)
    assert len(ratios) > 10
    assert ratios == pytest.approx([1.0] * len(ratios), rel=1e-4)


@pytest.mark.parametrize(("ratio", "after"), [(10.0, (1.0, 1.1)), (0.1, (0.1, 0.15))])
def test_after_a_stall_a_long_step_shrinks_soon_and_a_short_one_grows_slowly(ratio, after):
    length = StepLength(typical=ratio, recent=1.0)
    for _ in range(100):
        length.typical = length._next(1.0, 1.0, gradients=True)
    assert after[0] <= length.typical <= after[1]
    # It also changes by the factor by which gradients do.
    assert length._next(2.0, 2.0, gradients=True) / length.typical == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(("same", "chosen"), [(False, 0), (True, 2)])
def test_the_samples_own_steps_have_an_advantage_only_where_their_matrices_are_the_same(same, chosen):
    half, own = GaussNewton(damping=Relative(0.1), power=0.5), GaussNewton(damping=Relative(0.1), aggregate="sample")
    board = Scoreboard(Candidates.of(EmpiricalFisher(power=0.0), half, own, cautious=half))
    board.alike, board.same, board.probes = True, same, 10
    board.scores += torch.tensor([0.0, -1.0, 0.05])
    board.decide([0, 1, 2])
    assert board.current == chosen
    board.scores[1] = 0.05  # one matrix for all has it in either case
    board.current = 0
    board.decide([0, 1, 2])
    assert board.current == 1


def test_the_gradient_of_a_loss_of_which_nothing_else_is_known_is_left_for_a_clear_gain_alone():
    board = Scoreboard(Candidates.of(GRADIENT, EmpiricalFisher(Relative(0.1)), cautious=GRADIENT))
    board.scores[1] = 0.9
    for board.probes, chosen in (0, 0), (5, 0), (6, 1):
        board.decide([0, 1])
        assert board.current == chosen
    for score, chosen in (0.01, 1), (0.0, 0), (0.2, 0), (0.26, 1):
        board.scores[1] = score
        board.decide([0, 1])
        assert board.current == chosen


def gaussian(y, target):
    """A negative log-likelihood as a function: the logarithms of the standard deviations are outputs too."""
    mean, log_deviation = y.split(M // 2, 1)
    return (0.5 * ((mean - target[:, : M // 2]) / log_deviation.exp()).square() + log_deviation).sum(1)


@pytest.mark.parametrize("lr", [3e-3, 1e-2])
def test_a_likelihood_as_a_function_is_trained_no_worse_than_plainly(lr):
    differences = []
    for seed in range(4):
        reached = []
        for criterion in (lambda y, target: gaussian(y, target).mean(), NewtonLoss(gaussian)):
            net = network(seed=seed)
            train(criterion, net, torch.optim.Adam(net.parameters(), lr), 200)
            with torch.no_grad():
                losses = [gaussian(net(x), target).mean() for x, target in map(batch, range(1000, 1020))]
            reached.append(float(torch.stack(losses).mean()))
        differences.append(reached[1] - reached[0])
    assert sum(differences) / len(differences) < 0.05


class Scaled(nn.Module):
    """A network whose outputs all depend on one number."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = network(), nn.Parameter(torch.tensor(0.01))

    def forward(self, x):
        return 100 * self.scale * self.inner(x)


@pytest.mark.parametrize(("kind", "limited"), [(torch.optim.Adam, True), (torch.optim.SGD, False)])
def test_a_parameter_that_is_one_number_does_not_outweigh_the_others(kind, limited):
    net, criterion = Scaled(), NewtonLoss(nlcore.compose(bent))
    train(criterion, net, kind(net.parameters(), 1e-3), 11)
    pending = criterion._selection._pending
    assert pending is not None
    place = [leaf.ndim for leaf in pending.leaves].index(0)
    single = pending.changes[0][place].abs().item()
    others = torch.cat([part.flatten() for k, part in enumerate(pending.changes[0]) if k != place])
    usual = others.square().mean().sqrt().item()
    assert (single == pytest.approx(usual, rel=1e-4)) == limited
    assert (single > 10 * usual) != limited


def test_a_loss_that_rises_for_good_keeps_the_gradient():
    criterion, net, _ = started(nlcore.compose(bent), steps=30)
    assert criterion._selection.board.current != 0
    x, target = batch(0)
    for _ in range(20):
        criterion(net(x), target + 3.0)
    choice = criterion._selection
    assert choice.board.current == 0
    assert choice.board.held >= choice.board.probes + 5
    other = NewtonLoss(criterion.loss)
    other.load_state_dict(criterion.state_dict())
    other(net(x), target)
    assert other._selection.board.held == choice.board.held
    assert other._selection.guard.lowest == pytest.approx(choice.guard.lowest, rel=0.1)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_small_batches_with_skewed_noise_are_fitted_in_the_mean(kind):
    """Steps of equal length would fit a quantile: with one sample, that of as many signs up as down."""
    missed, steps = {}, 1000
    for name, criterion in (("plain", lambda y, t: half_square(y, t).mean()), ("default", NewtonLoss(half_square))):
        torch.manual_seed(0)
        net, true = nn.Linear(4, 1), torch.randn(4, 1)
        optimizer = kind(net.parameters(), 0.02)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            x = torch.randn(1, 4, generator=generator)
            noise = torch.empty(1, 1).exponential_(generator=generator) - 1
            optimizer.zero_grad()
            criterion(net(x), x @ true + noise).backward()
            optimizer.step()
            schedule.step()
        missed[name] = float((net.weight.detach().T - true).square().sum() + net.bias.detach().square())
    assert missed["default"] <= 2 * missed["plain"]


@pytest.mark.parametrize("offset", [0.0, -100.0])
def test_a_loss_that_rises_sends_the_choice_back_to_the_gradient(offset):
    def outer(found, target):
        return (found - target).square().sum(-1) / 2 + offset

    criterion, net, _ = started(nlcore.compose(bent, outer), steps=30)
    selection = criterion._selection
    selection.board.current, selection._pending, selection.next_probe = 3, None, 10**6
    x, target = batch(99)
    for _ in range(3):
        criterion(net(x), target + 50)
        assert selection.board.current == 3
    criterion(net(x), target)
    assert selection.board.current == 0 or selection.history[-1].step == selection.age - 1
    assert selection.dense_until > selection.age > selection.next_probe - 10


def test_losses_with_a_domain_are_probed_inside_it():
    net = network()
    criterion = NewtonLoss(nlcore.compose(lambda y: torch.where(y > 0, y, torch.nan).log().cumsum(-1)))

    def positive(x):
        return nn.functional.softplus(net(x)) + 0.1

    for seed in range(8):
        x, _ = batch(seed)
        criterion(positive(x), torch.ones(N, M)).backward()
    assert len(criterion.history) >= 1


@pytest.mark.parametrize("loss", [Noisy(), half_square, Wavy(), nlcore.compose(bent)])
def test_masks_weights_and_an_empty_batch(loss):
    criterion, net, _ = started(loss, steps=4)
    x, target = batch(50)
    criterion(net(x), target, weight=torch.arange(N, dtype=torch.float32)).backward()
    assert criterion(net(x[:0]), target[:0]).item() == 0
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("bad", [0, 1])
def test_a_batch_that_is_not_finite_does_not_end_the_probes(bad):
    """Its parameters get no step, as under a GradScaler; the products of the check are NaN, which proves nothing."""
    net, criterion = network(), NewtonLoss(nlcore.compose(bent), on_failure="fallback")
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerformanceWarning)
        for step in range(12):
            x, target = batch(step)
            if step == bad:
                x[0, 0] = torch.nan
            optimizer.zero_grad()
            criterion(net(x), target).backward()
            if all(p.grad.isfinite().all() for p in net.parameters()):
                optimizer.step()
    assert criterion.stats["probes"] > 0
    assert criterion.stats["nonfinite"] == 0


def test_evaluation_changes_nothing():
    criterion, net, _ = started(nlcore.compose(bent), value="newton")
    before = criterion.get_extra_state()
    with torch.no_grad():
        criterion(net(batch(70)[0]), batch(70)[1])
    assert torch.equal(before, criterion.get_extra_state())


def test_the_newton_value_is_the_same_in_evaluation():
    criterion, net, _ = started(nlcore.compose(bent), value="newton", steps=12)
    criterion._selection.next_probe, criterion._selection._pending = 10**6, None
    x, target = batch(70)
    with torch.no_grad():
        evaluated = criterion(net(x), target)
    assert criterion(net(x), target).item() == pytest.approx(evaluated.item(), rel=1e-5)


def test_a_part_that_can_be_differentiated_once_may_come_later():
    criterion, net, optimizer = started(nlcore.compose(bent), steps=7)
    with pytest.warns(PerformanceWarning, match="cannot probe this network"):
        train(criterion, net, optimizer, 6, start=7, forward=lambda x: OnceOnly.apply(net(x)))
    assert "the plain gradient" in criterion.explain()


def test_large_networks_keep_nothing_for_the_next_batch(monkeypatch):
    monkeypatch.setattr("nlcore.newton.probe._WAITING", 10)
    criterion, _, _ = started(nlcore.compose(bent), steps=12)
    assert not criterion.pending
    assert len(criterion.history) == 3


def test_probes_under_autocast_take_the_loss_in_full_precision():
    seen = []

    def loss(prediction, target):
        seen.append((prediction @ prediction.mT).dtype)
        return (prediction - target).square().sum(-1)

    net = network()
    criterion, optimizer = NewtonLoss(loss), torch.optim.Adam(net.parameters(), 1e-2)
    for seed in range(12):
        x, target = batch(seed)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = criterion(net(x), target)
        value.backward()
        optimizer.step()
    assert set(seen) == {torch.float32}
    assert len(criterion.history) >= 1


def test_a_prediction_that_is_a_leaf_is_its_own_network():
    prediction = nn.Parameter(torch.zeros(N, M))
    criterion, target = NewtonLoss(nlcore.make("sequences/prefix_sum")), batch(0)[1]
    optimizer = torch.optim.SGD([prediction], 0.5)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = criterion(prediction, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


def test_the_picture_shows_the_probes():
    criterion, _, _ = started(nlcore.compose(bent), steps=30)
    assert criterion.plot()[:4] == b"\x89PNG"
    assert b"<svg" in criterion.plot(format="svg", dark=True)
    with pytest.raises(ConfigError, match="no probe is complete"):
        NewtonLoss(half_square).plot()
    with pytest.raises(ConfigError, match="no format 'gif'"):
        criterion.plot(format="gif")


def test_a_wrong_aim_names_the_right_ones():
    with pytest.raises(ConfigError, match=r"Auto\(aim='output'\).*'loss', 'outputs'.*did you mean 'outputs'"):
        Auto(aim="output")


def oscillators(controls, state):
    """A chain whose samples' own Newton steps ruin each other: 4 features, 24 outputs."""
    for push in controls.unbind(-1):
        first, second, speed, other = state.unbind(-1)
        pull = (second - first) ** 3
        state = state + 0.2 * torch.stack([speed, other, -first + pull, -second - pull + 3 * push], -1)
    return state


def trained(criterion, seed, *, lr=1e-2, steps=400):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 24))
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = 0.5 * torch.rand(64, 4, generator=generator)
        optimizer.zero_grad()
        criterion(net(x), x, context=x).backward()
        optimizer.step()
        schedule.step()
    x = 0.5 * torch.rand(256, 4, generator=generator)
    with torch.no_grad():
        return nlcore.compose(oscillators)(net(x), x, context=x).mean().item()


@pytest.mark.parametrize("lr", [3e-3, 1e-2])
def test_the_default_does_no_harm_where_newton_steps_do(lr):
    loss = nlcore.compose(oscillators)

    def plain(prediction, target, context):
        return loss(prediction, target, context=context).mean()

    pairs = [(trained(NewtonLoss(loss), seed, lr=lr), trained(plain, seed, lr=lr)) for seed in range(2)]
    assert sum(a for a, _ in pairs) <= sum(b for _, b in pairs)
