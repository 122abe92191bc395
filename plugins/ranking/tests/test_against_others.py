"""Losses and metrics against enumeration of all orders, and against scikit-learn and scipy where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import exp, log, log2

import pytest
import torch
from torch import Tensor

from nlcore_ranking import (
    ApproxNDCG,
    LambdaLoss,
    ListMLE,
    ListNet,
    NeuralNDCG,
    PiRank,
    RankNet,
    Spearman,
    ndcg,
    pair_accuracy,
)

Draw = Callable[..., tuple[Tensor, Tensor]]
RELAXATIONS = ("neuralsort", "softsort", "diffsort", "fast_soft_sort", "lapsum")


def chance(scores: list[float], order: tuple[int, ...]) -> float:
    """The probability of an order under the Plackett–Luce model: items are drawn in proportion to exp(score)."""
    product = 1.0
    for place, item in enumerate(order):
        product *= exp(scores[item]) / sum(exp(scores[k]) for k in order[place:])
    return product


def graded(n: int = 5, batch: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    scores = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    return scores, torch.randint(4, (batch, n), generator=generator).double()


def test_listnet_is_the_cross_entropy_of_who_comes_first_in_a_drawn_order() -> None:
    scores, relevance = graded()
    for s, r, found in zip(scores.tolist(), relevance.tolist(), ListNet()(scores, relevance).tolist(), strict=True):
        first = [[0.0] * 5, [0.0] * 5]
        for order in permutations(range(5)):
            first[0][order[0]] += chance(s, order)
            first[1][order[0]] += chance(r, order)
        assert found == pytest.approx(-sum(q * log(p) for p, q in zip(*first, strict=True)), rel=1e-12)


def test_listmle_is_the_log_likelihood_of_the_order_in_a_drawn_one() -> None:
    scores, relevance = graded()
    found = ListMLE(ties="index", normalize=False)(scores, relevance)
    for s, r, loss in zip(scores.tolist(), relevance.tolist(), found.tolist(), strict=True):
        orders = [o for o in permutations(range(5)) if [(-r[j], j) for j in o] == sorted((-r[j], j) for j in o)]
        assert len(orders) == 1
        assert loss == pytest.approx(-log(chance(s, orders[0])), rel=1e-12)


def test_ranknet_without_doubt_counts_the_pairs_in_the_wrong_order() -> None:
    scores, relevance = graded(8)
    relevance[:, 0] = 9.0
    found = RankNet(sigma=1e6)(scores, relevance) / 1e6
    for s, r, loss, right in zip(
        scores.tolist(), relevance.tolist(), found.tolist(), pair_accuracy(scores, relevance).tolist(), strict=True
    ):
        margins = [s[i] - s[j] for i in range(8) for j in range(8) if r[i] > r[j]]
        assert loss == pytest.approx(sum(-m for m in margins if m < 0) / len(margins), abs=1e-6)
        assert right == pytest.approx(sum(m > 0 for m in margins) / len(margins))


@pytest.mark.parametrize("k", [None, 1, 3])
def test_a_pair_of_lambdarank_weighs_what_a_swap_does_to_the_metric(k: int | None) -> None:
    scores, relevance = graded(6)
    relevance[:, 2] = 3.0
    expected = torch.zeros(len(scores), dtype=torch.float64)
    for b in range(len(scores)):
        for i in range(6):
            for j in range(6):
                if relevance[b, i] > relevance[b, j]:
                    swapped = scores[b].clone()
                    swapped[[i, j]] = scores[b, [j, i]]
                    before, after = ndcg(torch.stack([scores[b], swapped]), relevance[[b, b]], k=k)
                    expected[b] += (after - before).abs() * log2(1 + exp(-float(scores[b, i] - scores[b, j])))
    torch.testing.assert_close(LambdaLoss(weighting="lambdarank", k=k)(scores, relevance), expected)


@pytest.mark.parametrize("n", [2, 7])
def test_more_places_than_items_are_all_places(n: int) -> None:
    scores, relevance = graded(n)
    for whole, more in (
        (LambdaLoss(), LambdaLoss(k=50)),
        (LambdaLoss(weighting="lambdarank"), LambdaLoss(weighting="lambdarank", k=n)),
        (NeuralNDCG(), NeuralNDCG(k=50)),
        (PiRank(), PiRank(k=50)),
        (PiRank(), PiRank(k=25, block=50)),
    ):
        torch.testing.assert_close(more(scores, relevance), whole(scores, relevance))
    torch.testing.assert_close(ndcg(scores, relevance, k=50), ndcg(scores, relevance))


def test_sharp_sorts_share_the_gains_of_equal_scores_as_the_metric_does() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0, 0.0, 1.0, 2.0], [3.0, 1.0, 1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    relevance = torch.tensor([[3.0, 0.0, 1.0, 2.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0, 1.0, 2.0]], dtype=torch.float64)
    for k in (None, 2):
        for loss in (NeuralNDCG(temperature=1e-3, k=k), PiRank(temperature=1e-3, k=k)):
            torch.testing.assert_close(loss(scores, relevance), 1 - ndcg(scores, relevance, k=k))


@pytest.mark.parametrize("k", [None, 1, 4, 30])
def test_ndcg_is_that_of_scikit_learn(k: int | None) -> None:
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    generator = torch.Generator().manual_seed(4)
    scores, relevance = torch.randint(6, (2, 40, 9), generator=generator).double()  # ties of both
    relevance[0] = 0.0  # nothing relevant: 0 there and here
    relevance[1, 1:] = 0.0
    for gain, gains in (("linear", relevance), ("exponential", 2**relevance - 1)):
        expected = [ndcg_score(g[None].numpy(), s[None].numpy(), k=k) for g, s in zip(gains, scores, strict=True)]
        found = ndcg(scores, relevance, k=k, gain=gain)  # type: ignore[arg-type]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_sharp_ndcg_losses_are_one_minus_that_of_scikit_learn() -> None:
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    scores, relevance = graded(9, 10)
    relevance[:, 0] = 3.0
    gains = (2**relevance - 1).numpy()
    expected = [1 - ndcg_score(g[None], s[None]) for g, s in zip(gains, scores.numpy(), strict=True)]
    for loss in (ApproxNDCG(alpha=1e5), NeuralNDCG(temperature=1e-4), PiRank(temperature=1e-4)):
        torch.testing.assert_close(loss(scores, relevance), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_spearman_of_sharp_ranks_is_one_minus_rho(relaxation: str) -> None:
    spearmanr = pytest.importorskip("scipy.stats").spearmanr
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(6, 9, generator=generator, dtype=torch.float64)
    relevance = torch.rand(6, 9, generator=generator, dtype=torch.float64)
    mask = torch.arange(9) >= torch.tensor([9, 9, 7, 4, 3, 2]).unsqueeze(1)
    expected = [1 - spearmanr(s[~m], r[~m]).statistic for s, r, m in zip(scores, relevance, mask, strict=True)]
    loss = Spearman(temperature=1e-6, relaxation=relaxation)  # type: ignore[arg-type]
    found = loss(scores, relevance, mask=mask)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_soft_ranks_of_spearman_pull_a_wrong_order_right(relaxation: str) -> None:
    scores = torch.tensor([[0.3, 0.0, 0.1]], dtype=torch.float64, requires_grad=True)
    relevance = torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.float64)
    loss = Spearman(relaxation=relaxation)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(loss(scores, relevance).sum(), scores)
    assert slope[0, 0] > 0 > slope[0, 1]
