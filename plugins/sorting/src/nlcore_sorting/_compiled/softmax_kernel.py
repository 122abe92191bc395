"""NeuralSort and SoftSort compiled by numba: the bridge from tensors to the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nlcore_sorting._compiled import softmax as kernels
from nlcore_sorting._compiled.jit import lengths_of

__all__ = ["SoftmaxKernel"]

_PASSES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "neuralsort": (kernels.neuralsort, kernels.neuralsort_slopes),
    "softsort": (kernels.softsort, kernels.softsort_slopes),
}


@dataclass(frozen=True, slots=True)
class SoftmaxKernel:
    """The matrix of NeuralSort or SoftSort as a `Kernel`. It keeps the matrix, and the order of the items.

    Attributes:
        relaxation: Which.
        temperature: τ.
        length: [..., 1], the number of real items of every list; `None` for all.
    """

    relaxation: Literal["neuralsort", "softsort"]
    temperature: float
    length: Tensor | None

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return P of `scores` [..., n], and the scores as rows, P and the orders."""
        n = scores.shape[-1]
        rows = scores.detach().reshape(-1, n).contiguous()
        batch = rows.shape[0]
        p = rows.new_empty(batch, n, n)
        order = rows.new_empty(batch, n, dtype=torch.int32)
        _PASSES[self.relaxation][0](
            rows.numpy(), lengths_of(self.length, batch, n), 1 / self.temperature, order.numpy(), p.numpy()
        )
        return p.view(*scores.shape, n), (rows, p, order)

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores, given that by P."""
        rows, p, order = kept
        grads = grad.reshape(p.shape).contiguous()
        result = torch.empty_like(rows)
        _PASSES[self.relaxation][1](
            rows.numpy(),
            lengths_of(self.length, *rows.shape),
            1 / self.temperature,
            order.numpy(),
            p.numpy(),
            grads.numpy(),
            result.numpy(),
        )
        return result.view(grad.shape[:-1])
