"""Gradients and Hessians against central differences in float64, and what the traits promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlcore import EmpiricalFisher, Hessian, NewtonLoss, newton_step
from nlcore.protocol import SuppliesGradient, SuppliesHessian
from nlcore_ranking import LambdaLoss, ListLoss, ListMLE, ListNet, RankNet

Draw = Callable[..., tuple[Tensor, Tensor]]
STEP = 1e-5


def gradient(loss: Any, scores: Tensor, target: Tensor, **options: Any) -> Tensor:
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target, **options).sum(), leaf)[0]


def differences(function: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    basis = torch.eye(scores.shape[1], dtype=scores.dtype) * STEP
    return torch.stack([(function(scores + e) - function(scores - e)) / (2 * STEP) for e in basis], dim=-1)


def autodiff_hessian(loss: Any, scores: Tensor, target: Tensor) -> Tensor:
    leaf = scores.clone().requires_grad_()
    slope = torch.autograd.grad(loss(leaf, target).sum(), leaf, create_graph=True)[0]
    rows = [torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0] for column in slope.unbind(1)]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_the_gradient_equals_central_differences(loss: ListLoss, n: int, draw: Draw) -> None:
    scores, target = draw(loss, 3, n)
    found = gradient(loss, scores, target)
    numeric = differences(lambda y: loss(y, target), scores)
    assert (found - numeric).norm() <= 1e-6 * max(1e-3, float(numeric.norm()))


@pytest.mark.parametrize("n", [2, 5, 9])
def test_the_supplied_hessian_equals_central_differences(curved: Any, n: int, draw: Draw) -> None:
    scores, target = draw(curved, 3, n)
    found = curved.hessian(scores, target)
    numeric = differences(lambda y: gradient(curved, y, target), scores)
    assert found.shape == (3, n, n)
    assert (found - numeric).norm() <= 1e-6 * max(1e-3, float(numeric.norm()))


def test_the_supplied_hessian_is_that_of_autodiff_at_ties_too(curved: Any, draw: Draw) -> None:
    scores, target = draw(curved, 4, 6)
    scores[:, 1] = scores[:, 3]
    torch.testing.assert_close(curved.hessian(scores, target), autodiff_hessian(curved, scores, target))


def test_the_hessian_of_the_others_by_autodiff_equals_central_differences(bumpy: Any, draw: Draw) -> None:
    scores, target = draw(bumpy, 3, 6)
    found = autodiff_hessian(bumpy, scores, target)
    numeric = differences(lambda y: gradient(bumpy, y, target), scores)
    assert numeric.norm() > 0
    assert (found - numeric).norm() <= 1e-6 * numeric.norm()


def test_capabilities_and_traits_tell_the_truth(loss: ListLoss) -> None:
    closed = isinstance(loss, SuppliesHessian)
    assert closed or not isinstance(loss, RankNet | ListNet | ListMLE | LambdaLoss)
    assert not isinstance(loss, SuppliesGradient)
    assert loss.traits.psd_hessian is closed
    assert loss.traits.takes_mask
    linear = getattr(loss, "relaxation", "") == "fast_soft_sort"
    assert (loss.traits.order, loss.traits.event_ndim, loss.traits.stochastic) == (1 if linear else 2, 1, False)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_supplied_hessians_are_semidefinite_with_zero_row_sums(curved: Any, scale: float, draw: Draw) -> None:
    scores, target = draw(curved, 5, 7)
    matrix = curved.hessian(scale * scores, target)
    size = matrix.abs().amax()
    assert torch.equal(matrix, matrix.mT)
    assert torch.linalg.eigvalsh(matrix).min() >= -1e-14 * size
    assert matrix.sum(2).abs().max() <= 1e-14 * size


def test_tiny_entries_are_exact_where_probabilities_saturate_in_float32() -> None:
    scores, target = torch.tensor([[15.0, 0.0, -15.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    for loss in (ListNet(), ListMLE(), RankNet()):
        matrix = loss.hessian(scores, target)
        exact = loss.hessian(scores.double(), target.double())
        assert ((matrix - exact).abs() <= 1e-5 * exact.abs()).all()  # entry by entry, tiny ones too


@pytest.mark.parametrize("convex", [RankNet(), ListNet(), ListMLE()], ids=repr)
def test_convex_losses_lie_below_their_chords(convex: ListLoss, draw: Draw) -> None:
    a, target = draw(convex, 64, 6)
    b = 3 * draw(convex, 64, 6, seed=1)[0]
    assert (convex((a + b) / 2, target) <= (convex(a, target) + convex(b, target)) / 2 + 1e-12).all()


def test_lambda_gradients_take_the_weights_as_constants(draw: Draw) -> None:
    """The λ of LambdaRank: |ΔNDCG|·σ/(1 + exp(σ(s_i − s_j))), in units of log 2."""
    scores, target = torch.tensor([[0.2, 1.0]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    delta = 1 - 1 / torch.log2(torch.tensor(3.0, dtype=torch.float64))
    push = delta * torch.sigmoid(scores[0, 1] - scores[0, 0]) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    found = gradient(LambdaLoss(weighting="lambdarank"), scores, target)
    torch.testing.assert_close(found, torch.stack([-push, push])[None])


def test_newton_steps_of_padded_lists_are_those_of_shorter_ones(graded: ListLoss, draw: Draw) -> None:
    scores, target = draw(graded, 3, 7)
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[:, 5:] = True
    second = graded.traits.order == 2
    curvature = Hessian(damping=0.3, aggregate="sample") if second else EmpiricalFisher(damping=0.3)
    padded = newton_step(graded, scores, target, curvature, mask=mask)
    short = newton_step(graded, scores[:, :5], target[:, :5], curvature)
    torch.testing.assert_close(padded.direction[:, :5], short.direction)
    assert not padded.direction[:, 5:].any()


def test_the_default_newton_loss_trains(loss: ListLoss, draw: Draw) -> None:
    scores, target = draw(loss, 16, 6)
    criterion = NewtonLoss(loss)
    y = scores.clone().requires_grad_()
    optimizer = torch.optim.SGD([y], lr=0.5)
    first = loss(y, target).mean().item()
    for _ in range(20):
        optimizer.zero_grad()
        criterion(y, target).backward()
        optimizer.step()
    assert loss(y, target).mean().item() < first
