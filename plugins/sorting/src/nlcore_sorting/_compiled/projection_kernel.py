"""Projections on the permutahedron compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore_sorting._compiled import projection_kl as entropic
from nlcore_sorting._compiled import projection_l2 as euclidean
from nlcore_sorting._compiled.jit import lengths_of
from nlcore_sorting.config import Regularization

__all__ = ["ProjectionKernel"]

_PASSES: dict[tuple[str, Regularization], tuple[Callable[..., None], Callable[..., None]]] = {
    ("sort", "l2"): (euclidean.sort, euclidean.sort_slopes),
    ("rank", "l2"): (euclidean.rank, euclidean.rank_slopes),
    ("sort", "kl"): (entropic.sort, entropic.sort_slopes),
    ("rank", "kl"): (entropic.rank, entropic.rank_slopes),
}


@dataclass(frozen=True, slots=True)
class ProjectionKernel:
    """Soft sort or soft rank as a `Kernel`. It keeps an order, the blocks and, with `"kl"`, shares, O(n) a list.

    Attributes:
        operator: What is computed.
        regularization: In which sense the projection is the nearest point.
        strength: ε.
        length: [..., 1], the number of real items of every list; `None` for all.
    """

    operator: Literal["sort", "rank"]
    regularization: Regularization
    strength: float
    length: Tensor | None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and what is kept."""
        rows = scores.detach().reshape(-1, scores.shape[-1]).contiguous()
        kept = rows.new_empty(2, *rows.shape, dtype=torch.int32).unbind()
        if self.regularization == "kl":
            kept = (*kept, torch.empty_like(rows, dtype=torch.float64))
        result = scores.new_empty(scores.shape)
        self._call(0, rows.numpy(), kept, result)
        return result, kept

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the result."""
        result = grad.new_empty(grad.shape)
        self._call(1, grad.reshape(-1, grad.shape[-1]).contiguous().numpy(), kept, result)
        return result

    def _call(self, which: int, rows: Any, kept: Sequence[Tensor], result: Tensor) -> None:
        out = result.numpy().reshape(kept[0].shape)
        lengths = lengths_of(self.length, *out.shape)
        memory = tuple(tensor.numpy() for tensor in kept)
        _PASSES[self.operator, self.regularization][which](rows, lengths, self.strength, memory, out)
