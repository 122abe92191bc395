"""The operators and losses against plain loops written for reading."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from nlcore_sorting import (
    FastSoftSort,
    LapSum,
    NeuralSort,
    OptimalTransportSort,
    PermutationLoss,
    RankingLoss,
    SoftSort,
    SortingNetwork,
    ranks,
)
from nlcore_sorting.config import Network, Regularization

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


def laplace(x: float) -> float:
    return 0.5 * math.exp(x) if x <= 0 else 1 - 0.5 * math.exp(-x)


def soft_count(scores: list[float], alpha: float, level: float) -> float:
    return sum(laplace((level - s) / alpha) for s in scores)


def quantile(scores: list[float], alpha: float, count: float) -> float:
    """The level below which there are `count` scores, by bisection."""
    low, high = min(scores) - 60 * alpha, max(scores) + 60 * alpha
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if soft_count(scores, alpha, middle) < count else (low, middle)
    return low


def lapsum(scores: list[float], alpha: float) -> list[list[float]]:
    n = len(scores)
    bounds = [-math.inf, *(quantile(scores, alpha, i) for i in range(1, n)), math.inf]
    inside = [[laplace((b - s) / alpha) if math.isfinite(b) else float(b > 0) for s in scores] for b in bounds]
    return [[q - p for p, q in zip(*rows, strict=True)] for rows in pairwise(inside)]


def transport(scores: list[float], epsilon: float) -> list[list[float]]:
    """Sinkhorn's algorithm on the squared distances, from the start that everybody uses."""
    n = len(scores)
    kernel = [[math.exp(-((s - i) ** 2) / 2 / epsilon) for s in scores] for i in range(n)]
    rows, columns = [1.0] * n, [1.0] * n
    for _ in range(2000):
        columns = [1 / sum(rows[i] * kernel[i][j] for i in range(n)) for j in range(n)]
        rows = [1 / sum(columns[j] * kernel[i][j] for j in range(n)) for i in range(n)]
    return [[rows[i] * kernel[i][j] * columns[j] for j in range(n)] for i in range(n)]


def isotonic(values: list[float], total: Callable[[int, int], float]) -> list[float]:
    """The decreasing regression by its minimax formula; `total(j, k)` is the value of the block j … k."""
    n = len(values)
    return [min(max(total(j, k) for k in range(i, n)) for j in range(i + 1)) for i in range(n)]


def projection(z: list[float], w: list[float], regularization: str) -> list[float]:
    """The paper's projection of z on the permutahedron of w, both in descending order."""

    def total(j: int, k: int) -> float:
        if regularization == "l2":
            return sum(a - b for a, b in zip(z[j : k + 1], w[j : k + 1], strict=True)) / (k + 1 - j)
        return math.log(sum(map(math.exp, z[j : k + 1]))) - math.log(sum(map(math.exp, w[j : k + 1])))

    return [a - v for a, v in zip(z, isotonic(z, total), strict=True)]


def soft_ranks(scores: list[float], regularization: str, epsilon: float) -> list[float]:
    n = len(scores)
    order = sorted(range(n), key=lambda j: -scores[j])
    places = [float(n - i) for i in range(n)]
    w = places if regularization == "l2" else [math.log(place) for place in places]
    found = projection([scores[j] / epsilon for j in order], w, regularization)
    return [(f if regularization == "l2" else math.exp(f)) - 1 for f in (found[order.index(j)] for j in range(n))]


def soft_sorted(scores: list[float], regularization: str, epsilon: float) -> list[float]:
    n = len(scores)
    return [
        -p
        for p in projection(
            [(n - i) / epsilon for i in range(n)], sorted((-s for s in scores), reverse=True), regularization
        )
    ]


def reference(loss: RankingLoss, scores: Tensor) -> Tensor:
    lists = scores.tolist()
    if isinstance(loss, NeuralSort):
        found = [neuralsort(row, loss.temperature) for row in lists]
    elif isinstance(loss, SoftSort):
        found = [softsort(row, loss.temperature) for row in lists]
    elif isinstance(loss, LapSum):
        found = [lapsum(row, loss.temperature) for row in lists]
    elif isinstance(loss, OptimalTransportSort):
        found = [transport(row, loss.regularization_strength) for row in lists]
    elif not isinstance(loss, SortingNetwork):
        pytest.skip("there is no loop for it here")
    else:
        wiring = odd_even_layers if loss.network == "odd_even" else batcher_layers
        found = [soft_network(loss, row, wiring(len(row))) for row in lists]
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("n", SIZES)
def test_matrix_follows_its_definition(matrix_operator: PermutationLoss, n: int, generator: torch.Generator) -> None:
    if getattr(matrix_operator, "network", None) == "bitonic" and n & (n - 1):
        pytest.skip("the textbook network is defined for powers of two")
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    expected = reference(matrix_operator, scores)
    close = isinstance(matrix_operator, SortingNetwork | NeuralSort | SoftSort)  # the references of others iterate
    torch.testing.assert_close(
        matrix_operator.permutation(scores), expected, rtol=1e-12, atol=1e-14 if close else 1e-11
    )
    tolerance = 1e-10 if close else 1e-9
    torch.testing.assert_close(matrix_operator.log_permutation(scores), expected.log(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", SIZES)
def test_lapsum_counts_scores(n: int, generator: torch.Generator) -> None:
    operator = LapSum(temperature=0.7)
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    ordered = [[quantile(row, 0.7, i + 0.5) for i in range(n)] for row in scores.tolist()]
    places = [[soft_count(row, 0.7, s) - 0.5 for s in row] for row in scores.tolist()]
    torch.testing.assert_close(operator.sort(scores), torch.tensor(ordered, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(operator.rank(scores), torch.tensor(places, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(operator.topk(scores, n)[0], operator.sort(scores, descending=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 20.0])
@pytest.mark.parametrize("n", [*SIZES, 30])
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_projection_follows_its_definition(
    regularization: Regularization,
    n: int,
    epsilon: float,
    compiled: bool,
    generator: torch.Generator,
    request: pytest.FixtureRequest,
) -> None:
    if not compiled:
        request.getfixturevalue("alone")
    operator = FastSoftSort(regularization=regularization, regularization_strength=epsilon)
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    scores[0] = scores[0].round()
    places = torch.tensor([soft_ranks(row, regularization, epsilon) for row in scores.tolist()], dtype=torch.float64)
    ordered = torch.tensor([soft_sorted(row, regularization, epsilon) for row in scores.tolist()], dtype=torch.float64)
    torch.testing.assert_close(operator.rank(scores), places, rtol=0, atol=1e-10)
    torch.testing.assert_close(operator.sort(scores), ordered, rtol=0, atol=1e-10)
    target = ranks(torch.randn(4, n, generator=generator))
    torch.testing.assert_close(operator(scores, target), 0.5 * (places - target).square().sum(-1))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_projections_keep_the_sums_of_their_permutahedra(
    regularization: Regularization, epsilon: float, generator: torch.Generator
) -> None:
    operator = FastSoftSort(regularization=regularization, regularization_strength=epsilon)
    scores = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    ordered, places = operator.sort(scores), operator.rank(scores)
    torch.testing.assert_close(places.sum(-1), torch.full((4,), 21.0, dtype=torch.float64))
    if regularization == "l2":
        torch.testing.assert_close(ordered.sum(-1), scores.sum(-1))
    else:
        torch.testing.assert_close((-ordered).exp().sum(-1), (-scores).exp().sum(-1))
    assert (ordered.diff(dim=-1) >= 0).all()
    # The paper's soft sort projects on the permutahedron of the scores themselves, and is descending.
    rho = [(7 - i) / epsilon for i in range(7)]
    published = [projection(rho, sorted(row, reverse=True), regularization) for row in scores.tolist()]
    found = -operator.sort(-scores)
    torch.testing.assert_close(found, torch.tensor(published, dtype=torch.float64), rtol=0, atol=1e-10)
    if regularization == "kl":
        torch.testing.assert_close(found.exp().sum(-1), scores.exp().sum(-1))


@pytest.mark.parametrize("k", range(6))
def test_the_last_rows_of_lapsum_choose_the_largest(k: int, generator: torch.Generator) -> None:
    scores = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    chosen = LapSum(temperature=0.7).permutation(scores)[:, 5 - k :].sum(-2)
    levels = [quantile(row, 0.7, 5 - k) if 0 < k < 5 else math.inf * (2.5 - k) for row in scores.tolist()]
    expected = [
        [1 - (laplace((level - s) / 0.7) if math.isfinite(level) else float(level > 0)) for s in row]
        for row, level in zip(scores.tolist(), levels, strict=True)
    ]
    torch.testing.assert_close(chosen, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-11)


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
