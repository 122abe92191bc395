"""Exchange between the processes over which a batch is spread: sums, gathers, and failures that reach every rank."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, NumericalError, error_text, first_line

__all__ = ["Ranks", "resolve_group"]

_FINE, _FAILED = 0, 1


def resolve_group(group: Any, name: str, device: torch.device) -> Ranks | None:
    """Return the ranks to share a batch with.

    Args:
        group: A process group; `None` for the default group where one of several ranks is initialised; `False` for
            none.
        name: Name of the loss, for messages.
        device: Device of the prediction.

    Raises:
        ConfigError: `group` is something else.
    """
    if group is False or not dist.is_available() or not dist.is_initialized():
        return None
    if group is None:
        group = dist.group.WORLD
    if not isinstance(group, dist.ProcessGroup):
        raise ConfigError(f"process_group={group!r}: give a process group, None for the default one, or False.")
    return Ranks(group, name, device) if dist.get_world_size(group) > 1 else None


@dataclass(slots=True)
class Ranks:
    """The processes that share a batch.

    Every exchange is preceded by a header of three integers: whether a rank has failed, what is exchanged, and its
    size. A rank on which the user's code raised therefore never leaves the others waiting, and ranks that disagree
    (different numbers of outputs, different curvatures) raise instead of hanging.

    Attributes:
        group: The process group.
        name: Name of the loss, for messages.
        device: Device of the prediction.
        ended: Whether the ranks have stopped exchanging, since one of them failed or they were out of step.
    """

    group: dist.ProcessGroup
    name: str
    device: torch.device
    ended: bool = False

    @property
    def count(self) -> int:
        """The number of ranks."""
        return dist.get_world_size(self.group)

    def total(self, local: Tensor) -> Tensor:
        """Return the sum of `local` over the ranks."""
        return self._reduced("sum", local, dist.ReduceOp.SUM)

    def largest(self, local: Tensor) -> Tensor:
        """Return the entrywise maximum of `local` over the ranks."""
        return self._reduced("maximum", local, dist.ReduceOp.MAX)

    def gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Return the rows [N, …] of all ranks, and where those of this rank are."""
        self._agree("gather", rows[:1].numel() if rows.shape[0] else -1)
        count = torch.tensor([rows.shape[0]], device=rows.device)
        counts = [torch.zeros_like(count) for _ in range(self.count)]
        self._run(lambda: dist.all_gather(counts, count, group=self.group))
        sizes = [int(one) for one in counts]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        pieces = [torch.empty_like(padded) for _ in sizes]
        self._run(lambda: dist.all_gather(pieces, padded, group=self.group))
        rank = dist.get_rank(self.group)
        start = sum(sizes[:rank])
        return torch.cat([p[:s] for p, s in zip(pieces, sizes, strict=True)]), slice(start, start + sizes[rank])

    def check_alike(self, setting: str) -> None:
        """Compare a setting, in words, with that of the other ranks.

        Raises:
            ContractError: It differs, on every rank.
        """
        if not self._differ(_FINE, "setting", zlib.crc32(setting.encode())):
            return
        settings = self._end(setting)
        raise ContractError(
            f"{self.name}: the ranks take different steps: {'; '.join(f'rank {r}: {s}' for r, s in settings)}. The "
            f"curvature is that of the global batch, so loss, curvature and number of outputs have to be the same."
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a step such that an exception on one rank raises on all.

        Raises:
            NumericalError: Another rank raised an exception; the message holds its text.
        """
        try:
            yield
            self._agree("end", 0)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not self.ended:
                self._differ(_FAILED, "failure", 0)
                self._end(f"{type(error).__name__}: {error_text(error)}")
            raise

    def _reduced(self, what: str, local: Tensor, operation: Any) -> Tensor:
        self._agree(what, local.numel())
        reduced = local.clone()
        self._run(lambda: dist.all_reduce(reduced, operation, group=self.group))
        return reduced

    def _agree(self, what: str, size: int) -> None:
        """Compare what is about to be exchanged.

        Raises:
            NumericalError: Another rank has failed.
            ContractError: Another rank is about to exchange something else.
        """
        if not self._differ(_FINE, what, size):
            return
        texts = "; ".join(f"rank {rank}: {text}" for rank, text in self._end(f"{what} of {size} numbers"))
        raise ContractError(
            f"{self.name}: the ranks are out of step ({texts}). Every rank has to take the same steps, with the same "
            f"loss, curvature, on_failure and number of outputs; otherwise give process_group=False."
        )

    def _differ(self, status: int, what: str, size: int) -> bool:
        """Return whether the ranks are about to exchange different things."""
        header = torch.tensor([status, zlib.crc32(what.encode()), size], device=self.device)
        headers = [torch.empty_like(header) for _ in range(self.count)]
        self._run(lambda: dist.all_gather(headers, header, group=self.group))
        rows = [one.tolist() for one in headers]
        failed = [rank for rank, row in enumerate(rows) if row[0] == _FAILED]
        if failed and status == _FINE:
            text = dict(self._end(""))[failed[0]]
            raise NumericalError(f"{self.name}: another rank could not take its step. Rank {failed[0]} raised {text}")
        sizes = {row[2] for row in rows if row[2] >= 0}  # a rank without samples has no rows to compare
        return len({row[1] for row in rows}) > 1 or len(sizes) > 1

    def _end(self, text: str) -> list[tuple[int, str]]:
        """Exchange a final message with all ranks, and return the messages by rank."""
        texts: list[Any] = [None] * self.count
        self._run(lambda: dist.all_gather_object(texts, text, group=self.group))
        self.ended = True
        return list(enumerate(texts))

    def _run(self, exchange: Callable[[], object]) -> None:
        """Run an exchange; if it fails, the error names the likely causes."""
        try:
            exchange()
        except RuntimeError as error:
            self.ended = True
            raise ContractError(
                f"{self.name}: an exchange with the other ranks failed ({first_line(error)}). A rank has ended, or "
                f"takes another number of steps: with uneven inputs, as under DistributedDataParallel.join(), and in "
                f"code that only some ranks run, give process_group=False."
            ) from error
