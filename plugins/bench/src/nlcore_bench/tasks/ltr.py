"""The task of learning to rank: a network scores the rows of a group from supervision of their graded relevance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore.errors import ConfigError
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.queries import Queries, digest, files, table
from nlcore_bench.methods.base import Method
from nlcore_bench.methods.ltr import LTR
from nlcore_bench.tasks.base import Batch, Metric
from nlcore_bench.tasks.totals import DigitReader

__all__ = ["Ltr"]

_PAIRS = 1 << 24  # pairs of items that an evaluation compares at once


@dataclass(frozen=True)
class Ltr:
    """Learning to rank: groups of a table that ships with scikit-learn, or queries of files in the LETOR format.

    Attributes:
        table: `"diabetes"` or `"digits"`; not read with `data`.
        data: A file of training queries.
        validation: A file of validation queries; without one, 20 % of the training queries.
        test: A file of test queries; without one, 20 % of the training queries.
        items: Rows in a group of a table.
        groups: Groups in each part of a table.
        longest: Largest number of items of a list in a training step; longer lists are sampled anew in every step.
        batch: Lists in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        hidden: Widths of the hidden layers of the network that scores one row.
        learning_rates: Learning rates that every method may choose from.
    """

    table: str = "diabetes"
    data: str | None = None
    validation: str | None = None
    test: str | None = None
    items: int = 20
    groups: int = 200
    longest: int = 240
    batch: int = 32
    steps: int = 300
    every: int = 25
    hidden: tuple[int, ...] = (64, 32)
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

    methods: ClassVar[tuple[Method, ...]] = LTR
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("ndcg10", "NDCG@10", 80.0),
        Metric("ndcg5", "NDCG@5", 80.0),
        Metric("pairs", "pairs in order", 80.0),
    )

    @property
    def name(self) -> str:
        """Name of the folder of results: one for every table or file."""
        return f"ltr-{self.table if self.data is None else Path(self.data).name.partition('.')[0]}"

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        if self.data is not None:
            return f"Learning to rank the queries of {Path(self.data).name}"
        return f"Learning to rank {self.items} rows of {self.table} by their target"

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader of the numbers."""
        if self.data is not None:
            origin = "Queries without a relevant item are left out of NDCG, those of one grade out of the pairs."
        else:
            origin = (
                "Groups of training, validation and test are drawn from different rows (60 / 20 / 20 %). The standard "
                "deviation is over seeds of network and batches, not over rows: the test groups are always the same."
            )
        return (
            origin,
            "The gain of NDCG is 2^grade − 1; equal scores share the mean of their positions. The learning rate of "
            "every method was chosen by NDCG@10 on validation lists with the same number of runs; other seeds were "
            "then measured on test lists. Options of the losses and dampings were fixed beforehand.",
        )

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values; of files the digest."""
        if self.data is not None:
            self._part("train")  # a wrong file is named before a folder is made
        paths = {name: getattr(self, name) for name in ("data", "validation", "test")}
        return {**asdict(self), **{name: None if path is None else digest(path) for name, path in paths.items()}}

    def model(self) -> nn.Module:
        """Return a fresh network, one row to one score."""
        return DigitReader((self._part("train").features.shape[1], *self.hidden, 1))

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield training lists, each once before any is repeated."""
        queries, generator = self._part("train"), torch.Generator().manual_seed(seed)
        waiting = torch.empty(0, dtype=torch.int64)
        for _ in range(self.steps):
            while len(waiting) < self.batch:
                waiting = torch.cat([waiting, torch.randperm(len(queries), generator=generator)])
            chosen, waiting = waiting[: self.batch], waiting[self.batch :]
            rows = queries.rows(chosen, self.longest, generator)
            mask = rows < 0
            inputs = queries.features[rows].masked_fill(mask.unsqueeze(2), 0.0)
            relevance = queries.relevance[rows].masked_fill(mask, 0.0)
            yield Batch(inputs, {"relevance": relevance}, mask if bool(mask.any()) else None)

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return NDCG@10, NDCG@5 and the share of pairs in order, each as the mean over lists that define it, in %."""
        from nlcore_ranking import ndcg, pair_accuracy

        queries = self._part(part)
        with torch.no_grad():
            scores = torch.cat([model(piece) for piece in torch.split(queries.features, 1 << 16)])
        found: dict[str, list[Tensor]] = {metric.name: [] for metric in self.metrics}
        for chosen in _by_length(queries):
            rows = queries.rows(chosen)
            lists, mask = (scores[rows], queries.relevance[rows]), rows < 0
            found["ndcg10"].append(ndcg(*lists, k=10, mask=mask, empty=torch.nan))
            found["ndcg5"].append(ndcg(*lists, k=5, mask=mask, empty=torch.nan))
            found["pairs"].append(pair_accuracy(*lists, mask=mask))
        return {name: 100 * torch.cat(values).nanmean().item() for name, values in found.items()}

    def _part(self, part: PartName) -> Queries:
        if self.data is not None:
            return _files(self.data, self.validation, self.test)[part]
        return _table(self.table, self.items, self.groups)[part]


def _by_length(queries: Queries) -> Iterator[Tensor]:
    """Yield all lists in groups of similar length, small enough that their pairs fit into memory."""
    order = queries.lengths.argsort(descending=True, stable=True)
    while len(order):
        count = max(1, _PAIRS // int(queries.lengths[order[0]]) ** 2)
        yield order[:count]
        order = order[count:]


@cache
def _table(name: str, items: int, groups: int) -> dict[PartName, Queries]:
    return table(name, items=items, groups=groups)


@cache
def _files(train: str, validation: str | None, test: str | None) -> dict[PartName, Queries]:
    parts = files(train, validation, test)
    origin: dict[PartName, str] = {"train": train, "validation": validation or train, "test": test or train}
    for part, path in origin.items():
        if not parts[part].rankable:
            raise ConfigError(f"{path}: no query of the {part} part has rows of different relevance; nothing to rank.")
    return parts
