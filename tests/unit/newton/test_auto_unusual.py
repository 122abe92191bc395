"""The default on unusual networks, losses and batches: no matrix is kept too long, and no fault is passed over."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import nlcore
from nlcore import Auto, Bounded, GaussNewton, NewtonLoss, Relative, newton_step
from nlcore.capabilities import read_capabilities
from nlcore.errors import NumericalWarning, PerformanceWarning
from nlcore.evaluation import per_sample
from nlcore.newton.probe import descend
from nlcore.newton.problem import Problem, Samples
from tests.unit.newton.losses import Noisy, half_square
from tests.unit.newton.test_auto import N, batch, bent, network, started, train


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.LayerNorm(16), nn.Identity()], ids=lambda one: type(one).__name__)
def test_a_network_whose_outputs_have_a_constant_sum_is_probed(last):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), last)
    criterion = NewtonLoss(half_square)
    for _ in range(3):
        criterion(net(torch.randn(50, 8)), torch.rand(50, 16)).backward()
    assert criterion.stats["probes"] > 0


def test_attention_that_can_be_differentiated_once_gets_the_remedy():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x, target = torch.randn(2, 4, 3, 8)
    criterion = NewtonLoss(lambda y, t: (y - t).square().sum((1, 2)))
    prediction = net(x)
    with pytest.warns(PerformanceWarning, match=r"plain gradient.*sdpa_kernel\(.*MATH\)"):
        criterion(prediction, target).backward()
    assert torch.equal(criterion.last_step.direction, criterion.last_step.gradient)
    other = NewtonLoss(criterion.loss)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        other(net(x), target).backward()
    assert other._selection.reason is None


def test_a_matrix_that_the_samples_share_is_formed_anew_as_it_changes():
    strength = torch.tensor(0.1)
    criterion = NewtonLoss(nlcore.compose(lambda y: (y + strength * y.flip(-1)).cumsum(-1)))
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), 1e-4)
    train(criterion, net, optimizer, 2)
    choice = criterion._selection
    assert choice.board.same
    choice.board.current, choice.next_probe, choice._pending = 3, 10**6, None
    train(criterion, net, optimizer, 2, start=2)
    strength.fill_(3.0)
    train(criterion, net, optimizer, 12, start=4)
    choice.board.current = 3
    x, target = batch(20)
    prediction = net(x)
    criterion(prediction, target)
    fresh = newton_step(criterion.loss, prediction, target, criterion.last_step.curvature.of)
    assert fresh.curvature.power == 1
    assert cosine(criterion.last_step.direction, fresh.direction) > 0.9999


def test_a_batch_of_one_does_not_say_that_all_samples_are_alike():
    criterion = NewtonLoss(nlcore.compose(bent))
    net = network()
    for seed in range(3):
        x, target = batch(seed)
        criterion(net(x[:1]), target[:1]).backward()
    assert not criterion._selection.board.same
    assert not criterion._selection.board.alike


@pytest.mark.parametrize("same", [False, True])
def test_early_newton_steps_need_samples_with_one_and_the_same_matrix(same):
    """To a new network all samples look alike; that alone is no reason to trust its first probes."""
    choice = started(nlcore.compose(bent), steps=1)[0]._selection.board
    choice.alike, choice.same, choice.probes, choice.current = True, same, 1, 0
    choice.scores[:] = 0.0
    choice.scores[3] = 1.0
    choice.barred[:] = 0.0
    choice.decide(range(len(choice.scores)))
    assert choice.current in ({3} if same else {0, choice.candidates.cautious})


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_a_loss_that_scales_is_probed_alike(scale):
    scaled = nlcore.compose(bent, lambda f, t: scale * (f - t).square().sum(-1) / 2)
    a, b = started(nlcore.compose(bent), steps=30)[0], started(scaled, steps=30)[0]
    assert torch.allclose(torch.tensor(a.history[-1].scores), torch.tensor(b.history[-1].scores), atol=0.05)
    assert [one.chosen for one in a.history] == [one.chosen for one in b.history]


def test_an_outer_loss_that_is_not_convex_is_noticed_whatever_is_chosen_first():
    loss = nlcore.compose(
        bent, lambda f, t: (1 - (f - t).square().neg().exp()).sum(-1) + 0.1 * (f - t).square().sum(-1)
    )
    criterion = NewtonLoss(loss)
    net = network()
    x, target = batch(0)
    with pytest.warns(NumericalWarning, match="not convex"):
        criterion(net(x), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(net(x), target)


def test_an_infinite_loss_leaves_state_and_mean_finite():
    criterion, net, _ = started(nlcore.compose(bent, lambda f, t: (f - t).square().sum(-1)), on_failure="fallback")
    x, target = batch(50)
    target[:2] = torch.inf
    criterion(net(x), target)
    state = criterion.state_dict()
    assert all(bool(torch.isfinite(one).all()) for one in state.values())
    other = NewtonLoss(criterion.loss)
    other.load_state_dict(state)
    level = criterion._selection.guard.level
    criterion(net(batch(51)[0]), batch(51)[1])
    assert criterion._selection.guard.level < 2 * level


def test_samples_without_weight_do_not_count_in_the_guard():
    criterion, net, _ = started(nlcore.compose(bent))
    x, target = batch(50)
    target[0] = 1e6
    weight = torch.ones(N)
    weight[0] = 0.0
    criterion(net(x), target, weight=weight)
    plain = float(criterion.last_step.value[1:].double().mean())
    assert criterion._selection.last == pytest.approx(plain, rel=1e-5)


def test_one_high_loss_is_no_stall():
    criterion, net, _ = started(nlcore.compose(bent), steps=4)
    choice = criterion._selection
    choice.age, choice.length.falling, choice.length.earlier = 300, 1.0, 1.3 * choice.guard.level
    x, target = batch(40)
    criterion(net(x), 100 + target)
    for _ in range(3):
        criterion(net(x), target)
    assert choice.length.falling > 0


@pytest.mark.parametrize("opaque", [True, False])
def test_a_direction_is_on_trial_where_only_gradients_are_known(opaque):
    loss = nlcore.compose(bent)
    criterion, net, _ = started((lambda y, t: loss(y, t)) if opaque else loss, steps=20)
    choice = criterion._selection
    choice.next_probe, choice._pending, choice.board.current = 10**6, None, 2
    choice.guard.level = choice.guard.lowest = level = choice.guard.level
    choice.guard.spread = 0.05 * level
    x, target = batch(40)
    with torch.no_grad():
        error = target - bent(net(x))
        raised = bent(net(x)) + error * (1.5 * level / (error.square().sum(1) / 2).mean()).sqrt()
    for _ in range(10):  # a loss of 1.5 times the mean: ten deviations above it, but not twice the mean
        criterion(net(x), raised)
    assert (choice.board.current == 0) == opaque


def test_the_state_of_the_default_is_not_that_of_another_curvature():
    state = started(nlcore.compose(bent))[0].state_dict()
    other = NewtonLoss(nlcore.compose(bent), GaussNewton(Bounded()))
    other.load_state_dict(state)
    x, target = batch(0)
    other(network()(x), target)
    assert other.get_extra_state().shape == (3,)


def test_an_empty_first_batch_decides_nothing():
    criterion = NewtonLoss(nlcore.compose(lambda y: y[:, :2].exp()))
    net = network()
    x, target = batch(0)
    criterion(net(x[:0]), target[:0, :2]).backward()
    assert criterion._selection is None
    criterion(net(x), target[:, :2]).backward()
    assert criterion.stats["probes"] == 0
    assert criterion._selection is not None


def test_a_random_loss_is_searched_with_one_draw():
    prediction, target = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = Problem.of(read_capabilities(Noisy()), prediction, target, generator=torch.Generator().manual_seed(1))
    value = problem.evaluation.value(prediction)
    slope = torch.func.grad(lambda y: problem.evaluation.value(y).sum())(prediction)
    moves = [slope, slope.sign(), torch.ones_like(slope)]
    together = descend(problem, value, slope, moves, kept=1)
    one_by_one = [descend(problem, value, slope, [one], kept=2**20) for one in moves]
    assert torch.equal(together.fall, torch.cat([one.fall for one in one_by_one]))
    assert torch.equal(together.length, torch.cat([one.length for one in one_by_one]))


def test_cross_validation_sees_noise_in_a_loss_that_supplies_its_hessian():
    loss, generator = nlcore.make("sequences/prefix_sum"), torch.Generator().manual_seed(0)
    truth, noise = torch.randn(2, 32, 40, generator=generator)
    damping = [
        newton_step(loss, torch.zeros(32, 40), truth.cumsum(-1) + share * noise, Auto(aim="outputs")).stats["damping"]
        for share in (0.0, 1.0)
    ]
    assert damping[1] > 3 * damping[0]


def test_a_quantile_that_is_infinite_stays_so():
    values = torch.tensor([[1.0], [torch.inf], [torch.inf]], dtype=torch.float64)
    samples = Samples.of(torch.ones(3, dtype=torch.float64))
    assert torch.isinf(samples.quantile(values, 0.9)).all()
    assert float(Samples.of(torch.zeros(3, dtype=torch.float64)).quantile(values, 0.9)) == 0


def test_low_rank_solves_what_damping_makes_regular():
    torch.manual_seed(0)
    matrix = torch.randn(3, 600)
    loss = nlcore.compose(lambda y: y @ matrix.T.to(y))
    prediction, target = torch.randn(4, 600), torch.randn(4, 3)
    fast = newton_step(loss, prediction, target, GaussNewton(damping=Relative(0.01), solver="low_rank"))
    exact = newton_step(loss, prediction.double(), target.double(), GaussNewton(damping=Relative(0.01)))
    assert cosine(per_sample(fast.direction).double(), exact.direction) > 0.9999


@pytest.mark.parametrize("size", [8, 300])
def test_newton_steps_that_would_fit_noise_are_barred_where_curvature_is_constant(size):
    barred = []
    for noise in (0.0, 3.0):
        torch.manual_seed(0)
        criterion, net = NewtonLoss(nlcore.make("sequences/prefix_sum")), nn.Linear(4, size)
        true = torch.randn(4, size)
        for _ in range(2):
            x = torch.randn(64, 4)
            seen = (x @ true).cumsum(1)
            criterion(net(x), seen + noise * seen.std() * torch.randn(64, size)).backward()
        board = criterion._selection.board
        barred.append([int(board.barred[k]) for k, name in enumerate(criterion.directions) if "power" not in name])
    # The gradient, the Fisher matrix, and the Newton steps with ρ = 0.001 and 0.1.
    assert barred == [[0, 0, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("learning_rate", [0.001, 0.003])
def test_a_few_noisy_samples_with_constant_curvature_do_no_harm(learning_rate):
    ratios = []
    for seed in range(3):
        lasts = []
        for make in (NewtonLoss, lambda loss: lambda *given: loss(*given).mean()):
            torch.manual_seed(seed)
            loss, x = nlcore.make("sequences/prefix_sum"), torch.randn(80, 8)
            clean = torch.tanh(x @ torch.randn(8, 16) / 2).cumsum(1)
            target = clean + 0.1 * clean.std() * torch.randn(80, 16)
            net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16))
            criterion, optimizer = make(loss), torch.optim.Adam(net.parameters(), learning_rate)
            for _ in range(500):
                index = torch.randint(80, (20,))
                optimizer.zero_grad()
                criterion(net(x[index]), target[index]).backward()
                optimizer.step()
            with torch.no_grad():
                lasts.append(float(loss(net(x), target).mean()))
        ratios.append(lasts[0] / lasts[1])
    assert sum(math.log(one) for one in ratios) < 0, ratios
