"""Access to the kernels: every kernel as a function of tensors.

The kernels themselves are imported here alone, and only when one is used. They run on CPU tensors; `_alignment` chooses
between them and torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

__all__ = ["products", "slopes", "values"]


def values(gamma: float, bounds: Tensor, lengths: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return soft-DTW of every sample, [batch].

    Args:
        gamma: γ.
        bounds: [batch, n, 2] int64, first and last j of every i.
        lengths: [batch, 2] int64, at least 1.
        inputs: The costs, [batch, n, m]; or x and y for their squared distances, [batch, channels, n or m].
    """
    value = torch.empty(len(bounds), dtype=torch.float64)
    _kernels().values(*_arrays(inputs), bounds.numpy(), lengths.numpy(), gamma, value.numpy())
    return value.to(inputs[0].dtype)


def slopes(
    gamma: float, bounds: Tensor, lengths: Tensor, inputs: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the values, and their derivatives with respect to the inputs."""
    value = torch.empty(len(bounds), dtype=torch.float64)
    results = _results(inputs)
    first, second = _pair(results)
    _kernels().slopes(*_arrays(inputs), bounds.numpy(), lengths.numpy(), gamma, value.numpy(), first, second)
    return value.to(inputs[0].dtype), _like(results, inputs)


def products(
    gamma: float, bounds: Tensor, lengths: Tensor, inputs: Sequence[Tensor], along: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the derivatives of the slopes along directions [batch, K, …] of the inputs, of the same shapes."""
    results = _results(along)
    first, second = _pair(results)
    _kernels().products(*_arrays(inputs), bounds.numpy(), lengths.numpy(), gamma, _arrays(along), first, second)
    return _like(results, along)


@cache
def _kernels() -> Any:
    return import_module("nlcore_sequences._compiled.alignments")


def _arrays(tensors: Sequence[Tensor]) -> tuple[Any, Any, Any]:
    """Return costs, x and y; series are computed in float64, and the dtype of the costs is that of the memory."""
    ready = [one.detach().contiguous() for one in tensors]
    if len(ready) == 1:
        none = ready[0].new_empty(*ready[0].shape[:-2], 0, 0, dtype=torch.float64).numpy()
        return ready[0].numpy(), none, none
    none = ready[0].new_empty(*ready[0].shape[:-2], 0, 0).numpy()
    return none, ready[0].double().numpy(), ready[1].double().numpy()


def _results(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return zeros for the results; sums over series are taken in float64."""
    return [torch.zeros(one.shape, dtype=one.dtype if len(tensors) == 1 else torch.float64) for one in tensors]


def _pair(results: Sequence[Tensor]) -> tuple[Any, Any]:
    first = results[0]
    if len(results) == 2:
        return first.numpy(), results[1].numpy()
    return first.numpy(), first.new_empty(*first.shape[:-2], 0, 0, dtype=torch.float64).numpy()


def _like(results: Sequence[Tensor], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(result.to(one.dtype) for result, one in zip(results, tensors, strict=True))
