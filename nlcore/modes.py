"""Modes of torch in which a tensor is more than numbers in memory, for operators that are written by hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["forward_mode", "has_memory"]


def forward_mode(*tensors: Tensor) -> bool:
    """Return whether there are tangents; a nested forward mode would silently lose a part of a Function's `jvp`."""
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
