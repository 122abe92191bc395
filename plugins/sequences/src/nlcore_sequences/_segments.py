"""Checkpoints: a function whose intermediate results are computed again in its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["repeated"]

Function = Callable[..., tuple[Tensor, ...]]


def repeated(function: Function, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """Return the results of a function, of which only the inputs are kept for the backward pass.

    The function has to be deterministic. It may be differentiated several times. Where it reads tensors that require a
    gradient besides its inputs, as parameters of a module, its graph is kept without the numbers in it.
    """
    with torch.enable_grad():
        results = function(*(None if one is None else one.detach() for one in inputs))
    if any(one.requires_grad for one in results):
        found: tuple[Tensor, ...] = checkpoint(function, *inputs, use_reentrant=False)
        return found
    kept: tuple[Tensor, ...] = _Repeated.apply(function, results, *inputs)  # type: ignore[no-untyped-call]
    return kept


class _Repeated(torch.autograd.Function):
    """Results that were computed before, with a backward pass that computes them again with a graph."""

    @staticmethod
    def forward(ctx: Any, function: Function, results: tuple[Tensor, ...], *inputs: Tensor | None) -> Any:
        ctx.save_for_backward(*inputs)
        ctx.function, kind = function, results[0].device.type
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        return results

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        kind, dtype, enabled = ctx.autocast
        wanted = [one for one, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True) if needed]
        again = torch.is_grad_enabled()  # the gradient is to be differentiated, too: it stays connected to the inputs
        with torch.enable_grad(), torch.autocast(kind, dtype=dtype, enabled=enabled):
            copies = [one.view_as(one) if again else one.detach().requires_grad_() for one in wanted]
            rest = iter(copies)
            saved = zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True)
            results = ctx.function(*(next(rest) if needed else one for one, needed in saved))
        pairs = [pair for pair in zip(results, slopes, strict=True) if pair[0].requires_grad]
        outputs, directions = [one for one, _ in pairs], [one for _, one in pairs]
        found = iter(torch.autograd.grad(outputs, copies, directions, create_graph=again, allow_unused=True))
        return None, None, *(next(found) if needed else None for needed in ctx.needs_input_grad[2:])
