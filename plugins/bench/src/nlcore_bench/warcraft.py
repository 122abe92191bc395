"""Reads the Warcraft maps of the black-box paper from files that the user has."""

from __future__ import annotations

import os
from functools import cache
from hashlib import md5
from pathlib import Path

import numpy as np
import torch

from nlcore.errors import ConfigError
from nlcore_bench.data import PartName
from nlcore_bench.terrain import Maps
from nlcore_shortest_paths import shortest_path

__all__ = ["VARIABLE", "check_archive", "read_warcraft", "warcraft_folder"]

VARIABLE = "NLCORE_WARCRAFT"
"""Environment variable that names the folder of the files."""

_ARCHIVE = "warcraft_maps.tar.gz"
_BYTES, _MD5 = 915_169_563, "acea5ea60a47664ff189923a84814e96"
_WHERE = (
    f"The maps are in {_ARCHIVE}, doi:10.17617/3.YJCQ5S ({_BYTES / 1e6:.0f} MB, md5 {_MD5}). Unpack it and name the "
    f"folder of one map size, such as 12x12, with --warcraft DIR or the environment variable {VARIABLE}."
)
_PREFIXES: dict[PartName, str] = {"train": "train", "validation": "val", "test": "test"}


def warcraft_folder(given: str | None) -> str | None:
    """Return the folder that was given, or the one that the environment names."""
    return given or os.environ.get(VARIABLE) or None


@cache
def read_warcraft(folder: str, part: PartName) -> Maps:
    """Return one part of the Warcraft maps.

    Args:
        folder: Holds `{train,val,test}_{maps,vertex_weights,shortest_paths}.npy`: maps uint8 [N, 8k, 8k, 3], weights
            float16 [N, k, k], paths uint8 [N, k, k].
        part: Which part.

    Raises:
        ConfigError: A file is missing or of another layout, or the paths are not shortest by the weights.
    """
    prefix = _PREFIXES[part]
    images, weights, paths = (
        _load(Path(folder) / f"{prefix}_{name}.npy", kind, ndim)
        for name, kind, ndim in (("maps", "u", 4), ("vertex_weights", "f", 3), ("shortest_paths", "u", 3))
    )
    if not (len(images) == len(weights) == len(paths) and weights.shape == paths.shape and images.shape[3] == 3):
        raise ConfigError(
            f"{folder}: {prefix} holds maps {images.shape}, weights {weights.shape} and paths {paths.shape}, which do "
            f"not belong together. {_WHERE}"
        )
    costs, known = torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(paths.astype(np.float32))
    best = (costs * shortest_path(costs)).sum(dim=(1, 2))
    worse = ((costs * known).sum(dim=(1, 2)) > best * (1 + 1e-3)).nonzero()[:, 0].tolist()
    if worse:
        raise ConfigError(f"{folder}: the path of {prefix} map {worse[0]} is not shortest by its weights. {_WHERE}")
    return Maps(torch.from_numpy(images), costs, known)


def check_archive(path: Path) -> None:
    """Raise unless the file is the archive of the maps, by its size and its MD5 sum.

    Raises:
        ConfigError: It is missing, cut off, or another file.
    """
    size = path.stat().st_size if path.is_file() else None
    if size != _BYTES:
        found = "no such file" if size is None else f"{size} bytes in place of {_BYTES}"
        raise ConfigError(f"{path}: {found}. {_WHERE}")
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != _MD5:
        raise ConfigError(f"{path}: md5 {digest.hexdigest()}, so the download is damaged. {_WHERE}")


def _load(path: Path, kind: str, ndim: int) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. {_WHERE}")
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(f"{path}: no NumPy file ({error}). {_WHERE}") from error
    if array.dtype.kind != kind or array.ndim != ndim:
        raise ConfigError(f"{path}: holds {array.dtype} of shape {array.shape}; expected {ndim} dimensions. {_WHERE}")
    return array
