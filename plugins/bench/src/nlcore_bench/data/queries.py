"""Lists to rank: groups of rows of scikit-learn's tables, and the queries of files in the LETOR format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from hashlib import file_digest
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_bench.data import letor
from nlcore_bench.data.digits import PartName

__all__ = ["Queries", "digest", "files", "table"]

_GRADES = 5
_SHARES = {"validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Queries:
    """Lists of items of different length.

    Attributes:
        features: float32 [rows, d], the rows of one list together.
        relevance: float32 [rows].
        starts: int64 [lists + 1]; list q has the rows starts[q] to starts[q + 1].
    """

    features: Tensor
    relevance: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Tensor:
        """int64 [lists], the number of items of each list."""
        return self.starts.diff()

    @property
    def rankable(self) -> bool:
        """Whether some list has items of different relevance, so that one order is better than another."""
        changes = self.relevance.diff() != 0
        changes[self.starts[1:-1] - 1] = False  # from the last item of a list to the first of the next
        return bool(changes.any())

    def rows(self, chosen: Tensor, longest: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows of some lists, int64 [lists, n], −1 at padded positions.

        Args:
            chosen: int64, indices of the lists.
            longest: Largest number of items: of a longer list, so many random items are taken, in their order; `None`
                for all.
            generator: Source of the random numbers.
        """
        found = []
        for start, stop in zip(self.starts[chosen].tolist(), self.starts[chosen + 1].tolist(), strict=True):
            row = torch.arange(start, stop)
            if longest is not None and len(row) > longest:
                row = row[torch.randperm(len(row), generator=generator)[:longest].sort().values]
            found.append(row)
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1)


def table(name: str, *, items: int, groups: int) -> dict[PartName, Queries]:
    """Return groups of rows of a table that ships with scikit-learn, to be ranked by their target.

    Every row belongs to one of training, validation and test (60 / 20 / 20 %), and a group holds different rows of one
    part. The target becomes five grades: quintiles of the training rows for `"diabetes"` (442 patients, 10 columns, the
    progression of the disease after a year), half the digit for `"digits"` (1797 scans of 64 pixels). Columns are
    standardised with the mean and the deviation of the training rows. The result is always the same.

    Args:
        name: `"diabetes"` or `"digits"`.
        items: Rows in a group.
        groups: Groups of the training part; the others have as many.

    Raises:
        ConfigError: There is no such table, or a part has fewer rows than a group needs.
    """
    random = np.random.RandomState(0)
    features, target = _read(name)
    order = random.permutation(len(target))
    cuts = np.cumsum([round(share * len(order)) for share in _SHARES.values()])
    validation, test, train = np.split(order, cuts)
    if name == "diabetes":
        target = np.searchsorted(np.quantile(target[train], np.arange(1, _GRADES) / _GRADES), target)
    parts: dict[PartName, Queries] = {}
    rows: dict[PartName, np.ndarray] = {"train": train, "validation": validation, "test": test}
    for part, own in rows.items():
        if items > len(own):
            raise ConfigError(f"items={items}: the {part} part of {name} has {len(own)} rows. Give fewer.")
        chosen = np.concatenate([random.permutation(own)[:items] for _ in range(groups)])
        parts[part] = Queries(
            torch.tensor(features[chosen], dtype=torch.float32),
            torch.tensor(target[chosen], dtype=torch.float32),
            torch.arange(0, groups * items + 1, items),
        )
    return _standardised(parts)


def files(train: str, validation: str | None, test: str | None) -> dict[PartName, Queries]:
    """Return the queries of files in the LETOR format; a part without a file gets 20 % of the training queries.

    Raises:
        LetorError: A file is not in the format.
        ConfigError: A file cannot be read, or there are too few queries for three parts.
    """
    given: dict[PartName, str | None] = {"train": train, "validation": validation, "test": test}
    read = {part: _load(path) for part, path in given.items() if path is not None}
    width = max(data.features.shape[1] for data in read.values())
    parts = {part: _queries(data, width) for part, data in read.items()}
    missing = [part for part in given if part not in parts]
    whole = parts["train"]
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(whole)))
    count = max(1, round(_SHARES["test"] * len(whole))) if missing else 0
    if len(whole) <= count * len(missing):
        raise ConfigError(f"{train} has {len(whole)} queries, too few for training and {' and '.join(missing)}.")
    for part in missing:
        parts[part], order = _picked(whole, order[:count].sort().values), order[count:]
    if missing:
        parts["train"] = _picked(whole, order.sort().values)
    return _standardised(parts)


@cache
def digest(path: str) -> str:
    """Return the SHA-256 of a file, which identifies the data of a study independently of the file's name.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "diabetes":
        return load_diabetes(return_X_y=True)  # type: ignore[no-any-return]
    if name == "digits":
        features, digit = load_digits(return_X_y=True)
        return features, digit // 2
    raise ConfigError(f"table={name!r}: choose 'diabetes' or 'digits'.")


def _load(path: str) -> letor.Letor:
    try:
        return letor.load(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def _queries(data: letor.Letor, width: int) -> Queries:
    features = torch.from_numpy(data.features)
    return Queries(
        torch.nn.functional.pad(features, (0, width - features.shape[1])),
        torch.from_numpy(data.relevance),
        torch.from_numpy(data.starts),
    )


def _picked(queries: Queries, chosen: Tensor) -> Queries:
    """Return some lists of many, in the order of `chosen`."""
    spans = zip(queries.starts[chosen].tolist(), queries.starts[chosen + 1].tolist(), strict=True)
    rows = torch.cat([torch.arange(start, stop) for start, stop in spans])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), queries.lengths[chosen].cumsum(0)])
    return Queries(queries.features[rows], queries.relevance[rows], starts)


def _standardised(parts: dict[PartName, Queries]) -> dict[PartName, Queries]:
    train = parts["train"].features.double()
    mean, spread = train.mean(dim=0), train.std(dim=0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    return {
        part: replace(queries, features=((queries.features - mean) / spread).float()) for part, queries in parts.items()
    }
