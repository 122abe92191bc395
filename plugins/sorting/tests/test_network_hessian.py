"""The Hessian of a network's loss, compiled and by its formula in torch, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from nlcore.compiled import has_numba, torch_alone
from nlcore_sorting import SortingNetwork, ranks
from nlcore_sorting._differentiation import differentiated
from nlcore_sorting.config import Distribution, Network, Objective

every = pytest.mark.parametrize("objective", get_args(Objective))
distributions = pytest.mark.parametrize("distribution", get_args(Distribution))


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test with numba, where it is installed, and with numba blocked."""
    if request.param == "torch":
        with torch_alone():
            yield request.param
    elif has_numba():
        yield request.param
    else:
        pytest.skip("numba is not installed")


def by_differentiation(loss: SortingNetwork, scores: Tensor, target: Tensor) -> Tensor:
    return differentiated(loss._cross_entropy, scores, target, None)


@every
@distributions
@pytest.mark.parametrize("network", get_args(Network))
def test_the_hessian_of_a_network(
    network: Network, distribution: Distribution, objective: Objective, generator: torch.Generator
) -> None:
    loss = SortingNetwork(network=network, distribution=distribution, objective=objective, steepness=3.0)
    scores = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    scores[5] *= 1e4  # where probabilities underflow
    mask = torch.arange(9) >= torch.tensor([9, 8, 4, 2, 1, 9]).unsqueeze(-1)
    target = ranks(torch.randn(6, 9, generator=generator))
    for padding in (None, mask):
        with torch_alone():
            expected = torch.autograd.functional.hessian(
                lambda s, padding=padding: loss(s, target, mask=padding).sum(), scores
            )
        expected = torch.stack([expected[b, :, b] for b in range(6)])
        scale = expected.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
        found = loss.hessian(scores, target, mask=padding)
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-9)
        torch.testing.assert_close((found / scale)[:5], (found.mT / scale)[:5], rtol=0, atol=1e-12)
        assert loss.hessian(scores.float(), target, mask=padding).dtype == torch.float32


@every
@pytest.mark.parametrize("distribution", ["logistic", "gaussian", "logistic_phi", "cauchy"])
def test_the_hessian_of_a_sharp_network(
    distribution: Distribution, objective: Objective, generator: torch.Generator
) -> None:
    loss = SortingNetwork(distribution=distribution, objective=objective)
    scores = 0.5 * torch.randn(8, 5, generator=generator, dtype=torch.float64) * torch.arange(1, 9).unsqueeze(-1)
    target = ranks(scores + torch.randn(8, 5, generator=generator))
    expected = by_differentiation(loss, scores, target)
    scale = expected.abs().amax(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(loss.hessian(scores, target) / scale, expected / scale, rtol=0, atol=1e-8)


@every
@distributions
def test_the_hessian_of_a_network_at_equal_scores(distribution: Distribution, objective: Objective) -> None:
    loss = SortingNetwork(distribution=distribution, objective=objective)
    scores = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.3, -0.1, 0.3, 0.3]], dtype=torch.float64)
    target = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])
    expected = by_differentiation(loss, scores, target)
    scale = expected.abs().amax(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(loss.hessian(scores, target) / scale, expected / scale, rtol=0, atol=1e-9)


def test_pieces_of_a_differentiated_hessian(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, target = torch.randn(7, 5, generator=generator, dtype=torch.float64), torch.arange(5).repeat(7, 1)
    loss = SortingNetwork()
    with torch_alone():
        whole = loss.hessian(scores, target)
        monkeypatch.setattr("nlcore_sorting._network.hessian._NUMBERS", 2 * 5**3)
        torch.testing.assert_close(loss.hessian(scores, target), whole, rtol=1e-12, atol=1e-12)


def test_the_hessian_of_a_network_is_served_where_it_can_be(generator: torch.Generator) -> None:
    loss = SortingNetwork(steepness=3.0)
    scores = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    target = ranks(torch.randn(4, 6, generator=generator))
    found = loss.hessian(scores, target)
    stacked = vmap(loss.hessian)(scores.view(2, 2, 6), target.view(2, 2, 6)).reshape(4, 6, 6)
    torch.testing.assert_close(stacked, found, rtol=1e-9, atol=1e-10)
    leaf = scores.clone().requires_grad_()
    assert torch.autograd.grad(loss.hessian(leaf, target).sum(), leaf)[0].shape == scores.shape
    loss.hessian(scores[:0], target[:0])
    with torch_alone():
        torch.testing.assert_close(loss.hessian(scores, target), found, rtol=1e-9, atol=1e-10)
