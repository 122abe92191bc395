"""Gradients and Hessians against differences, and the closed form against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

import nlcore
from nlcore.capabilities import read_capabilities
from nlcore.errors import UnsupportedCurvatureError
from nlcore.protocol import AlgorithmicLoss, GaussNewtonSplit, SuppliesHessian
from nlcore_sorting import (
    FastSoftSort,
    NeuralSort,
    PermutationLoss,
    RankingLoss,
    SoftSort,
    SortingNetwork,
    ranks,
)
from nlcore_sorting.config import Objective

STEP = 1e-3


def sample(n: int, generator: torch.Generator, batch: int = 6) -> tuple[Tensor, Tensor]:
    """Scores at least 0.3 apart, so that no difference steps over a kink, and ranks of other values."""
    places = ranks(torch.rand(batch, n, generator=generator)).double()
    noise = torch.rand(batch, n, generator=generator, dtype=torch.float64)
    return 0.5 * places + 0.2 * noise, ranks(torch.randn(batch, n, generator=generator))


def gradient(loss: RankingLoss, scores: Tensor, target: Tensor) -> Tensor:
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target).sum(), leaf)[0]


def differences(function: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    """Derivatives of order six, one score at a time, in the last dimension of the result."""
    columns = []
    for k in range(scores.shape[-1]):
        step = torch.zeros(scores.shape[-1], dtype=scores.dtype)
        step[k] = STEP
        slopes = [(function(scores + i * step) - function(scores - i * step)) / (2 * STEP * i) for i in (1, 2, 3)]
        columns.append(1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2])
    return torch.stack(columns, dim=-1)


def batch_hessian(loss: RankingLoss, scores: Tensor, target: Tensor) -> Tensor:
    """The batch gradient pulled back on the unit vectors, as the engine does it."""

    def batch_gradient(inputs: Tensor) -> Tensor:
        value, pull = vjp(lambda y: loss(y, target), inputs)[:2]
        pulled: Tensor = pull(torch.ones_like(value))[0]
        return pulled

    pull = vjp(batch_gradient, scores)[1]
    unit = torch.eye(scores.shape[-1], dtype=scores.dtype).unsqueeze(1).expand(-1, *scores.shape)
    columns: Tensor = vmap(pull)(unit)[0]
    return columns.transpose(0, 1)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = expected.flatten(1).norm(dim=1).clamp(min=1e-3)
    assert ((found - expected).flatten(1).norm(dim=1) <= tolerance * scale).all()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_gradient_against_differences(loss: RankingLoss, n: int, generator: torch.Generator) -> None:
    scores, target = sample(n, generator)
    close(gradient(loss, scores, target), differences(lambda s: loss(s, target), scores), 1e-6)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_hessian_against_differences(loss: RankingLoss, n: int, generator: torch.Generator) -> None:
    scores, target = sample(n, generator)
    close(batch_hessian(loss, scores, target), differences(lambda s: gradient(loss, s, target), scores), 1e-6)


def test_second_derivatives_of_networks_at_equal_scores(network_loss: SortingNetwork) -> None:
    if network_loss.distribution in ("logistic_phi", "reciprocal"):
        pytest.skip("the second derivative of the distribution function jumps at 0")
    scores, target = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[2, 0, 3, 1]])
    close(gradient(network_loss, scores, target), differences(lambda s: network_loss(s, target), scores), 1e-6)
    found = batch_hessian(network_loss, scores, target)
    close(found, differences(lambda s: gradient(network_loss, s, target), scores), 1e-6)


def test_an_absolute_value_can_be_differentiated_twice(operator: RankingLoss, generator: torch.Generator) -> None:
    """The derivative of a sign is a zero without memory, which no kernel may read or write."""
    scores, way = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    methods: list[Any] = [operator.sort, operator.rank]
    if isinstance(operator, PermutationLoss):
        methods.append(operator.permutation)
    for method in methods:
        leaf = scores.clone().requires_grad_()
        (slope,) = torch.autograd.grad((method(leaf) - 0.3).abs().sum(), leaf, create_graph=True)
        (found,) = torch.autograd.grad((slope * way).sum(), leaf, allow_unused=True, materialize_grads=True)
        ahead, behind = (scores + step * way for step in (1e-6, -1e-6))

        def slopes(at: torch.Tensor, method: Any = method) -> torch.Tensor:
            at = at.clone().requires_grad_()
            return torch.autograd.grad((method(at) - 0.3).abs().sum(), at)[0]

        expected = (slopes(ahead) - slopes(behind)) / 2e-6
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_hessian_of_a_batch_is_that_of_its_samples(loss: RankingLoss, generator: torch.Generator) -> None:
    scores, target = sample(4, generator)
    single = vmap(jacrev(jacrev(lambda s, t: loss(s.unsqueeze(0), t.unsqueeze(0)).squeeze(0))))(scores, target)
    torch.testing.assert_close(batch_hessian(loss, scores, target), single, rtol=1e-10, atol=1e-12)


def test_gradients_and_curvatures_ignore_shifts(loss: RankingLoss, generator: torch.Generator) -> None:
    scores, target = sample(5, generator)
    assert gradient(loss, scores, target).sum(-1).abs().max() < 1e-12
    assert batch_hessian(loss, scores, target).sum(-1).abs().max() < 1e-10


@pytest.mark.parametrize("temperature", [0.05, 0.7, 5.0])
@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("cls", [NeuralSort, SoftSort])
def test_closed_form_is_the_hessian(
    cls: type[NeuralSort | SoftSort], n: int, temperature: float, generator: torch.Generator
) -> None:
    loss = cls(temperature=temperature)
    assert isinstance(loss, SuppliesHessian)
    scores, target = sample(n, generator, batch=20)
    scores[0] = scores[0, 0]  # all equal
    scores[1] = scores[1].round()  # some equal
    found = loss.hessian(scores, target)
    scale = found.abs().max().clamp(min=1.0)
    assert (found - batch_hessian(loss, scores, target)).abs().max() <= 1e-12 * scale
    assert torch.linalg.eigvalsh(found).min() >= -1e-12 * scale
    assert loss.traits.psd_hessian
    torch.testing.assert_close(found, found.mT, rtol=1e-12, atol=1e-12 * float(scale))


def test_closed_form_keeps_its_digits_where_the_sort_is_sharp() -> None:
    # Six gaps of 1 at τ = 0.05: every entry of the Hessian is about e^-20 of the terms that make it up.
    scores = torch.tensor([[0.0, 1.0, 3.0, 2.0, 4.0, 5.0]])
    target = ranks(scores)
    for loss in (NeuralSort(temperature=0.05), SoftSort(temperature=0.05)):
        assert isinstance(loss, SuppliesHessian)
        expected = loss.hessian(scores.double(), target)
        assert 0 < expected.abs().max() < 1e-4
        torch.testing.assert_close(
            loss.hessian(scores, target).double(), expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max())
        )


def test_closed_form_of_many_lists_is_that_of_each(curved: RankingLoss, generator: torch.Generator) -> None:
    assert isinstance(curved, SuppliesHessian)
    scores, target = sample(40, generator, batch=50)  # too many numbers to be taken at once
    mask = torch.rand(50, 40, generator=generator) < 0.3
    choices: tuple[dict[str, Tensor], ...] = ({}, {"mask": mask})
    for options in choices:
        single = [
            curved.hessian(scores[b : b + 1], target[b : b + 1], **{key: m[b : b + 1] for key, m in options.items()})
            for b in range(50)
        ]
        found = curved.hessian(scores, target, **options)
        torch.testing.assert_close(found, torch.cat(single), rtol=1e-12, atol=1e-14)


def test_closed_form_under_vmap(curved: RankingLoss, generator: torch.Generator) -> None:
    assert isinstance(curved, SuppliesHessian)
    scores, target = sample(4, generator)
    stacked = vmap(curved.hessian)(scores.reshape(2, 3, 4), target.reshape(2, 3, 4))
    torch.testing.assert_close(stacked.reshape(6, 4, 4), curved.hessian(scores, target), rtol=1e-12, atol=1e-14)


def test_split_is_the_loss_and_gauss_newton_its_hessian(curved: RankingLoss, generator: torch.Generator) -> None:
    assert isinstance(curved, GaussNewtonSplit)
    assert isinstance(curved, SuppliesHessian)
    scores, target = sample(4, generator)
    features = curved.inner(scores)
    torch.testing.assert_close(curved.outer(features, target), curved(scores, target), rtol=0, atol=0)
    for b in range(2):
        jacobian = jacrev(lambda s: curved.inner(s.unsqueeze(0)).flatten())(scores[b])
        outer = jacrev(jacrev(lambda z, b=b: curved.outer(z.view(1, 4, 4), target[b : b + 1]).squeeze(0)))(
            features[b].flatten()
        )
        assert torch.linalg.eigvalsh(outer).min() > -1e-12
        torch.testing.assert_close(
            jacobian.mT @ outer @ jacobian, curved.hessian(scores, target)[b], rtol=1e-10, atol=1e-12
        )


def test_capabilities_are_those_of_the_objective(loss: RankingLoss) -> None:
    curved = getattr(loss, "objective", "") == "rows" and isinstance(loss, NeuralSort | SoftSort)
    assert isinstance(loss, AlgorithmicLoss)
    supplies = read_capabilities(loss).supplies
    assert ("hessian" in supplies) == (curved or isinstance(loss, SortingNetwork))
    assert ("split" in supplies) == (curved or isinstance(loss, FastSoftSort))
    assert loss.traits.psd_hessian == curved
    assert "gradient" not in supplies
    order = 1 if getattr(loss, "regularization", "") == "l2" else 2
    assert (loss.traits.order, loss.traits.stochastic, loss.traits.transforms) == (order, False, "func")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("objective", get_args(Objective))
def test_the_target_of_a_network_may_change_after_the_forward_pass(
    network_loss: SortingNetwork, objective: Objective, order: int, generator: torch.Generator
) -> None:
    loss = replace(network_loss, objective=objective)
    scores, target = sample(5, generator)
    results = []
    for change in (False, True):
        leaf, given = scores.clone().requires_grad_(), target.clone()
        value = loss(leaf, given).sum()
        if change:
            given.data.fill_(1 << 40)  # as the owner of shared memory may, without a word to autograd
        (slope,) = torch.autograd.grad(value, leaf, create_graph=order == 2)
        results.append(slope if order == 1 else torch.autograd.grad(slope.square().sum(), leaf)[0])
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_piecewise_linear_rank_refuses_a_hessian_and_splits(generator: torch.Generator) -> None:
    loss = FastSoftSort()
    scores, target = sample(5, generator)
    with pytest.raises(UnsupportedCurvatureError):
        nlcore.NewtonLoss(loss, nlcore.Hessian())(scores.requires_grad_(), target)
    step = nlcore.newton_step(loss, scores, target, nlcore.GaussNewton(damping=0.1))
    jacobians = vmap(jacrev(lambda s: loss.rank(s)))(scores)
    mean = (jacobians.mT @ jacobians).mean(0) + 0.1 * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(step.direction, torch.linalg.solve(mean, step.gradient.mT).mT, rtol=1e-9, atol=1e-11)


def test_engine_hands_the_mask_to_the_split(generator: torch.Generator) -> None:
    scores, target = sample(5, generator)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[:, 1] = True
    rest = [0, 2, 3, 4]
    for loss in (FastSoftSort(), NeuralSort()):
        criterion = nlcore.NewtonLoss(loss, nlcore.GaussNewton(damping=0.1))
        leaf, short = scores.clone().requires_grad_(), scores[:, rest].clone().requires_grad_()
        value, expected = criterion(leaf, target, mask=mask), criterion(short, ranks(target[:, rest]))
        torch.testing.assert_close(value, expected)
        found = torch.autograd.grad(value, leaf)[0]
        torch.testing.assert_close(found[:, rest], torch.autograd.grad(expected, short)[0], rtol=1e-9, atol=1e-11)
        assert (found[:, 1] == 0).all()
