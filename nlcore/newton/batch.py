"""Which samples and outputs count, and every sum over them: the one place that knows of other ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nlcore.errors import ConfigError

__all__ = ["Batch", "Group", "resolve_group"]

Group = Any
"""A process group; `None` for a batch that is all on this process."""


def resolve_group(group: Any = None) -> Group:
    """Return the process group to sum over.

    Args:
        group: A process group; `None` for the default group where one of several ranks is initialised; `False` for
            none.

    Raises:
        ConfigError: It is something else.
    """
    if group is False or not dist.is_available() or not dist.is_initialized():
        return None
    if group is None:
        return dist.group.WORLD if dist.get_world_size() > 1 else None
    if not isinstance(group, dist.ProcessGroup):
        raise ConfigError(f"process_group={group!r}: give a process group, None for the default one, or False.")
    return group if dist.get_world_size(group) > 1 else None


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of this process, as a part of the global batch.

    Attributes:
        weight: [N] float64, the weight of each sample, zero where it must not count.
        keep: [N, m] bool, False at padded outputs; `None` when there are none.
        group: The process group over which the batch is spread.
    """

    weight: Tensor
    keep: Tensor | None = None
    group: Group = None

    def count(self) -> int:
        """Return the number of samples of all ranks."""
        if self.group is None:
            return self.weight.shape[0]
        return int(self.total(torch.ones_like(self.weight).sum()))

    def total(self, local: Tensor) -> Tensor:
        """Return the sum of `local` over the ranks."""
        if self.group is None:
            return local
        summed = local.clone()
        dist.all_reduce(summed, group=self.group)
        return summed

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest entry of `values` over the ranks, and at least zero, []."""
        largest = values.amax() if values.numel() else values.new_zeros(())
        if self.group is not None:
            largest = largest.clone()
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest

    def gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Return the rows [N, …] of all ranks, and where those of this one are."""
        if self.group is None:
            return rows, slice(0, rows.shape[0])
        ranks, rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        count = torch.tensor([rows.shape[0]], device=rows.device)
        counts = [torch.zeros_like(count) for _ in range(ranks)]
        dist.all_gather(counts, count, group=self.group)
        sizes = [int(c) for c in counts]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        pieces = [torch.empty_like(padded) for _ in range(ranks)]
        dist.all_gather(pieces, padded, group=self.group)
        start = sum(sizes[:rank])
        return torch.cat([p[:s] for p, s in zip(pieces, sizes, strict=True)]), slice(start, start + sizes[rank])

    def quantile(self, values: Tensor, share: float) -> Tensor:
        """Return the weighted quantile of [N, r] over the samples of all ranks, [r].

        It is the smallest value such that the samples up to it hold `share` of the weight, so that an integer
        weight equals repetition; zero where no sample counts.
        """
        everyone, _ = self.gather(values)
        weight, _ = self.gather(self.weight)
        if everyone.shape[0] == 0:
            return values.new_zeros(values.shape[1:])
        ordered, order = torch.where((weight > 0).unsqueeze(-1), everyone, torch.inf).sort(0)
        held = weight[order].cumsum(0)
        enough = held >= share * held[-1] * (1 - 1e-12)
        found = torch.where(enough, ordered, torch.inf).amin(0)
        return torch.where(torch.isinf(found), 0.0, found)

    def scale(self, size: int) -> Tensor:
        """Return s [m] such that diag(s)(Σ wᵢAᵢ)diag(s) is the mean of the Aᵢ over those that count.

        An output's own entry is its mean over the samples that have it; scaling from both sides keeps a
        positive semi-definite sum so, which a division entry by entry would not.
        """
        counts = self.weight if self.keep is None else self.weight.unsqueeze(-1) * self.keep
        counts = self.total(counts.sum(0)).expand(size)
        return torch.where(counts > 0, counts, torch.inf).rsqrt()

    def mean(self, blocks: Tensor) -> Tensor:
        """Return the mean of [N, m, m] over the samples, [m, m]."""
        scale = self.scale(blocks.shape[-1])
        summed = (self.weight @ blocks.flatten(1)).view(blocks.shape[1:])
        return self.total(summed) * scale * scale.unsqueeze(-1)

    def outputs(self, size: int) -> Tensor | int:
        """Return how many of the m outputs count in some sample, []; at least one."""
        return size if self.keep is None else (self.scale(size) > 0).sum().clamp(min=1)

    def cleared(self, blocks: Tensor) -> Tensor:
        """Return [N, m, m] with zeros for padded outputs and for samples that do not count."""
        counts = (self.weight > 0)[:, None, None]
        if self.keep is not None:
            counts = counts & self.keep.unsqueeze(-1) & self.keep.unsqueeze(-2)
        return torch.where(counts, blocks, 0.0)

    def kept(self, directions: Tensor) -> Tensor:
        """Return [N, m] with zeros at padded outputs."""
        return directions if self.keep is None else torch.where(self.keep, directions, 0.0)

    def regular(self, matrix: Tensor) -> Tensor:
        """Return [m, m] or [N, m, m] with ones on the diagonal where no sample, or not this one, has an output.

        Such rows are zero and would make the matrix singular without being part of the problem.
        """
        if self.keep is None and matrix.ndim == 2:
            return matrix
        size = matrix.shape[-1]
        counts = (self.weight > 0).unsqueeze(-1)
        absent = self.scale(size) == 0 if matrix.ndim == 2 else ~(counts if self.keep is None else counts & self.keep)
        return matrix + torch.diag_embed(absent.expand(*matrix.shape[:-2], size).to(matrix.dtype))

    def root_mean_square(self, directions: Tensor) -> Tensor:
        """Return that of [N, m] over all outputs that count, weighted, [1]."""
        size = directions.shape[1]
        outputs = torch.full_like(self.weight, size) if self.keep is None else self.keep.sum(-1)
        largest = self.largest(directions.abs()).clamp(min=torch.finfo(directions.dtype).tiny)
        squares = self.total((self.weight * (directions / largest).square().sum(-1)).sum())
        count = self.total((self.weight * outputs).sum())
        return largest * (squares / torch.where(count > 0, count, 1.0)).sqrt()
