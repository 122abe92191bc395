"""Running sums that decay: y_j = x_j + d_j·y_(j−1), as a scan in log₂n steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.modes import forward_mode

__all__ = ["decayed_sums"]


def decayed_sums(x: Tensor, decay: Tensor) -> Tensor:
    """Return y with y_0 = x_0 and y_j = x_j + d_j·y_(j−1) along the last dimension.

    With numbers that are not negative nothing cancels: every result is right to a few roundings. Differentiable any
    number of times, also in forward mode; the derivative is a scan in the other direction, with O(n) memory.

    Args:
        x: [..., n].
        decay: [..., n], d; the first is not read.

    Returns:
        [..., n].
    """
    if torch.compiler.is_compiling() or forward_mode(x, decay):
        return _scan(x, decay)
    result: Tensor = _DecayedSums.apply(x, decay)  # type: ignore[no-untyped-call]
    return result


def _scan(x: Tensor, decay: Tensor) -> Tensor:
    """Hillis and Steele's scan: every step doubles the number of terms in each sum."""
    n = x.shape[-1]
    step = 1
    while step < n:
        shorter = torch.addcmul(x[..., step:], decay[..., step:], x[..., :-step])
        x = torch.cat([x[..., :step], shorter], dim=-1)
        if 2 * step < n:
            decay = torch.cat([decay[..., :step], decay[..., step:] * decay[..., :-step]], dim=-1)
        step *= 2
    return x


class _DecayedSums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, decay: Tensor) -> Tensor:
        return _scan(x, decay) if x.shape[-1] > 1 else x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        decay, sums = ctx.saved_tensors
        following = torch.cat([decay[..., 1:], torch.zeros_like(decay[..., :1])], dim=-1).flip(-1)
        back = decayed_sums(grads[0].flip(-1), following).flip(-1)
        before = torch.cat([torch.zeros_like(sums[..., :1]), sums[..., :-1]], dim=-1)
        return back, back * before
