"""Pull-backs, the products of a transposed Jacobian with directions, and the errors where torch cannot take one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities
from nlcore.errors import UnsupportedCurvatureError, first_line

__all__ = ["LinearMap", "all_pulled_back", "pulled_back", "remedies"]

LinearMap: TypeAlias = Callable[[Tensor], Tensor]
"""Maps directions [r, N, ·] to the product of a matrix of each sample with them, [r, N, ·]."""

_WHAT = {
    "gradient": "its gradient",
    "hessian": "its second derivative",
    "gauss_newton": "its Jacobian",
    "outer": "the second derivative of its outer loss",
    "outer_gradient": "the gradient of its outer loss",
}


def pulled_back(output: Tensor, source: Tensor, direction: Tensor | None = None, **options: Any) -> Tensor:
    """Return the pull-back, zero where `output` does not depend on `source`."""
    if not output.requires_grad:
        return torch.zeros_like(source)
    (result,) = torch.autograd.grad(output, source, direction, allow_unused=True, **options)
    return torch.zeros_like(source) if result is None else result


def all_pulled_back(output: Tensor, source: Tensor, directions: Tensor) -> Tensor:
    """Return the pull-backs of `directions` [r, *output], [r, *source]: in one pass where the loss allows it."""
    directions = directions.to(output.dtype)
    if not output.requires_grad:
        return source.new_zeros(directions.shape[0], *source.shape)
    if directions.shape[0] > 1:
        try:
            # Not torch.func.vmap, which is faster and was seen to give wrong numbers for cdist, without an error.
            return pulled_back(output, source, directions, retain_graph=True, is_grads_batched=True)
        except Exception:  # a hand-written backward may raise anything on a batch of directions
            pass
    # Cloned one by one: a hand-written backward may change its cotangent, or return the same buffer every time.
    return torch.stack([pulled_back(output, source, one.clone(), retain_graph=True).clone() for one in directions])


@contextmanager
def remedies(loss: Capabilities, kind: str, *, transform: bool = False) -> Iterator[None]:
    """Turn what torch raises from inside a derivative into an error that says what to use instead."""
    try:
        yield
    except RuntimeError as error:
        if transform and not any(word in str(error) for word in ("functorch", "vmap", "torch.func", "storage")):
            raise
        line = first_line(error)
        name, splits = loss.name, "split" in loss.supplies
        if transform:
            remedy = 'Use Traits(transforms="autograd") or backend="autograd", which differentiate more.'
        elif kind.endswith("gradient"):
            remedy = (
                "Every operation needs a derivative that torch.autograd.grad can take (checkpoint with "
                "use_reentrant=False). A loss that has loss.backward() alone trains behind nlcore.inject_fisher, "
                "which is EmpiricalFisher for it."
            )
        else:
            other = "nlcore.GaussNewton(), which needs first derivatives of the algorithm alone, or "
            remedy = f"Use {other if splits and kind == 'hessian' else ''}nlcore.EmpiricalFisher()."
        raise UnsupportedCurvatureError(f"{name}: torch cannot take {_WHAT[kind]} ({line}). {remedy}") from error
