"""The Warcraft maps of the black-box paper, read from files of the user."""

from __future__ import annotations

from functools import cache
from hashlib import file_digest, md5
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.terrain import Maps
from nlcore_shortest_paths import shortest_path

__all__ = ["VARIABLE", "check_archive", "read_warcraft"]

VARIABLE = "NLCORE_WARCRAFT"
"""Environment variable that names the folder of the files."""

_ARCHIVE = "warcraft_maps.tar.gz"
_BYTES, _MD5 = 915_169_563, "acea5ea60a47664ff189923a84814e96"
_WHERE = (
    f"The maps are in {_ARCHIVE}, doi:10.17617/3.YJCQ5S ({_BYTES / 1e6:.0f} MB, md5 {_MD5}). Unpack it and name the "
    f"folder of one map size, such as 12x12, with --option folder=DIR or the environment variable {VARIABLE}."
)
_PREFIXES: dict[PartName, str] = {"train": "train", "validation": "val", "test": "test"}


@cache
def read_warcraft(folder: str, part: PartName) -> Maps:
    """Return one part of the Warcraft maps.

    Args:
        folder: Holds `{train,val,test}_{maps,vertex_weights,shortest_paths}.npy`: maps uint8 [N, 8k, 8k, 3], weights
            float16 [N, k, k], paths uint8 [N, k, k].
        part: Which part.

    Raises:
        ConfigError: A file is missing, cut off or of another layout, a weight is not a finite positive number, or the
            paths are not shortest by the weights.
    """
    prefix = _PREFIXES[part]
    kinds: dict[str, tuple[type[np.generic], int]] = {
        "maps": (np.uint8, 4),
        "vertex_weights": (np.floating, 3),
        "shortest_paths": (np.uint8, 3),
    }
    images, weights, paths = (_load(Path(folder) / f"{prefix}_{name}.npy", *kind) for name, kind in kinds.items())
    count, height, width = weights.shape
    if paths.shape != weights.shape or images.shape != (count, 8 * height, 8 * width, 3) or not weights.size:
        raise ConfigError(
            f"{folder}: {prefix} holds maps {images.shape}, weights {weights.shape} and paths {paths.shape}, whose "
            f"shapes do not match. {_WHERE}"
        )
    costs, known = torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(paths.astype(np.float32))
    _check_maps(folder, prefix, costs, known)
    return Maps(torch.from_numpy(images), costs, known)


def _check_maps(folder: str, prefix: str, costs: Tensor, paths: Tensor) -> None:
    """Raise unless all costs are finite and positive, and all paths shortest."""
    fine = (costs.isfinite() & (costs > 0)).flatten(1).all(dim=1)
    if not fine.all():
        index = int((~fine).nonzero()[0])
        raise ConfigError(f"{folder}: {prefix} map {index} has weights that are not finite positive numbers. {_WHERE}")
    best = (costs * shortest_path(costs)).sum(dim=(1, 2))
    same = ((costs * paths).sum(dim=(1, 2)) - best).abs() <= 1e-3 * best
    same &= (paths <= 1).flatten(1).all(dim=1)
    if not same.all():
        index = int((~same).nonzero()[0])
        raise ConfigError(f"{folder}: the path of {prefix} map {index} is not shortest by its weights. {_WHERE}")


def check_archive(path: Path) -> None:
    """Raise unless the file is the archive of the maps, by its size and its MD5 sum.

    Raises:
        ConfigError: It is missing, cut off, or another file.
    """
    size = path.stat().st_size if path.is_file() else None
    if size != _BYTES:
        found = "no such file" if size is None else f"{size} bytes in place of {_BYTES}"
        raise ConfigError(f"{path}: {found}. {_WHERE}")
    try:
        with path.open("rb") as file:
            digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    if digest != _MD5:
        raise ConfigError(f"{path}: md5 {digest}, so the download is damaged. {_WHERE}")


def _load(path: Path, kind: type[np.generic], ndim: int) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. {_WHERE}")
    try:
        # Mapped, not read: a wrong size in the header then allocates nothing.
        array = np.lib.format.open_memmap(path, mode="r")
        size = path.stat().st_size
    except Exception as error:  # the parser of a damaged header can raise anything
        raise ConfigError(f"{path}: not a NumPy file, or one that is cut off ({error}). {_WHERE}") from error
    if not np.issubdtype(array.dtype, kind) or array.ndim != ndim:
        expected = f"{kind.__name__} in {ndim} dimensions"
        raise ConfigError(f"{path}: holds {array.dtype} of shape {array.shape}; expected {expected}. {_WHERE}")
    if array.offset + array.nbytes != size:
        raise ConfigError(f"{path}: {size - array.offset} bytes of data in place of {array.nbytes}. {_WHERE}")
    return np.array(array)
