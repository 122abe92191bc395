"""Values and gradients against other libraries, where they are installed (benchmarks/requirements.txt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_sorting import FastSoftSort, OptimalTransportSort, SoftSort, SortingNetwork, ranks
from nlcore_sorting.config import Distribution, Network, Regularization

# What other libraries warn of on import or in a call is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def agree(
    own: Callable[[Tensor], Tensor], peer: Callable[[Tensor], Tensor], scores: Tensor, *, slope: float = 1e-10
) -> None:
    results = []
    for function in (own, peer):
        leaf = scores.clone().requires_grad_()
        value = function(leaf)
        weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view(value.shape).cos()
        results.append((value.detach(), torch.autograd.grad((weights * value).sum(), leaf)[0]))
    for found, expected, tolerance in zip(*results, (1e-10, slope), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize("distribution", get_args(Distribution))
@pytest.mark.parametrize("network", get_args(Network))
def test_networks_are_those_of_diffsort(
    network: Network, distribution: Distribution, n: int, generator: torch.Generator
) -> None:
    diffsort = pytest.importorskip("diffsort")
    scores = torch.randn(5, n, generator=generator, dtype=torch.float64)
    # Its reciprocal distribution is v / (2 + |v|), that of the paper 2v / (1 + 2|v|).
    steepness = 12.0 if distribution == "reciprocal" else 3.0
    peer = diffsort.DiffSortNet(network, n, steepness=steepness, distribution=distribution, art_lambda=0.25)
    own = SortingNetwork(network=network, distribution=distribution, steepness=3.0)
    if distribution == "optimal":  # the peer adds 1e-10 to its denominators
        torch.testing.assert_close(own.permutation(scores), peer(scores)[1].mT, rtol=0, atol=1e-8)
        return
    slope = 1e-7 if distribution == "gaussian" else 1e-10  # the peer writes π with few digits in its backward
    agree(own.sort, lambda s: peer(s)[0], scores, slope=slope)
    agree(own.permutation, lambda s: peer(s)[1].mT, scores, slope=slope)


@pytest.mark.parametrize("network", get_args(Network))
def test_the_loss_is_that_of_the_matrix_of_diffsort(network: Network, generator: torch.Generator) -> None:
    diffsort = pytest.importorskip("diffsort")
    scores, values = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    peer = diffsort.DiffSortNet(network, 8, steepness=3.0, distribution="logistic")
    target = ranks(values)
    true = torch.zeros(5, 8, 8, dtype=torch.float64).scatter(-2, target.unsqueeze(-2), 1.0)

    def entries(s: Tensor) -> Tensor:
        return F.binary_cross_entropy(peer(s)[1].mT, true, reduction="none").mean(dim=(-2, -1))

    def rows(s: Tensor) -> Tensor:
        return -(true * peer(s)[1].mT.log()).sum(dim=(-2, -1)) / 8

    for objective, theirs in (("entries", entries), ("rows", rows)):
        own = SortingNetwork(network=network, distribution="logistic", steepness=3.0, objective=objective)
        agree(lambda s, own=own: own(s, target), theirs, scores)


@pytest.mark.parametrize("n", [3, 10, 40])
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("regularization", get_args(Regularization))
@pytest.mark.parametrize("library", ["torchsort", "torchpsort"])
def test_projections_are_those_of(
    library: str, regularization: Regularization, strength: float, n: int, generator: torch.Generator
) -> None:
    peer = pytest.importorskip(library)
    scores = torch.randn(6, n, generator=generator, dtype=torch.float64)
    own = FastSoftSort(regularization=regularization, regularization_strength=strength)
    names = ("reg", "tau") if library == "torchpsort" else ("regularization", "regularization_strength")
    options = dict(zip(names, (regularization, strength), strict=True))
    agree(own.rank, lambda s: peer.soft_rank(s, **options) - 1, scores)
    agree(own.sort, lambda s: peer.soft_sort(s, **options), scores)


@pytest.mark.parametrize("n", [3, 10, 60])
def test_softsort_is_that_of_softtorch(n: int, generator: torch.Generator) -> None:
    softtorch = pytest.importorskip("softtorch")  # its NeuralSort is another one, with a smooth |·|
    scores = torch.randn(6, n, generator=generator, dtype=torch.float64)
    options = {"softness": 0.5, "method": "softsort", "mode": "smooth", "standardize": False}
    agree(SoftSort(temperature=0.5).permutation, lambda s: softtorch.argsort(s, **options), scores)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("network", get_args(Network))
def test_top_rows_are_those_of_difftopk(network: Network, k: int, generator: torch.Generator) -> None:
    difftopk = pytest.importorskip("difftopk")  # in float32 alone
    scores = torch.randn(5, 8, generator=generator)
    peer = difftopk.DiffTopkNet(network, 8, k, steepness=3.0)
    own = SortingNetwork(network=network, steepness=3.0)
    results = []
    for rows in (lambda s: own.topk(s, k)[1], lambda s: peer(s)[1].mT.flip(-2)):
        leaf = scores.clone().requires_grad_()
        value = rows(leaf)
        results.append((value.detach(), torch.autograd.grad(value.square().sum(), leaf)[0]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2, 8, 16])
def test_networks_are_those_of_softtorch(n: int, generator: torch.Generator) -> None:
    softtorch = pytest.importorskip("softtorch")  # its padding to a power of two is another one
    scores = torch.randn(3, n, generator=generator, dtype=torch.float64)
    options = {"softness": 0.2, "method": "sorting_network", "mode": "smooth", "standardize": False}
    own = SortingNetwork(network="bitonic", distribution="logistic", steepness=5.0)
    agree(own.permutation, lambda s: softtorch.argsort(s, **options), scores)
    agree(own.sort, lambda s: softtorch.sort(s, gated_grad=False, return_indices=False, **options).values, scores)


@pytest.mark.parametrize("n", [3, 9])
def test_projections_are_those_of_softtorch(n: int, generator: torch.Generator) -> None:
    softtorch = pytest.importorskip("softtorch")  # its places lie between 0 and 1
    scores = torch.randn(3, n, generator=generator, dtype=torch.float64)
    options = {"method": "fast_soft_sort", "mode": "c0", "standardize": False, "descending": False}
    own = FastSoftSort(regularization_strength=0.7)
    sort, rank = {"softness": 0.7 / (n - 1), **options}, {"softness": 0.7 * (n - 1), **options}
    agree(own.sort, lambda s: softtorch.sort(s, gated_grad=False, return_indices=False, **sort).values, scores)
    agree(own.rank, lambda s: softtorch.rank(s, dim=-1, **rank) - 1, scores)


def test_transport_plans_are_those_of_softtorch(generator: torch.Generator) -> None:
    softtorch = pytest.importorskip("softtorch")  # its gradient solves a system by five steps of conjugate gradients
    scores = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    options = {"method": "ot", "mode": "smooth", "standardize": False, "ot_kwargs": {"sinkhorn_tol": 1e-14}}
    theirs = softtorch.argsort(scores, softness=2 / 7, **options)
    own = OptimalTransportSort(regularization_strength=1.0, iterations=1000).permutation(scores)
    torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-10)
