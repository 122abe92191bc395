"""The digits: three disjoint parts, and pictures and numbers made of them."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from sklearn.datasets import load_digits

from nlcore_bench.data.digits import PartName, digits, draw, numbers, side_by_side

PARTS: tuple[PartName, ...] = ("train", "validation", "test")


def test_parts_are_disjoint_and_together_everything() -> None:
    positions = [set(digits().part(name).index.tolist()) for name in PARTS]
    assert all(not (one & other) for one, other in combinations(positions, 2))
    assert set.union(*positions) == set(range(1797))


def test_no_scan_of_one_part_looks_like_one_of_another() -> None:
    scans = [{tuple(image) for image in digits().part(name).images.tolist()} for name in PARTS]
    assert all(not (one & other) for one, other in combinations(scans, 2))


@pytest.mark.parametrize(("name", "share"), [("train", 0.75), ("validation", 0.10), ("test", 0.15)])
def test_every_digit_has_its_share(name: PartName, share: float) -> None:
    of_all = torch.bincount(torch.tensor(load_digits().target), minlength=10)
    of_part = torch.bincount(digits().part(name).labels, minlength=10)
    assert ((of_part / of_all - share).abs() < 0.01).all()


def test_images_and_labels_belong_together() -> None:
    data = load_digits()
    for name in PARTS:
        part = digits().part(name)
        assert torch.equal(part.images * 16, torch.tensor(data.data[part.index], dtype=torch.float32))
        assert torch.equal(part.labels, torch.tensor(data.target[part.index]))
        assert len(part) == len(part.labels)


def test_the_split_is_the_one_of_every_other_run() -> None:
    assert [len(digits().part(name)) for name in PARTS] == [1349, 179, 269]
    assert digits().test.index[:5].tolist() == [3, 7, 16, 22, 26]


def test_draw_stays_inside_its_part_and_repeats() -> None:
    part = digits().validation
    first, second = (draw(part, (50, 40), torch.Generator().manual_seed(1)) for _ in "ab")
    assert torch.equal(first, second)
    assert first.min() == 0
    assert first.max() == len(part) - 1


def test_side_by_side_joins_columns() -> None:
    images = torch.arange(2 * 3 * 64.0).view(2, 3, 64)
    wide = side_by_side(images)
    assert wide.shape == (2, 192)
    expected = torch.cat([image.view(8, 8) for image in images[1]], dim=1)
    assert torch.equal(wide[1].view(8, 24), expected)


def test_numbers_are_read_from_the_left() -> None:
    assert numbers(torch.tensor([[[1, 2, 3, 4], [0, 0, 7, 0]]])).tolist() == [[1234, 70]]
