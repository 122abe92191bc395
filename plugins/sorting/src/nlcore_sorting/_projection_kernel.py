"""Projections on the permutahedron compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore_sorting import _numba_projection as kernels
from nlcore_sorting._numba import lengths_of

__all__ = ["ProjectionKernel"]

_PASSES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "sort": (kernels.sort, kernels.sort_slopes),
    "rank": (kernels.rank, kernels.rank_slopes),
}


@dataclass(frozen=True, slots=True)
class ProjectionKernel:
    """Soft sort or soft rank in the Euclidean norm as a `Kernel`. It keeps an order and the blocks, O(n) a list.

    Attributes:
        operator: What is computed.
        strength: ε.
        length: [..., 1], the number of real items of every list; `None` for all.
    """

    operator: Literal["sort", "rank"]
    strength: float
    length: Tensor | None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the orders and blocks."""
        rows = scores.detach().reshape(-1, scores.shape[-1]).contiguous()
        kept = torch.empty((2, *rows.shape), dtype=torch.int32)
        result = torch.empty(scores.shape, dtype=scores.dtype)
        self._call(0, rows.numpy(), kept, result)
        return result, (kept,)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by the result."""
        result = torch.empty(grad.shape, dtype=grad.dtype)
        self._call(1, grad.reshape(-1, grad.shape[-1]).contiguous().numpy(), kept[0], result)
        return result

    def _call(self, which: int, rows: Any, kept: Tensor, result: Tensor) -> None:
        out = result.numpy().reshape(kept.shape[1:])
        lengths = lengths_of(self.length, *out.shape)
        _PASSES[self.operator][which](rows, lengths, self.strength, kept.numpy(), out)
