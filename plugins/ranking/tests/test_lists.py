"""Masks, order, shifts and sizes: what a list may look like and what it may not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore.protocol import SuppliesHessian
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

Draw = Callable[..., tuple[Tensor, Tensor]]


def ragged(loss: ListLoss, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Return lists of 1 to 8 items whose padding lies anywhere and holds nonsense."""
    scores, target = draw(loss, 12, 8)
    generator = torch.Generator().manual_seed(5)
    mask = torch.rand(12, 8, generator=generator) < 0.4
    keep = target if target.ndim == 1 else torch.zeros(12, dtype=torch.int64)
    mask[torch.arange(12), keep] = False
    scores = torch.where(mask, torch.nan, scores)
    if target.ndim == 2:
        target = torch.where(mask, -7.0, target)
    return scores, target, mask


def shortened(scores: Tensor, target: Tensor, mask: Tensor, row: int) -> tuple[Tensor, Tensor]:
    valid = ~mask[row]
    if target.ndim == 2:
        return scores[row, valid][None], target[row, valid][None]
    return scores[row, valid][None], valid[: int(target[row])].sum()[None]


def test_a_masked_list_has_the_loss_of_the_shorter_list(loss: ListLoss, draw: Draw) -> None:
    scores, target, mask = ragged(loss, draw)
    alone = torch.cat([loss(*shortened(scores, target, mask, row)) for row in range(len(scores))])
    torch.testing.assert_close(loss(scores, target, mask=mask), alone, rtol=1e-13, atol=1e-14)


def test_padding_gets_no_gradient_and_the_others_that_of_the_shorter_list(loss: ListLoss, draw: Draw) -> None:
    scores, target, mask = ragged(loss, draw)
    leaf = scores.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf, target, mask=mask).sum(), leaf)
    assert not slope[mask].any()
    assert slope[~mask].any()
    for row in range(len(scores)):
        short, own = shortened(scores, target, mask, row)
        short.requires_grad_()
        (expected,) = torch.autograd.grad(loss(short, own).sum(), short)
        torch.testing.assert_close(slope[row, ~mask[row]], expected[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("k", "block"), [(1, 2), (2, 4), (2, 5), (3, 6), (3, 11)])
def test_blocks_of_lists_of_all_lengths_are_those_of_each_list(k: int, block: int) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(30, 29, generator=generator, dtype=torch.float64)
    relevance = torch.randint(4, (30, 29), generator=generator).double()
    loss, mask = PiRank(temperature=0.5, k=k, block=block), torch.arange(29) >= torch.arange(30).unsqueeze(1)
    alone = [loss(scores[i : i + 1, :i], relevance[i : i + 1, :i]) for i in range(1, 30)]
    found = loss(scores, relevance, mask=mask)
    torch.testing.assert_close(found, torch.cat([torch.zeros(1, dtype=torch.float64), *alone]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("width", [1, 8])
def test_a_list_of_nothing_but_padding_is_no_sample(loss: ListLoss, width: int, draw: Draw) -> None:
    scores, target = draw(loss, 3, width)
    mask = torch.zeros(3, width, dtype=torch.bool)
    mask[1] = True
    scores = scores.masked_fill(mask, torch.nan)
    target = target.masked_fill(mask[:, 0] if target.ndim == 1 else mask, -7)
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, target, mask=mask)
    assert value[1] == 0
    torch.testing.assert_close(value[::2], loss(scores[::2], target[::2]), rtol=1e-12, atol=1e-13)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    assert not slope[1].any()
    assert slope.isfinite().all()
    if isinstance(loss, SuppliesHessian):
        assert not loss.hessian(scores, target, mask=mask)[1].any()  # type: ignore[call-arg]
    step = nlcore.newton_step(loss, scores.masked_fill(mask, 0.0), target, mask=mask)
    others = nlcore.newton_step(loss, scores[::2], target[::2])
    assert not step.direction[1].any()
    torch.testing.assert_close(step.direction[::2], others.direction)
    mean = nlcore.NewtonLoss(loss)(leaf, target, mask=mask)
    torch.testing.assert_close(mean, value[::2].mean())


def test_the_hessian_of_a_masked_list_is_that_of_the_shorter_list(curved: Any, draw: Draw) -> None:
    scores, target, mask = ragged(curved, draw)
    matrix = curved.hessian(scores, target, mask=mask)
    for row in range(len(scores)):
        valid = ~mask[row]
        short = curved.hessian(*shortened(scores, target, mask, row))[0]
        torch.testing.assert_close(matrix[row][valid][:, valid], short, rtol=1e-12, atol=1e-14)
        assert not matrix[row][mask[row]].any()
        assert not matrix[row][:, mask[row]].any()


def test_a_mask_without_padding_changes_nothing(loss: ListLoss, draw: Draw) -> None:
    scores, target = draw(loss, 5, 6)
    assert torch.equal(loss(scores, target, mask=torch.zeros(5, 6, dtype=torch.bool)), loss(scores, target))


def test_the_order_of_the_items_does_not_matter(graded: ListLoss, draw: Draw) -> None:
    options = graded._options()
    if options.get("block") or options.get("ties") == "index" or options.get("relaxation") == "diffsort":
        pytest.skip("the order of the list has a meaning here")
    scores, target = draw(graded, 4, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(graded(scores[:, order], target[:, order]), graded(scores, target))
    leaf, moved = scores.clone().requires_grad_(), scores[:, order].clone().requires_grad_()
    (slope,) = torch.autograd.grad(graded(leaf, target).sum(), leaf)
    (moved_slope,) = torch.autograd.grad(graded(moved, target[:, order]).sum(), moved)
    torch.testing.assert_close(moved_slope, slope[:, order], rtol=1e-6, atol=1e-10)


def test_a_shift_of_all_scores_changes_nothing(loss: ListLoss, draw: Draw) -> None:
    scores, target = draw(loss, 4, 9)
    torch.testing.assert_close(loss(scores + 3.0, target), loss(scores, target))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_batches_of_any_size(loss: ListLoss, batch: int, masked: bool, draw: Draw) -> None:
    scores, target = draw(loss, batch, 4)
    options = {"mask": torch.zeros(batch, 4, dtype=torch.bool)} if masked else {}
    leaf = scores.requires_grad_()
    value = loss(leaf, target, **options)
    assert value.shape == (batch,)
    assert torch.autograd.grad(value.sum(), leaf)[0].shape == (batch, 4)


def test_a_list_of_one_item_has_nothing_to_learn(graded: ListLoss) -> None:
    for grade in (0.0, 3.0):
        leaf = torch.tensor([[1.5]], dtype=torch.float64, requires_grad=True)
        value = graded(leaf, torch.tensor([[grade]], dtype=torch.float64))
        assert value.item() == pytest.approx(0, abs=1e-15)
        assert torch.autograd.grad(value.sum(), leaf)[0].item() == pytest.approx(0, abs=1e-15)


NOTHING = [RankNet(), LambdaLoss(), LambdaLoss(k=2), ApproxNDCG(), NeuralNDCG(), PiRank(), PiRank(k=2, block=4)]


@pytest.mark.parametrize("empty", NOTHING, ids=repr)
def test_a_list_without_relevant_items_is_0_for_pairs_and_ndcg(empty: ListLoss) -> None:
    leaf = torch.tensor([[0.3, -2.0, 1.0, 0.1, 5.0]], dtype=torch.float64, requires_grad=True)
    value = empty(leaf, torch.zeros(1, 5, dtype=torch.float64))
    assert value.item() == 0
    assert not torch.autograd.grad(value.sum(), leaf)[0].any()


@pytest.mark.parametrize("even", [ListNet(), ListMLE(), Spearman()], ids=repr)
def test_a_list_without_relevant_items_asks_for_equal_scores_of_the_others(even: ListLoss) -> None:
    relevance = torch.zeros(1, 4, dtype=torch.float64)
    leaf = torch.full((1, 4), 0.7, dtype=torch.float64, requires_grad=True)
    value = even(leaf, relevance)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), leaf)[0], torch.zeros_like(leaf))
    assert even(torch.tensor([[1.0, 0.0, 0.2, -1.0]], dtype=torch.float64), relevance) > value


def test_whole_numbers_do_as_grades(graded: ListLoss, draw: Draw) -> None:
    scores, target = draw(graded, 3, 5)
    assert torch.equal(graded(scores, target.long()), graded(scores, target))


def test_ndcg_losses_lie_between_0_and_1_and_are_0_for_the_right_order_alone() -> None:
    scores = torch.tensor([[8.0, 4.0, 0.0]], dtype=torch.float64)
    for loss in (ApproxNDCG(), NeuralNDCG(temperature=0.1), PiRank(temperature=0.1)):
        right, wrong = (loss(scores, torch.tensor([grades])).item() for grades in ([3, 1, 0], [0, 1, 3]))
        assert right == pytest.approx(0, abs=1e-6)
        assert 0.1 < wrong < 1


def test_one_hot_topk_reads_a_mask_as_missing_classes() -> None:
    scores = torch.tensor([[1.0, 9.0, 0.5]], dtype=torch.float64)
    mask = torch.tensor([[False, True, False]])
    found = TopKClassification(p_k=(1.0,))(scores, torch.tensor([2]), mask=mask)
    torch.testing.assert_close(found, -torch.log_softmax(scores[:, [0, 2]], 1)[:, 1])
