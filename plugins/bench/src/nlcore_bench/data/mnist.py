"""MNIST from four IDX files of the user or from OpenML, at 28×28 pixels or pooled, in three disjoint parts."""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nlcore.errors import ConfigError
from nlcore_bench.data.digits import Digits, Part

__all__ = ["OPENML", "digest", "idx", "mnist"]

OPENML = "openml"
"""A name instead of a folder: scikit-learn downloads MNIST from OpenML once and caches it."""

_NAMES = {"train": "train", "test": "t10k"}
_KINDS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
_VALIDATION = 5000
_BYTE = 8  # the code of unsigned bytes in the header
_COUNTS = {"train": 60_000, "t10k": 10_000}
_SHA256 = {  # of the files, unpacked
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_GIVE = (
    "Name the folder of the four IDX files of MNIST with --option folder=DIR, or give folder=openml to download them."
)


@cache
def mnist(folder: str, pool: int = 2) -> Digits:
    """Return the 60 000 and 10 000 scans; the last 5 000 of the former are the validation part.

    Args:
        folder: Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`, each as it is or with
            `.gz`; `"openml"` downloads them.
        pool: Side of the squares of pixels whose mean is a pixel: 1, 2 or 4, for 28×28, 14×14 or 7×7 pixels.

    Raises:
        ConfigError: A file is missing, cut off or of another layout; it has the size of MNIST's but another checksum;
            or OpenML cannot be reached.
    """
    train, test = (_read_part(folder, name, pool) for name in _NAMES.values())
    kept = len(train) - _VALIDATION
    return Digits(_some(train, slice(None, kept)), _some(train, slice(kept, None)), test)


@cache
def digest(folder: str) -> str:
    """Return the first 16 digits of the SHA-256 of pictures and labels, the same for packed and unpacked files."""
    state = sha256()
    for name in _NAMES.values():
        for kind in _KINDS.values():
            state.update(_content(folder, f"{name}-{kind}")[0])
    return state.hexdigest()[:16]


def _some(part: Part, which: slice) -> Part:
    return Part(part.index[which], part.images[which], part.labels[which])


def _read_part(folder: str, name: str, pool: int) -> Part:
    images, labels = (
        _array(folder, f"{name}-{kind}", ndim) for kind, ndim in zip(_KINDS.values(), (3, 1), strict=True)
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


def _content(folder: str, name: str) -> tuple[bytes, str]:
    """Return the unpacked bytes of a file, and the name of its source."""
    if folder == OPENML:
        return _openml()[name], f"OpenML's {name}"
    path = _path(folder, name)
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content), str(path)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path} cannot be read, or is cut off: {error}. {_expected(name)} Get the file again."
        ) from error


def _path(folder: str, name: str) -> Path:
    for path in (Path(folder) / name, Path(folder) / f"{name}.gz"):
        if path.is_file():
            return path
    raise ConfigError(f"{folder} has neither {name} nor {name}.gz. {_GIVE}")


def _array(folder: str, name: str, ndim: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file: two zeros, the type, the number of dimensions, the sizes, the numbers."""
    content, place = _content(folder, name)
    header = 4 + 4 * ndim
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if content[:4] != bytes([0, 0, _BYTE, ndim]) or len(content) != header + math.prod(sizes):
        raise ConfigError(
            f"{place} is not an IDX file of unsigned bytes in {ndim} dimensions, or is cut off: it has {len(content)} "
            f"bytes. {_expected(name)} Get the file again."
        )
    found = sha256(content).hexdigest()
    if sizes[0] == _COUNTS[name.partition("-")[0]] and found != _SHA256[name]:
        raise ConfigError(
            f"{place} is damaged, or of another data set: its SHA-256 is {found}. {_expected(name)} Get the file again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)


def _expected(name: str) -> str:
    return f"The {name} of MNIST, unpacked, has the SHA-256 {_SHA256[name]}."


def idx(array: NDArray[np.uint8]) -> bytes:
    """Return the content of an IDX file of an array of unsigned bytes."""
    return bytes([0, 0, _BYTE, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


@cache
def _openml() -> dict[str, bytes]:
    """Return the content of the four files, from OpenML's table.

    Raises:
        ConfigError: OpenML cannot be reached, or the download is incomplete.
    """
    from sklearn.datasets import fetch_openml

    parser = "pandas" if find_spec("pandas") else "liac-arff"  # the latter takes minutes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of retries
            pixels, labels = fetch_openml(
                "mnist_784", version=1, return_X_y=True, as_frame=False, parser=parser, n_retries=1, delay=0.1
            )
    except (OSError, ValueError) as error:  # offline, or a download of another checksum
        raise ConfigError(f"MNIST cannot be downloaded from OpenML: {error}. {_GIVE}") from error
    return _files(pixels, labels)


def _files(pixels: NDArray[Any], labels: NDArray[Any]) -> dict[str, bytes]:
    """Return the four files of a table [n, 784] with its labels [n]: first the scans for training, then the others."""
    scans, numbers = pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)
    found, start = {}, 0
    for name, count in _COUNTS.items():
        part = slice(start, start + count)
        found[f"{name}-images-idx3-ubyte"], found[f"{name}-labels-idx1-ubyte"] = idx(scans[part]), idx(numbers[part])
        start += count
    return found
