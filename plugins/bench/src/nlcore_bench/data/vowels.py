"""Utterances of two vowels, series of unequal lengths, from a file that ships with sktime."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from nlcore_bench.data import package_folder
from nlcore_bench.data.digits import PartName

__all__ = ["utterances"]

_VALIDATION_TURN = 5  # every fifth utterance of the training file


@cache
def utterances(part: PartName) -> tuple[Tensor, ...]:
    """Return utterances of /ae/ by nine speakers, each [frames, 12] float32, 7 to 29 frames.

    The cepstral coefficients of *Japanese Vowels*, Kudo, Toyama, Shimbo, 1999: the 370 utterances of its test file are
    the test part, every fifth of the 270 others the validation part. Every coefficient is in units of its standard
    deviation in the training file, about its mean.

    Args:
        part: Part of the data.

    Raises:
        ConfigError: sktime is not installed.
    """
    known = _read("TRAIN")
    frames = torch.cat(known)
    chosen = _read("TEST") if part == "test" else known
    if part != "test":
        keep = part == "validation"
        chosen = [one for k, one in enumerate(known) if (k % _VALIDATION_TURN == 0) == keep]
    return tuple((one - frames.mean(0)) / frames.std(0) for one in chosen)


@cache
def _read(name: str) -> list[Tensor]:
    """Return the series of a file: one per line, its channels separated by colons, the speaker in the last field."""
    missing = "bench/align needs the utterances that ship with sktime: pip install sktime, or 'nlcore-bench[align]'."
    path = package_folder("sktime", missing) / "datasets" / "data" / "JapaneseVowels" / f"JapaneseVowels_{name}.ts"
    lines = path.read_text(encoding="utf-8").partition("@data")[2].split()
    series = ([[float(one) for one in channel.split(",")] for channel in line.split(":")[:-1]] for line in lines)
    return [torch.tensor(one).mT.contiguous() for one in series]
