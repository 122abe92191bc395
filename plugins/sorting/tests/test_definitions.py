"""The operators and losses against plain loops written for reading."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nlcore_sorting import NeuralSort, PermutationLoss, RankingLoss, SoftSort, SortingNetwork, ranks
from nlcore_sorting.config import Network

SIZES = (1, 2, 3, 5, 8)


def softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def neuralsort(scores: list[float], tau: float) -> list[list[float]]:
    """The paper's matrix, descending with rows counted from 1, turned upside down."""
    n = len(scores)
    spread = [sum(abs(s - other) for other in scores) for s in scores]
    descending = [
        softmax([((n + 1 - 2 * row) * s - a) / tau for s, a in zip(scores, spread, strict=True)])
        for row in range(1, n + 1)
    ]
    return descending[::-1]


def softsort(scores: list[float], tau: float) -> list[list[float]]:
    descending = [softmax([-abs(s - other) / tau for other in scores]) for s in sorted(scores, reverse=True)]
    return descending[::-1]


def cdf(distribution: str, difference: float, beta: float, art_lambda: float) -> float:
    x = beta * difference
    if distribution == "logistic":
        return 1 / (1 + math.exp(-x))
    if distribution == "gaussian":
        return 0.5 * math.erfc(-x / math.sqrt(2))
    if distribution == "logistic_phi":
        return 1 / (1 + math.exp(-x / (abs(difference) + 1e-10) ** art_lambda))
    if distribution == "cauchy":
        return math.atan(x) / math.pi + 0.5
    if distribution == "reciprocal":
        return 0.5 * (2 * x / (1 + 2 * abs(x))) + 0.5
    if x < -0.25:
        return -1 / (16 * x)
    return 1 - 1 / (16 * x) if x > 0.25 else x + 0.5


def odd_even_layers(n: int) -> list[list[tuple[int, int]]]:
    return [[(a, a + 1) for a in range(layer % 2, n - 1, 2)] for layer in range(n)]


def batcher_layers(n: int) -> list[list[tuple[int, int]]]:
    """The textbook network for a power of two: (place of the minimum, place of the maximum)."""
    layers = []
    block = 2
    while block <= n:
        distance = block // 2
        while distance:
            layer = []
            for a in range(n):
                b = a ^ distance
                if a < b:
                    layer.append((a, b) if a & block == 0 else (b, a))
            layers.append(layer)
            distance //= 2
        block *= 2
    return layers


def soft_network(loss: SortingNetwork, scores: list[float], layers: list[list[tuple[int, int]]]) -> list[list[float]]:
    n = len(scores)
    values = list(scores)
    matrix = [[float(i == j) for j in range(n)] for i in range(n)]
    for layer in layers:
        for a, b in layer:
            low, high = values[a], values[b]
            keep, swap = (cdf(loss.distribution, d, loss.steepness, loss.art_lambda) for d in (high - low, low - high))
            values[a], values[b] = keep * low + swap * high, swap * low + keep * high
            row_a, row_b = matrix[a], matrix[b]
            matrix[a] = [keep * p + swap * q for p, q in zip(row_a, row_b, strict=True)]
            matrix[b] = [swap * p + keep * q for p, q in zip(row_a, row_b, strict=True)]
    return matrix


def reference(loss: RankingLoss, scores: Tensor) -> Tensor:
    lists = scores.tolist()
    if isinstance(loss, NeuralSort):
        found = [neuralsort(row, loss.temperature) for row in lists]
    elif isinstance(loss, SoftSort):
        found = [softsort(row, loss.temperature) for row in lists]
    else:
        assert isinstance(loss, SortingNetwork)
        wiring = odd_even_layers if loss.network == "odd_even" else batcher_layers
        found = [soft_network(loss, row, wiring(len(row))) for row in lists]
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("n", SIZES)
def test_matrix_follows_its_definition(matrix_operator: PermutationLoss, n: int, generator: torch.Generator) -> None:
    if getattr(matrix_operator, "network", None) == "bitonic" and n & (n - 1):
        pytest.skip("the textbook network is defined for powers of two")
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    expected = reference(matrix_operator, scores)
    torch.testing.assert_close(matrix_operator.permutation(scores), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(matrix_operator.log_permutation(scores), expected.log(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_loss_follows_its_definition(matrix_loss: PermutationLoss, n: int, generator: torch.Generator) -> None:
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    target = ranks(torch.randn(4, n, generator=generator))
    expected = []
    for p, places in zip(matrix_loss.log_permutation(scores).exp().tolist(), target.tolist(), strict=True):
        if matrix_loss.objective == "rows":
            expected.append(-sum(math.log(p[places[j]][j]) for j in range(n)) / n)
        else:
            terms = [math.log(p[i][j]) if places[j] == i else math.log1p(-p[i][j]) for i in range(n) for j in range(n)]
            expected.append(-sum(terms) / n**2)
    torch.testing.assert_close(
        matrix_loss(scores, target), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
@pytest.mark.parametrize("n", range(1, 11))
def test_wiring_sorts_every_list(network: Network, n: int) -> None:
    # By the 0-1 principle a network that sorts all lists of zeros and ones sorts everything.
    lists = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n).reshape(-1, n).double()
    hard = SortingNetwork(network=network, distribution="logistic", steepness=1e4)
    torch.testing.assert_close(hard.sort(lists), lists.sort(dim=-1).values, rtol=0, atol=1e-12)


def test_ranks_are_places_with_ties_by_index() -> None:
    values = torch.tensor([[30, 10, 20, 10], [1, 1, 1, 1]])
    assert ranks(values).tolist() == [[3, 0, 2, 1], [0, 1, 2, 3]]
    assert ranks(values).dtype == torch.int64
    assert ranks(torch.tensor([[[2.0, 1.0]]])).tolist() == [[[1, 0]]]
