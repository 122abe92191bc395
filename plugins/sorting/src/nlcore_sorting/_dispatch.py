"""The choice between the forms of an operator: plain torch, torch with a derivative by hand, compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from nlcore.compiled import has_numba
from nlcore.modes import has_memory

__all__ = ["Kernel", "compiles", "dispatch", "in_place_forbidden", "ordinary"]


class Kernel(Protocol):
    """An operator with its first derivative written by hand."""

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result, and what `backward` needs if it is to be kept."""
        ...

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative with respect to the scores."""
        ...


def dispatch(
    scores: Tensor,
    plain: Callable[[Tensor], Tensor],
    compiled: Callable[[], Kernel] | None = None,
    by_hand: Callable[[], Kernel] | None = None,
) -> Tensor:
    """Return `plain(scores)`, computed by a kernel where one applies.

    Kernels take ordinary tensors and have a first derivative alone. Second derivatives, forward mode, the transforms of
    `torch.func` and `torch.compile` are left to `plain`. The forms differ in rounding only.

    Args:
        scores: Floating point, in the precision of the computation.
        plain: The operator in plain torch, differentiable any number of times.
        compiled: Makes the kernel for the CPU, where numba is installed; called, and numba imported, only there.
        by_hand: Makes the kernel in torch for everywhere else.
    """
    if not ordinary(scores):
        return plain(scores)
    maker = compiled if compiled is not None and scores.device.type == "cpu" and has_numba() else by_hand
    if maker is None:
        return plain(scores)
    scores = scores.resolve_neg()
    if not (scores.requires_grad and torch.is_grad_enabled()):
        return maker().forward(scores.detach(), keep=False)[0]
    result: Tensor = _ByKernel.apply(scores, plain, maker())  # type: ignore[no-untyped-call]
    return result


def compiles(scores: Tensor) -> bool:
    """Return whether a compiled kernel can take these scores."""
    return ordinary(scores) and scores.device.type == "cpu" and has_numba()


def ordinary(scores: Tensor) -> bool:
    """Return whether scores are numbers in memory: a plain tensor, not empty, not transformed, without a tangent."""
    return (
        not torch.compiler.is_compiling()
        and type(scores) in (Tensor, torch.nn.Parameter)
        and scores.numel() > 0
        and not in_place_forbidden()
        and unpack_dual(scores).tangent is None  # type: ignore[no-untyped-call]
    )


def in_place_forbidden() -> bool:
    """Return whether `torch.func` transforms operations, or something records them.

    In-place operations are not possible then: a tangent can be batched, or without memory, where its value is not.
    """
    return not torch.compiler.is_compiling() and bool(
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    )


class _ByKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, plain: Callable[[Tensor], Tensor], kernel: Kernel) -> Tensor:
        result, kept = kernel.forward(scores, keep=True)
        ctx.save_for_backward(scores, *kept)
        ctx.plain, ctx.kernel = plain, kernel
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scores, *kept = ctx.saved_tensors
        # The derivative may be differentiated in turn, or be many derivatives at once.
        if torch.is_grad_enabled() or in_place_forbidden() or not has_memory(grads[0]):
            slope: Tensor = torch.func.vjp(ctx.plain, scores)[1](grads[0])[0]
        else:
            # The derivative of abs and sign can be a zero without memory, which cannot be read or written.
            grad = grads[0].clone() if grads[0]._is_zerotensor() else grads[0].resolve_neg()
            slope = ctx.kernel.backward(grad, kept)
        return slope, None, None
