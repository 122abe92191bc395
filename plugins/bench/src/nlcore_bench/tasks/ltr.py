"""The task of learning to rank: a network scores the rows of a group from supervision of their graded relevance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore.errors import ConfigError
from nlcore_bench.config import LtrConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.queries import Queries, digest, files, table
from nlcore_bench.readers import DigitReader
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure, shuffled

__all__ = ["Ltr"]

_PAIRS = 1 << 24  # pairs of items that an evaluation compares at once


class Ltr(LtrConfig, AlgorithmTask):
    """Learning to rank: groups of a table that ships with scikit-learn, or queries of files in the LETOR format.

    Attributes:
        table: `"diabetes"` or `"digits"`; not read with `data`.
        data: A file of training queries.
        validation: A file of validation queries; without one, 20 % of the training queries.
        test: A file of test queries; without one, 20 % of the training queries.
        items: Rows in a group of a table.
        groups: Groups in each part of a table.
        longest: Largest number of items of a list in a step; of a longer list, each step takes a new random sample.
        batch: Lists in a step.
        hidden: Widths of the hidden layers of the network that scores one row.
        algorithm: Id of the loss, whose target is graded relevance.
        algorithm_options: Options of the loss.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("ndcg10", "NDCG@10", threshold=80.0),
        Measure("ndcg5", "NDCG@5", threshold=80.0),
        Measure("pairs", "pairs in order", threshold=80.0),
    )

    def settings(self) -> dict[str, Any]:
        """Return the digests of the files, in place of their names."""
        if self.data is None and (self.validation or self.test):
            raise ConfigError("validation and test go with data, the training queries.")
        if self.data is not None:
            self._part("train")  # raises for a wrong file before a folder is made
        paths = {name: getattr(self, name) for name in ("data", "validation", "test")}
        return {name: digest(path) for name, path in paths.items() if path is not None}

    def network(self, seed: int) -> nn.Module:
        """Return a new network, one row to one score."""
        return DigitReader((self._part("train").features.shape[1], *self.hidden, 1))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield lists, each once before any is repeated."""
        queries, generator = self._part(part), torch.Generator().manual_seed(seed)
        for chosen in shuffled(len(queries), self.batch, generator):
            rows = queries.rows(chosen, self.longest, generator)
            mask = rows < 0
            inputs = queries.features[rows].masked_fill(mask.unsqueeze(2), 0.0)
            relevance = queries.relevance[rows].masked_fill(mask, 0.0)
            yield Batch(inputs, relevance, options={"mask": mask} if bool(mask.any()) else {})

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return NDCG@10, NDCG@5 and the share of pairs in order, means over the lists that define them, in %."""
        from nlcore_ranking import ndcg, pair_accuracy

        queries = self._part(part)
        with torch.no_grad():
            scores = torch.cat([network(piece) for piece in torch.split(queries.features, 1 << 16)])
        found: dict[str, list[Tensor]] = {measure.name: [] for measure in self.outputs}
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
    """Yield all lists in groups of similar length, so small that their pairs fit into memory."""
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
