"""Operators that have a second, compiled form: when it serves, and how it is differentiated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from nlcore.errors import PerformanceWarning

__all__ = ["Kernel", "forward_mode", "has_memory", "has_numba", "served", "serves", "torch_alone", "transformed"]


class Kernel(Protocol):
    """A compiled operator and its first derivative."""

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result, and what `backward` needs if it is to be kept."""
        ...

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative by the scores."""
        ...


_ALONE = ContextVar("_ALONE", default=False)


def has_numba() -> bool:
    """Return whether numba can be imported, and may serve."""
    return not _ALONE.get() and _importable()


@cache
def _importable() -> bool:
    if find_spec("numba") is None:
        return False
    try:
        import_module("numba")
    except ImportError as error:
        warnings.warn(f"numba is installed, but not used: {error}", PerformanceWarning, stacklevel=2)
        return False
    return True


@contextmanager
def torch_alone() -> Iterator[None]:
    """Compute everything in torch, as if numba were not installed; for comparisons of the two."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def served(
    scores: Tensor,
    plain: Callable[[Tensor], Tensor],
    make: Callable[[], Kernel],
    alone: Callable[[], Kernel] | None = None,
) -> Tensor:
    """Return `plain(scores)`, computed by a kernel where one can serve.

    Kernels serve ordinary tensors and know their first derivative. Everything else is `plain`'s: second derivatives,
    forward mode, the transforms of `torch.func`, `torch.compile`. Nothing depends on which of the two has computed a
    value but its rounding.

    Args:
        scores: Floating point, in the precision of the computation.
        plain: The operator in torch alone, differentiable any number of times.
        make: Makes the kernel that numba compiles, for the CPU; called, and numba imported, only where it serves.
        alone: Makes a kernel in torch alone that serves elsewhere, if there is one.
    """
    maker = make if serves(scores) else alone
    if maker is None or not _ordinary(scores):
        return plain(scores)
    scores = scores.resolve_neg()
    if not (scores.requires_grad and torch.is_grad_enabled()):
        return maker().forward(scores.detach(), keep=False)[0]
    result: Tensor = _Served.apply(scores, plain, maker())  # type: ignore[no-untyped-call]
    return result


def serves(scores: Tensor) -> bool:
    """Return whether a kernel that numba compiles can serve these scores."""
    return _ordinary(scores) and scores.device.type == "cpu" and has_numba()


def _ordinary(scores: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and type(scores) in (Tensor, torch.nn.Parameter)
        and scores.numel() > 0
        and not transformed()
        and unpack_dual(scores).tangent is None  # type: ignore[no-untyped-call]
    )


def transformed() -> bool:
    """Return whether operations are transformed, by `torch.func`, or recorded, and have to be torch's own.

    Then none may be in place either: a tangent can be batched, or without memory, where its value is not.
    """
    return not torch.compiler.is_compiling() and bool(
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    )


def forward_mode(*tensors: Tensor) -> bool:
    """Return whether tangents are on their way: of a Function's `jvp` a second forward mode loses a part unnoticed."""
    stack = torch._C._functorch.get_interpreter_stack() or ()
    if any(one.key() == torch._C._functorch.TransformType.Jvp for one in stack):
        return True
    return any(unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]


def has_memory(tensor: Tensor) -> bool:
    """Return whether a tensor holds numbers; those of `torch.autograd.grad(…, is_grads_batched=True)` do not."""
    try:
        tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


class _Served(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, plain: Callable[[Tensor], Tensor], kernel: Kernel) -> Tensor:
        result, kept = kernel.forward(scores, keep=True)
        ctx.save_for_backward(scores, *kept)
        ctx.plain, ctx.kernel = plain, kernel
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scores, *kept = ctx.saved_tensors
        # The derivative may be going to be differentiated, or may be many at once.
        if torch.is_grad_enabled() or transformed() or not has_memory(grads[0]):
            slope: Tensor = torch.func.vjp(ctx.plain, scores)[1](grads[0])[0]
        else:
            # What abs and sign send back to the first derivative is a zero that has no memory and cannot be written to.
            grad = grads[0].clone() if grads[0]._is_zerotensor() else grads[0].resolve_neg()
            slope = ctx.kernel.backward(grad, kept)
        return slope, None, None
