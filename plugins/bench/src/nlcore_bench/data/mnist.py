"""MNIST from the four IDX files that the user has, at 28×28 pixels or pooled, in three disjoint parts."""

from __future__ import annotations

import gzip
import math
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nlcore.errors import ConfigError
from nlcore_bench.data.digits import Digits, Part

__all__ = ["digest", "mnist"]

_NAMES = {"train": "train", "test": "t10k"}
_KINDS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
_VALIDATION = 5000
_BYTE = 8  # the code of unsigned bytes in the header


@cache
def mnist(folder: str, pool: int = 2) -> Digits:
    """Return the 60 000 and 10 000 scans; the last 5 000 of the former are the validation part.

    Args:
        folder: Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`, each as it is or with
            `.gz`.
        pool: Side of the squares of pixels whose mean is a pixel: 1, 2 or 4, for 28×28, 14×14 or 7×7 pixels.

    Raises:
        ConfigError: A file is missing, cut off or of another layout.
    """
    train, test = (_read_part(folder, name, pool) for name in _NAMES.values())
    kept = len(train) - _VALIDATION
    return Digits(_some(train, slice(None, kept)), _some(train, slice(kept, None)), test)


@cache
def digest(folder: str) -> str:
    """Return the first 16 digits of the SHA-256 of pictures and labels, whatever files they come from."""
    state = sha256()
    for name in _NAMES.values():
        for kind in _KINDS.values():
            state.update(_bytes(_path(folder, f"{name}-{kind}")))
    return state.hexdigest()[:16]


def _some(part: Part, which: slice) -> Part:
    return Part(part.index[which], part.images[which], part.labels[which])


def _read_part(folder: str, name: str, pool: int) -> Part:
    images, labels = (
        _array(_path(folder, f"{name}-{kind}"), ndim) for kind, ndim in zip(_KINDS.values(), (3, 1), strict=True)
    )
    if images.shape != (len(labels), 28, 28) or len(labels) <= _VALIDATION or labels.max() > 9:
        raise ConfigError(
            f"{folder}: the {name} files hold {images.shape} pictures and {labels.shape} labels; MNIST has [n, 28, 28] "
            f"and [n], n > {_VALIDATION}, labels 0 to 9."
        )
    scans: Tensor = torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 255
    return Part(
        torch.arange(len(labels)), avg_pool2d(scans, pool).flatten(1), torch.from_numpy(labels.astype(np.int64))
    )


def _path(folder: str, name: str) -> Path:
    for path in (Path(folder) / name, Path(folder) / f"{name}.gz"):
        if path.is_file():
            return path
    raise ConfigError(
        f"{folder} has neither {name} nor {name}.gz. Give the folder of the four IDX files of MNIST with --option "
        f"folder=DIR; without it the digits of scikit-learn are read."
    )


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def _array(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file: two zeros, the type, the number of dimensions, the sizes, the numbers."""
    content = _bytes(path)
    header = 4 + 4 * ndim
    sizes = [int(one) for one in np.frombuffer(content[4:header], dtype=">u4")]
    if content[:4] != bytes([0, 0, _BYTE, ndim]) or len(sizes) != ndim or len(content) != header + math.prod(sizes):
        raise ConfigError(f"{path} is not an IDX file of unsigned bytes in {ndim} dimensions, or is cut off.")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)
