"""NeuralSort and SoftSort compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore_sorting import _numba_softmax as kernels
from nlcore_sorting._numba import lengths_of, with_bits
from nlcore_sorting._softmax import WIDE

__all__ = ["SoftmaxKernel"]

_PASSES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "neuralsort": (kernels.neuralsort_logits, kernels.neuralsort_slopes),
    "softsort": (kernels.softsort_logits, kernels.softsort_slopes),
}


@dataclass(frozen=True, slots=True)
class SoftmaxKernel:
    """The matrix of NeuralSort or SoftSort as a `Kernel`. It keeps the matrix alone.

    Attributes:
        relaxation: Which.
        temperature: τ.
        length: [..., 1], the number of real items of every list; `None` for all.
    """

    relaxation: Literal["neuralsort", "softsort"]
    temperature: float
    length: Tensor | None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return P of `scores` [..., n], and the scores and P."""
        rows = scores.detach().reshape(-1, scores.shape[-1]).contiguous()
        batch, n = rows.shape
        logits = torch.empty(batch, n, n, dtype=scores.dtype)
        nothing = torch.finfo(scores.dtype).min / 4
        self._call(0, rows, nothing, logits)
        if n < WIDE:
            p = logits
            kernels.softmax_rows(p.numpy())
        else:
            p = logits.softmax(dim=-1)
        return p.view(*scores.shape, n), (rows, p)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by P."""
        rows, p = kept
        result = torch.empty_like(rows)
        self._call(1, rows, (p.numpy(), grad.reshape(p.shape).contiguous().numpy()), result)
        return result.view(grad.shape[:-1])

    def _call(self, which: int, rows: Tensor, extra: Any, result: Tensor) -> None:
        scores = with_bits(rows)
        lengths = lengths_of(self.length, *rows.shape)
        _PASSES[self.relaxation][which](scores, lengths, 1 / self.temperature, extra, result.numpy())
