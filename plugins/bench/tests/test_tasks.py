"""The tasks: what they supervise, and their measures against cases counted by hand."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from nlcore_bench import Measure, Ranking, Totals
from nlcore_bench.data.digits import PartName, digits, side_by_side
from nlcore_bench.tasks.base import make_task, task_settings
from nlcore_bench.tasks.ranking import positions_right
from nlcore_bench.tasks.totals import read


class Oracle(nn.Module):
    """Knows every scan, alone or side by side, and answers with a function of its digits."""

    def __init__(self, count: int, shift: float = 0.0) -> None:
        super().__init__()
        self.count, self.shift = count, shift
        parts = [digits().train, digits().validation, digits().test]
        self.known = {
            tuple(image.tolist()): label
            for part in parts
            for image, label in zip(part.images, part.labels.tolist(), strict=True)
        }

    def forward(self, images: Tensor) -> Tensor:
        flat = images.reshape(-1, 8, self.count, 8).transpose(1, 2).reshape(-1, self.count, 64)
        values = [sum(self.known[tuple(d)] * 10**-k for k, d in enumerate(row)) for row in flat.tolist()]
        return (torch.tensor(values).view(images.shape[:-1]) - 4.5) / 3 + self.shift


def test_outputs_are_read_as_the_nearest_digit() -> None:
    outputs = (torch.tensor([0.0, 3.4, 3.6, 9.0, 12.0, -2.0, torch.nan]) - 4.5) / 3
    found = read(outputs)
    assert found[:-1].tolist() == [0, 3, 4, 9, 9, 0]
    assert found[-1].isnan()


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_totals_scores_an_oracle_full_and_a_constant_by_its_share(part: PartName) -> None:
    task = Totals()
    assert task.evaluate(Oracle(1), part) == {"accuracy": 100.0}

    class Four(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full(images.shape[:-1], (4 - 4.5) / 3)

    labels = digits().part(part).labels
    share = 100 * int((labels == 4).sum()) / len(labels)
    assert task.evaluate(Four(), part)["accuracy"] == pytest.approx(share)


def test_totals_supervises_sums_of_what_is_in_the_pictures() -> None:
    for batch in islice(Totals(length=4, batch=3).batches(5), 2):
        truth = Oracle(1)(batch.inputs)
        torch.testing.assert_close(batch.outputs, truth)
        torch.testing.assert_close(batch.target, truth.cumsum(1))


def test_the_held_out_loss_is_a_measure_on_request() -> None:
    totals = Totals(length=4, batch=3, loss_batches=2)
    assert [one.name for one in totals.measures] == ["accuracy", "loss"]
    assert totals.evaluate(Oracle(1), "validation")["loss"] == pytest.approx(0.0, abs=1e-9)
    off = totals.evaluate(Oracle(1, shift=0.1), "validation")["loss"]
    assert off == pytest.approx(sum((0.1 * k) ** 2 for k in range(1, 5)) / 2, rel=1e-4)
    ranking = Ranking(items=3, digits=2, batch=3, loss_batches=2)
    assert set(ranking.evaluate(Oracle(2), "test")) == {"exact", "items", "loss"}


def test_batches_depend_on_the_seed_alone() -> None:
    for task in (Totals(length=4, batch=3), Ranking(items=3, digits=2, batch=3)):
        one, same, other = (next(iter(task.batches(seed))) for seed in (5, 5, 6))
        assert torch.equal(one.inputs, same.inputs)
        assert not torch.equal(one.inputs, other.inputs)


def test_places_right_counted_by_hand() -> None:
    values = torch.tensor([[30, 10, 20], [30, 10, 20], [7, 7, 1]])
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])
    assert positions_right(scores, values).tolist() == [
        [True, True, True],
        [False, False, False],  # places 0, 1, 2 where 2, 0, 1 are right
        [True, True, True],
    ]
    swapped = torch.tensor([[5.0, 4.0, 0.0], [0.5, 5.0, 1.0]])
    assert positions_right(swapped, torch.tensor([[7, 7, 1], [3, 9, 1]])).tolist() == [
        [True, True, True],  # equal values may stand in either order
        [False, True, False],
    ]


def test_ranking_supervises_the_order_of_the_numbers_in_the_pictures() -> None:
    batch = next(iter(Ranking(items=4, digits=2, batch=6).batches(3)))
    values = Oracle(2)(batch.inputs)
    ranks = batch.target
    assert ranks.dtype == torch.int64
    for value, rank in zip(values.tolist(), ranks.tolist(), strict=True):
        assert sorted(rank) == [0, 1, 2, 3]
        assert [value[item] for item in sorted(range(4), key=rank.__getitem__)] == sorted(value)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_ranking_scores_an_oracle_full_and_its_opposite_low(part: PartName) -> None:
    task = Ranking(items=3, digits=2)
    oracle = Oracle(2)
    assert task.evaluate(oracle, part) == {"exact": 100.0, "items": 100.0}

    class Opposite(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return oracle.forward(images).neg()

    found = task.evaluate(Opposite(), part)
    assert found["exact"] < 1
    assert found["items"] == pytest.approx(100 / 3, abs=3)  # the middle stays in its place


def test_evaluation_lists_hold_only_scans_of_their_part() -> None:
    from nlcore_bench.tasks.ranking import _fixed_lists

    parts: tuple[PartName, ...] = ("train", "validation", "test")
    for part in parts:
        pictures, values = _fixed_lists(part, 3, 2)
        own = {tuple(image.tolist()) for image in digits().part(part).images}
        single = pictures[:20].reshape(-1, 8, 2, 8).transpose(1, 2).reshape(-1, 64)
        assert all(tuple(image) in own for image in single.tolist())
        assert torch.equal(side_by_side(single.view(20, 3, 2, 64)), pictures[:20])
        assert values.shape == (1000, 3)


def test_tasks_are_made_once_by_id_with_or_without_version() -> None:
    task = make_task("bench/totals", {"length": 4})
    assert task is make_task("bench/totals-v1", {"length": 4})
    assert task == Totals(length=4)
    given = {"length": 4, "hidden": [128, 64]}  # the second is the default
    assert task_settings("bench/totals", given) == {"id": "bench/totals-v1", "options": {"length": 4}}


def test_values_that_are_not_finite_count_as_the_worst() -> None:
    higher, lower = Measure("a", "a"), Measure("b", "b", "lower", unit="")
    assert [higher.finite(value) for value in (1.5, math.nan, -math.inf)] == [1.5, 0.0, -1e9]
    assert [lower.finite(value) for value in (1.5, math.nan, math.inf)] == [1.5, 1e9, 1e9]
