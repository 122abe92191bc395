"""Signals from the rows of a photograph that ships with scikit-learn."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from nlcore_bench.data.digits import PartName

__all__ = ["signals"]

_BLOCK, _KEPT = 10, 8  # rows of a block, and those of them that are used: the rest keeps the parts apart
_TURN: dict[int, PartName] = {3: "validation", 6: "test"}  # of seven blocks, one after the other


@cache
def signals(part: PartName, length: int) -> Tensor:
    """Return pieces of the rows of `china.jpg`, each less its mean, float32 [k, length].

    The rows are the mean of red, green and blue; blocks of rows are training, validation or test data. The unit is the
    standard deviation of all training pieces about their means.

    Args:
        part: Part of the data.
        length: Pixels of a piece.
    """
    pieces, unit = _pieces(part, length), _pieces("train", length).square().mean().sqrt()
    return pieces / unit


def _pieces(part: PartName, length: int) -> Tensor:
    grey = torch.tensor(load_sample_image("china.jpg"), dtype=torch.float32).mean(2)
    rows = [row for row in range(len(grey)) if row % _BLOCK < _KEPT and _TURN.get(row // _BLOCK % 7, "train") == part]
    used = grey.shape[1] // length * length
    pieces = grey[rows, :used].reshape(-1, length)
    return pieces - pieces.mean(1, keepdim=True)
