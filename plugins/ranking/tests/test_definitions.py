"""Every loss against its definition, written out with loops."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, log2

import pytest
import torch
from torch import Tensor

from nlcore_ranking import (
    ApproxNDCG,
    LambdaLoss,
    ListLoss,
    ListMLE,
    ListNet,
    NeuralNDCG,
    PiRank,
    RankNet,
    Spearman,
    TopKClassification,
)

Numbers = list[float]


def pairs(r: Numbers) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(r)) for j in range(len(r)) if r[i] > r[j]]


def softmax(s: Numbers) -> Numbers:
    total = sum(exp(x) for x in s)
    return [exp(x) / total for x in s]


def places(s: Numbers) -> list[int]:
    """0-based, largest score first."""
    order = sorted(range(len(s)), key=lambda j: -s[j])
    return [order.index(j) for j in range(len(s))]


def gains(r: Numbers, kind: str = "exponential") -> Numbers:
    return [2**x - 1 if kind == "exponential" else x for x in r]


def best_dcg(g: Numbers, k: int | None = None) -> float:
    return sum(x / log2(i + 2) for i, x in enumerate(sorted(g, reverse=True)[:k]))


def ranknet(s: Numbers, r: Numbers) -> float:
    terms = [log(1 + exp(-(s[i] - s[j]))) for i, j in pairs(r)]
    return sum(terms) / len(terms)


def listnet(s: Numbers, r: Numbers) -> float:
    return -sum(q * log(p) for q, p in zip(softmax(r), softmax(s), strict=True))


def listmle_of_order(s: Numbers, order: list[int]) -> float:
    """The negative log-likelihood of drawing the items one after the other, each in proportion to exp(score)."""
    left, total = list(order), 0.0
    for item in order:
        total -= log(exp(s[item]) / sum(exp(s[k]) for k in left))
        left.remove(item)
    return total


def listmle_index(s: Numbers, r: Numbers) -> float:
    return listmle_of_order(s, sorted(range(len(s)), key=lambda j: (-r[j], j)))


def listmle_shared(s: Numbers, r: Numbers) -> float:
    n = len(s)
    return sum(log(sum(exp(s[k]) for k in range(n) if r[k] <= r[i])) - s[i] for i in range(n)) / n


def lambda_loss(weighting: str, k: int | None, mu: float = 10.0) -> Callable[[Numbers, Numbers], float]:
    def worth(place: int) -> float:
        return 0.0 if k is not None and place >= k else 1 / log2(place + 2)

    def swap(i: int, j: int) -> float:
        return abs(worth(i) - worth(j))

    def bound(i: int, j: int) -> float:
        d = abs(i - j)
        return 0.0 if k is not None and min(i, j) >= k else abs(1 / log2(1 + d) - 1 / log2(2 + d))

    weights: dict[str, Callable[[int, int], float]] = {
        "lambdarank": swap,
        "ndcg2": bound,
        "ndcg2++": lambda i, j: swap(i, j) + mu * bound(i, j),
    }

    def loss(s: Numbers, r: Numbers) -> float:
        g, place = [x / best_dcg(gains(r), k) for x in gains(r)], places(s)
        return sum(
            weights[weighting](place[i], place[j]) * abs(g[i] - g[j]) * log2(1 + exp(-(s[i] - s[j])))
            for i, j in pairs(r)
        )

    return loss


def approx_ndcg(s: Numbers, r: Numbers, alpha: float = 2.0) -> float:
    g, n = gains(r), len(s)
    place = [1 + sum(1 / (1 + exp(-alpha * (s[j] - s[i]))) for j in range(n) if j != i) for i in range(n)]
    return 1 - sum(g[i] / log2(1 + place[i]) for i in range(n)) / best_dcg(g)


def neuralsort(s: Numbers, tau: float) -> list[Numbers]:
    """The matrix of the paper: rows are places, largest first."""
    n = len(s)
    spread = [sum(abs(x - y) for y in s) for x in s]
    return [softmax([((n + 1 - 2 * i) * s[j] - spread[j]) / tau for j in range(n)]) for i in range(1, n + 1)]


def doubly_stochastic(p: list[Numbers], iterations: int) -> list[Numbers]:
    n = len(p)
    for _ in range(iterations):
        columns = [sum(row[j] for row in p) for j in range(n)]
        p = [[row[j] / columns[j] for j in range(n)] for row in p]
        p = [[x / sum(row) for x in row] for row in p]
    return p


def sorted_ndcg(p: list[Numbers], g: Numbers, best: float, k: int | None = None) -> float:
    ordered = [sum(x * y for x, y in zip(row, g, strict=True)) for row in p[:k]]
    return 1 - sum(x / log2(i + 2) for i, x in enumerate(ordered)) / best


def neural_ndcg(s: Numbers, r: Numbers) -> float:
    return sorted_ndcg(doubly_stochastic(neuralsort(s, 1.0), 20), gains(r), best_dcg(gains(r)))


def pirank(s: Numbers, r: Numbers) -> float:
    return sorted_ndcg(neuralsort(s, 0.5), gains(r), best_dcg(gains(r), 2), 2)


def pirank_blocks(s: Numbers, r: Numbers, k: int = 2, block: int = 4) -> float:
    """Merge the softly sorted first k of every block until one block is left."""
    best = best_dcg(gains(r), k)
    items = list(zip(s, gains(r), strict=True))
    while len(items) > block:
        merged = []
        for start in range(0, len(items), block):
            part = items[start : start + block]
            rows = neuralsort([x for x, _ in part], 0.5)[:k]
            merged += [
                tuple(sum(w * item[c] for w, item in zip(row, part, strict=True)) for c in (0, 1)) for row in rows
            ]
        items = merged
    return sorted_ndcg(neuralsort([x for x, _ in items], 0.5), [g for _, g in items], best, k)


def spearman(s: Numbers, r: Numbers) -> float:
    n, p = len(s), neuralsort(s, 1.0)[::-1]
    soft = [sum(i * p[i][j] for i in range(n)) / sum(p[i][j] for i in range(n)) for j in range(n)]
    true = [sum(y < x for y in r) + (sum(y == x for y in r) - 1) / 2 for x in r]
    return 6 * sum((a - b) ** 2 for a, b in zip(soft, true, strict=True)) / (n * (n * n - 1))


CASES: list[tuple[ListLoss, Callable[[Numbers, Numbers], float]]] = [
    (RankNet(), ranknet),
    (RankNet(normalize=False), lambda s, r: ranknet(s, r) * len(pairs(r))),
    (RankNet(sigma=3.0), lambda s, r: ranknet([3 * x for x in s], r)),
    (ListNet(), listnet),
    (ListNet(temperature=0.5), lambda s, r: listnet(s, [2 * x for x in r])),
    (ListMLE(), listmle_shared),
    (ListMLE(ties="index", normalize=False), listmle_index),
    *((LambdaLoss(weighting=w, k=k), lambda_loss(w, k)) for w in ("lambdarank", "ndcg2", "ndcg2++") for k in (None, 2)),  # type: ignore[arg-type]
    (ApproxNDCG(alpha=2.0), approx_ndcg),
    (NeuralNDCG(), neural_ndcg),
    (PiRank(temperature=0.5, k=2), pirank),
    (PiRank(temperature=0.5, k=2, block=4), pirank_blocks),
    (Spearman(), spearman),
]


@pytest.mark.parametrize(
    ("case", "reference"), CASES, ids=lambda case: repr(case) if isinstance(case, ListLoss) else ""
)
@pytest.mark.parametrize("n", [2, 5, 11])
def test_the_value_is_the_definition(
    case: ListLoss, reference: Callable[[Numbers, Numbers], float], n: int, draw: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    scores, relevance = draw(case, 4, n)
    relevance[:, 0] = 4.0  # so that no list is without an order
    expected = [reference(s, r) for s, r in zip(scores.tolist(), relevance.tolist(), strict=True)]
    torch.testing.assert_close(
        case(scores, relevance), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-13
    )


def test_without_ties_both_rules_of_listmle_are_the_likelihood_of_the_order() -> None:
    scores, relevance = [0.3, -1.0, 2.0, 0.5], [1.0, 3.0, 0.0, 2.0]
    expected = torch.tensor([listmle_of_order(scores, [1, 3, 0, 2])], dtype=torch.float64)
    for ties in ("shared", "index"):
        loss = ListMLE(ties=ties, normalize=False)  # type: ignore[arg-type]
        found = loss(torch.tensor([scores], dtype=torch.float64), torch.tensor([relevance], dtype=torch.float64))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("top1", ["sort", "softmax"])
@pytest.mark.parametrize("p_k", [(1.0,), (0.25, 0.0, 0.75), (0.0, 0.5, 0.5)])
def test_topk_classification_is_the_definition(p_k: tuple[float, ...], top1: str) -> None:
    loss = TopKClassification(p_k=p_k, top1=top1, temperature=0.8)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    for s, y, found in zip(scores.tolist(), range(6), loss(scores, torch.arange(6)).tolist(), strict=True):
        p, chance = neuralsort(s, 0.8), 0.0
        for k, weight in enumerate(p_k, start=1):
            first = softmax(s)[y] if k == 1 and top1 == "softmax" else sum(p[i][y] for i in range(k))
            chance += weight * first
        assert found == pytest.approx(-log(chance), rel=1e-12)


def test_candidates_are_the_true_class_and_the_best_others() -> None:
    scores = torch.tensor([[5.0, 1.0, 4.0, 2.0, 3.0, 0.0]], dtype=torch.float64)
    few, all_of_few = TopKClassification(p_k=(0.5, 0.5), candidates=3), TopKClassification(p_k=(0.5, 0.5))
    found = few(scores, torch.tensor([3]))
    torch.testing.assert_close(found, all_of_few(scores[:, [3, 0, 2]], torch.tensor([0])))
    assert few(scores[:, :3], torch.tensor([0])) == all_of_few(scores[:, :3], torch.tensor([0]))


def test_fewer_classes_than_k_are_all_among_the_first_k() -> None:
    scores = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    found = TopKClassification(p_k=(0.0, 0.0, 0.0, 1.0), temperature=1e-3)(scores, torch.tensor([1]))
    torch.testing.assert_close(found, torch.zeros(1, dtype=torch.float64))


def test_the_limits_of_sharp_sorts_are_the_exact_metrics(draw: Callable[..., tuple[Tensor, Tensor]]) -> None:
    from nlcore_ranking import ndcg

    scores, relevance = draw(NeuralNDCG(), 8, 9)
    for k in (None, 3):
        exact = 1 - ndcg(scores, relevance, k=k)
        for loss in (NeuralNDCG(temperature=1e-4, k=k), PiRank(temperature=1e-4, k=k)):
            torch.testing.assert_close(loss(scores, relevance), exact)
    torch.testing.assert_close(
        PiRank(temperature=1e-4, k=2, block=4)(scores, relevance), 1 - ndcg(scores, relevance, k=2)
    )
    torch.testing.assert_close(ApproxNDCG(alpha=1e4)(scores, relevance), 1 - ndcg(scores, relevance))


def test_spearman_of_sharp_ranks_is_the_coefficient() -> None:
    generator = torch.Generator().manual_seed(1)
    scores, relevance = torch.rand(2, 5, 8, generator=generator, dtype=torch.float64)
    places_of = [t.argsort(1).argsort(1).double() for t in (scores, relevance)]
    rho = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*places_of, strict=True)])
    for relaxation in ("neuralsort", "softsort"):
        loss = Spearman(temperature=1e-4, relaxation=relaxation)  # type: ignore[arg-type]
        torch.testing.assert_close(loss(scores, relevance), 1 - rho)
