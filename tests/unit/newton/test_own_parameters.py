"""Parameters of the loss itself: they receive the gradient of plain training, beside the direction of the network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nlcore
from nlcore import Traits

CURVATURES = [None, nlcore.Auto(aim="outputs"), nlcore.Hessian(damping=1.0), nlcore.EmpiricalFisher(damping=1.0)]


class Learned(nn.Module):
    """½‖τ sin(y) − t‖² with a learned τ; prediction, target: [batch, m]."""

    traits = Traits()

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.calls = 0

    def forward(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return [batch]."""
        self.calls += 1
        return (self.scale * prediction.sin() - target).square().sum(-1) / 2

    def example(self, batch_size: int, **made: Any) -> tuple[Tensor, Tensor]:
        """Return an example."""
        prediction, target = torch.randn(2, batch_size, 3, **made)
        return prediction, target


def data(seed: int = 0, count: int = 8) -> tuple[Tensor, Tensor]:
    prediction, target = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(seed))
    return prediction.requires_grad_(), target


def plain_gradient(loss: Learned, prediction: Tensor, target: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    (gradient,) = torch.autograd.grad(reduce(loss(prediction, target)), [loss.scale])
    return gradient


def test_a_parameter_of_a_function_that_is_unfrozen_later_receives_its_gradient():
    scale, (prediction, target) = nn.Parameter(torch.ones(3), requires_grad=False), data()
    criterion = nlcore.NewtonLoss(lambda y, t: (scale * y - t).square().sum(-1) / 2)
    criterion(prediction, target).backward()
    assert scale.grad is None
    scale.requires_grad_(True)
    (wanted,) = torch.autograd.grad(((scale * prediction - target).square().sum(-1) / 2).mean(), [scale])
    criterion(prediction, target).backward()
    torch.testing.assert_close(scale.grad, wanted)


@pytest.mark.parametrize("curvature", CURVATURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("weighted", "on_failure"), [(True, "raise"), (True, "fallback"), (False, "fallback")])
def test_a_sample_that_is_nan_and_does_not_count_leaves_their_gradient_finite(curvature, weighted, on_failure):
    loss, (prediction, target) = Learned(), data()
    others = torch.arange(8) != 2
    wanted = plain_gradient(loss, prediction[others], target[others], Tensor.mean) * (1 if weighted else 7 / 8)
    spoilt = torch.where(others.unsqueeze(1), prediction.detach(), torch.nan).requires_grad_()
    criterion = nlcore.NewtonLoss(loss, curvature, on_failure=on_failure)
    criterion(spoilt, target, weight=others.double() if weighted else None).backward()
    torch.testing.assert_close(loss.scale.grad, wanted)
    assert spoilt.grad.isfinite().all()


@pytest.mark.parametrize("curvature", CURVATURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("value", ["original", "newton"])
def test_they_receive_the_plain_gradient(curvature, value):
    loss, (prediction, target) = Learned(), data()
    wanted = plain_gradient(loss, prediction, target, Tensor.mean)
    criterion = nlcore.NewtonLoss(loss, curvature, value=value)
    for factor in (1.0, -3.0):
        loss.scale.grad = None
        (factor * criterion(prediction, target)).backward()
        torch.testing.assert_close(loss.scale.grad, factor * wanted)


def test_value_and_direction_are_those_without_them():
    loss, (prediction, target) = Learned(), data()
    frozen = copy.deepcopy(loss).requires_grad_(False)
    found = []
    for one in (loss, frozen):
        prediction.grad = None
        value = nlcore.NewtonLoss(one, nlcore.Hessian(damping=1.0))(prediction, target)
        value.backward()
        found.append((value.detach(), prediction.grad.clone()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_weights_and_reductions():
    loss, (prediction, target) = Learned(), data()
    weight = torch.rand(8) + 0.1
    reductions = {
        "mean": lambda losses: (weight * losses).sum() / weight.sum(),
        "sum": lambda losses: (weight * losses).sum(),
        "none": lambda losses: (weight * losses).sum(),
    }
    for reduction, reduce in reductions.items():
        loss.scale.grad = None
        criterion = nlcore.NewtonLoss(loss, nlcore.Hessian(damping=1.0), reduction=reduction)
        criterion(prediction, target, weight=weight).sum().backward()
        torch.testing.assert_close(loss.scale.grad, plain_gradient(loss, prediction, target, reduce))


@pytest.mark.parametrize("kind", ["function", "compose", "module in a function"])
def test_those_that_a_function_reads(kind):
    prediction, target = data()
    scale, layer = nn.Parameter(torch.tensor(1.5)), nn.Linear(3, 3)
    losses = {
        "function": lambda y, t: (scale * y.sin() - t).square().sum(-1) / 2,
        "compose": nlcore.compose(layer),
        "module in a function": lambda y, t: (layer(y) - t).square().sum(-1) / 2,
    }
    parameters = [scale] if kind == "function" else list(layer.parameters())
    wanted = torch.autograd.grad(losses[kind](prediction, target).mean(), parameters)
    criterion = nlcore.NewtonLoss(losses[kind], nlcore.Auto(aim="outputs"))
    for _ in range(2):
        for one in parameters:
            one.grad = None
        criterion(prediction, target).backward()
        torch.testing.assert_close([one.grad for one in parameters], list(wanted))


def test_those_of_a_module_may_be_frozen_first():
    loss, (prediction, target) = Learned().requires_grad_(False), data()
    criterion = nlcore.NewtonLoss(loss, nlcore.Hessian(damping=1.0))
    criterion(prediction, target).backward()
    assert loss.scale.grad is None
    loss.requires_grad_(True)
    criterion(prediction, target).backward()
    torch.testing.assert_close(loss.scale.grad, plain_gradient(loss, prediction, target, Tensor.mean))


def test_a_loss_without_them_is_not_evaluated_again():
    loss, (prediction, target) = Learned().requires_grad_(False), data()
    criterion = nlcore.NewtonLoss(loss, nlcore.EmpiricalFisher(damping=1.0))
    for seed in range(4):
        criterion(*data(seed))
    before = loss.calls
    criterion(prediction, target)
    evaluations = loss.calls - before
    loss.requires_grad_(True)
    before = loss.calls
    criterion(prediction, target)
    assert loss.calls - before == evaluations + 1


def test_the_first_step_draws_no_further_random_numbers():
    prediction, target = data()
    dropout = nn.Dropout(0.5)

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return (dropout(prediction) - target).square().sum(-1) / 2

    torch.manual_seed(0)
    loss(prediction, target)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    with pytest.warns(nlcore.errors.NumericalWarning, match="differ"):
        nlcore.NewtonLoss(loss, nlcore.EmpiricalFisher(damping=1.0))(prediction, target)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_target_gets_none():
    prediction, target = data()
    target.requires_grad_()
    criterion = nlcore.NewtonLoss(lambda y, t: (y - t).square().sum(-1) / 2, nlcore.Hessian(damping=1.0))
    with pytest.warns(nlcore.errors.NumericalWarning, match="gets none"):
        criterion(prediction, target).backward()
    assert target.grad is None


def test_a_copy_and_a_checkpoint_train_on():
    loss, (prediction, target) = Learned(), data()
    criterion = nlcore.NewtonLoss(loss, nlcore.Hessian(damping=1.0))
    assert set(criterion.state_dict()) == {"loss.scale", "_extra_state"}
    assert dict(criterion.named_parameters()).keys() == {"loss.scale"}
    twin = copy.deepcopy(criterion)
    twin(prediction, target).backward()
    assert loss.scale.grad is None
    torch.testing.assert_close(twin.loss.scale.grad, plain_gradient(loss, prediction, target, Tensor.mean))


def trained(loss: Learned) -> float:
    """Return the last loss of a training on targets that a scale of 1.5 cannot reach."""
    torch.manual_seed(0)
    inputs, network = torch.randn(64, 4), nn.Linear(4, 3)
    target = 3.0 * (0.5 * inputs @ torch.randn(4, 3)).sin()
    criterion = nlcore.NewtonLoss(loss)
    optimiser = torch.optim.Adam([*network.parameters(), *criterion.parameters()], lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        value = criterion(network(inputs), target)
        value.backward()
        optimiser.step()
    return float(value.detach())


def test_both_are_trained():
    loss = Learned()
    assert trained(loss) < 0.25 * trained(Learned().requires_grad_(False))
    assert float(loss.scale.detach()) > 2.5


class Normalised(Learned):
    """Learned, behind a batch normalisation in training mode; prediction, target: [batch, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return [batch]."""
        return super().forward(self.norm(prediction), target)


@pytest.mark.filterwarnings("ignore:Normalised. the loss of a sample changes:nlcore.errors.NumericalWarning")
@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_batch_normalisation_in_training_mode_trains_with_the_loss(curvature):
    loss, (prediction, target) = Normalised(), data()
    plain = copy.deepcopy(loss)
    criterion = nlcore.NewtonLoss(loss, curvature)
    for _ in range(3):
        loss.zero_grad()
        criterion(prediction, target).backward()
        plain.zero_grad()
        plain(prediction, target).mean().backward()
        for one, wanted in zip(loss.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad, wanted.grad)


def test_the_buffers_of_a_loss_are_its_own_after_the_checks():
    loss, (prediction, target) = Normalised().eval(), data()
    before = dict(loss.named_buffers())
    nlcore.NewtonLoss(loss, nlcore.EmpiricalFisher())(prediction, target).backward()
    assert all(one is before[name] for name, one in loss.named_buffers())
