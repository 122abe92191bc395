"""Checks of costs and solutions at every call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import ContractError, NlcoreError, NonFiniteError, ShapeError, error_text, shorten
from nlcore.inputs import read

__all__ = [
    "TOLERANCE",
    "check_context",
    "check_finite",
    "check_result",
    "outline",
    "solve_with_context",
    "whole",
]

TOLERANCE = 1e-4
"""Relative to the products that are summed: the gap at which solvers of integer programs stop by default."""


_CAUSE = (
    "Check the network's output, the data and the learning rate; what must not be chosen gets a finite cost above that "
    "of every alternative."
)

_ROUNDING = 1e-5
"""Distance from a whole number that is rounding of a solver: linear programs are met to within 1e-6 or 1e-7."""


def check_finite(
    name: str, values: Tensor, what: str, *, samples: Sequence[int] | None = None, cure: str = _CAUSE
) -> bool:
    """Raise unless all values [N, *event] are finite; synchronises with the device once.

    Args:
        name: The beginning of the message.
        values: [N, *event].
        what: A plural that names the values.
        samples: The N indices in the batch of the user, where they are not 0 … N − 1.
        cure: The end of the message.

    Returns:
        Whether the values can be read; not in a transform, in compiled code or on `meta`.
    """
    total = read(values.sum())  # finite only if every value is
    if total is None or math.isfinite(total):
        return total is not None
    wrong = ~values.flatten(1).isfinite()
    rows = wrong.any(1).nonzero()[:, 0].tolist()
    if not rows:
        return True
    index = int(wrong[rows[0]].nonzero()[0])
    place = tuple(int(one) for one in torch.unravel_index(torch.tensor(index), values.shape[1:]))
    value = float(values[rows[0]].flatten()[index])
    places = rows if samples is None else [samples[row] for row in rows]
    raise NonFiniteError(
        f"{name}: the {what} of samples {shorten(places)} are NaN or infinite; sample {places[0]} has {value} at "
        f"{place if len(place) > 1 else place[0]}. {cure}",
        places,
    )


def check_context(name: str, costs: Tensor, context: Any) -> None:
    """Raise unless every tensor of a context has the batch of costs [N, *event] in front."""
    for leaf in (context,) if isinstance(context, Tensor) else pytree.tree_leaves(context):
        if isinstance(leaf, Tensor) and (not leaf.ndim or len(leaf) != len(costs)):
            raise ShapeError(
                f"{name}: the context is {outline(context)}, and the prediction a tensor {list(costs.shape)}; every "
                f"tensor of a context needs the batch in front, here {len(costs)} samples. Data that are the same for "
                "all samples belong in the argmin."
            )


def outline(context: Any) -> str:
    """Return a short description of a nested structure, with the shapes of its tensors."""
    if isinstance(context, Tensor):
        return f"a tensor {list(context.shape)}"
    if isinstance(context, Mapping):
        return f"{{{shorten([f'{key!r}: {outline(one)}' for key, one in context.items()])}}}"
    if isinstance(context, (list, tuple)):
        return f"[{shorten([outline(one) for one in context])}]"
    return repr(context) if context is None or isinstance(context, (int, float, str)) else type(context).__name__


def solve_with_context(name: str, argmin: Callable[[Tensor, Any], Any], costs: Tensor, context: Any) -> Any:
    """Return what an argmin returns; an error by which it shows that it reads another context names both.

    Args:
        name: The beginning of the message.
        argmin: A function of costs and context.
        costs: [N, *event].
        context: Any nested structure.
    """
    try:
        return argmin(costs, context)
    except NlcoreError:
        raise
    except (LookupError, TypeError, AttributeError) as error:
        raise ContractError(
            f"{name}: the argmin raised {error_text(error)}. It was given costs {list(costs.shape)} and the context "
            f"{outline(context)}. If it reads the context in another form, give that as context=…; otherwise call it "
            "with these arguments alone to find the fault."
        ) from error


def check_result(name: str, costs: Tensor, found: object) -> Tensor:
    """Return what an argmin returned for costs [N, *event], after a check of its type and shape."""
    if not isinstance(found, Tensor):
        raise ContractError(
            f"{name}: the argmin must return a tensor, and returned a {type(found).__name__}. For an array: "
            "torch.as_tensor(array).to(costs)."
        )
    if found.shape != costs.shape:
        raise ShapeError(
            f"{name}: the argmin was given costs of shape {list(costs.shape)} and returned {list(found.shape)}; it "
            "must return a solution of the same shape for each."
        )
    return found.detach() if found.dtype == costs.dtype else found.detach().to(costs.dtype)


def whole(solutions: Tensor) -> Tensor:
    """Return solutions with entries that are whole numbers but for a solver's rounding as these numbers."""
    near = solutions.round()
    return torch.where((solutions - near).abs() <= _ROUNDING, near, solutions)
