"""Handwritten digits in three disjoint parts, and the pictures and numbers that are built from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

__all__ = ["Digits", "Part", "PartName", "digits", "draw", "numbers", "side_by_side"]

PartName: TypeAlias = Literal["train", "validation", "test"]

_VALIDATION, _TEST = 0.10, 0.15


@dataclass(frozen=True)
class Part:
    """Some of the scans.

    Attributes:
        index: int64 [k], positions in the full data set, ascending.
        images: float32 [k, s²], s×s pixels from 0 to 1, row by row.
        labels: int64 [k], the digits.
    """

    index: Tensor
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Digits:
    """The data set in three disjoint parts for training, tuning and reporting."""

    train: Part
    validation: Part
    test: Part

    def part(self, name: PartName) -> Part:
        """Return a part by its name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return parts[name]


@cache
def digits() -> Digits:
    """Return scikit-learn's 1797 scans of 8×8 pixels, 75 / 10 / 15 % of every digit in the three parts.

    The split is always the same: it is drawn from NumPy's legacy generator, whose numbers no longer change.
    """
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32) / 16
    labels = torch.tensor(data.target, dtype=torch.int64)
    random = np.random.RandomState(0)
    chosen: dict[str, list[int]] = {name: [] for name in get_args(PartName)}
    for digit in range(10):
        order = random.permutation(np.flatnonzero(data.target == digit)).tolist()
        validation, test = round(_VALIDATION * len(order)), round(_TEST * len(order))
        chosen["validation"] += order[:validation]
        chosen["test"] += order[validation : validation + test]
        chosen["train"] += order[validation + test :]
    parts = {}
    for name, positions in chosen.items():
        index = torch.tensor(sorted(positions))
        parts[name] = Part(index, images[index], labels[index])
    return Digits(**parts)


def draw(part: Part, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return random positions in `part`, with replacement, int64 of the given shape."""
    return torch.randint(len(part), shape, generator=generator)


def side_by_side(images: Tensor) -> Tensor:
    """Join square pictures into one wide picture.

    Args:
        images: [*, d, s²], d pictures of s×s pixels from left to right.

    Returns:
        [*, s²·d], the picture of s rows and s·d columns, row by row.
    """
    *lead, count, pixels = images.shape
    side = isqrt(pixels)
    return images.view(*lead, count, side, side).transpose(-3, -2).reshape(*lead, pixels * count)


def numbers(labels: Tensor) -> Tensor:
    """Read digits [*, d] from left to right as decimal numbers, int64 [*]."""
    powers = 10 ** torch.arange(labels.shape[-1] - 1, -1, -1)
    return (labels * powers).sum(dim=-1)
