"""Transforms of unconstrained outputs of a network to values in a range, and their inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nlcore.errors import ContractError, ShapeError
from nlcore.inputs import holds
from nlcore_sequences.config import Constraint

__all__ = ["constrained", "unconstrained"]


def constrained(name: str, outputs: Tensor, constraints: Sequence[Constraint | None]) -> Tensor:
    """Return values in their ranges, for outputs [..., p] and one constraint for each of the p.

    Raises:
        ShapeError: There are not p constraints.
    """
    return _each(name, outputs, constraints, _forward)


def unconstrained(name: str, values: Tensor, constraints: Sequence[Constraint | None]) -> Tensor:
    """Return the outputs of which `constrained` makes `values`.

    Raises:
        ShapeError: There are not p constraints.
        ContractError: A value is not inside its range.
    """
    return _each(name, values, constraints, _inverse)


def _each(
    name: str,
    numbers: Tensor,
    constraints: Sequence[Constraint | None],
    function: Callable[[str, Tensor, Constraint], Tensor],
) -> Tensor:
    if not any(constraints):
        return numbers
    if len(constraints) != numbers.shape[-1]:
        raise ShapeError(
            f"{name}: constrain has {len(constraints)} entries, for outputs of shape {list(numbers.shape)}, which need "
            f"{numbers.shape[-1]}: one for each number along the last dimension, None where it is free."
        )
    pairs = zip(numbers.unbind(-1), constraints, strict=True)
    return torch.stack([one if rule is None else function(name, one, rule) for one, rule in pairs], -1)


def _forward(name: str, output: Tensor, rule: Constraint) -> Tensor:
    if rule == "positive":
        return torch.logaddexp(output, torch.zeros_like(output))
    if rule == "exponential":
        return output.exp()
    low, high = rule
    return low + (high - low) * output.sigmoid()


def _inverse(name: str, value: Tensor, rule: Constraint) -> Tensor:
    low, high = (0.0, torch.inf) if isinstance(rule, str) else rule
    if not holds((value > low) & (value < high)):
        raise ContractError(
            f"{name}: a value lies between {value.min():g} and {value.max():g}, and its constraint {rule!r} allows "
            f"only what is inside ({low:g}, {high:g}). Move it inside, or widen `constrain`."
        )
    if rule == "positive":
        return value + (-torch.expm1(-value)).log()
    if rule == "exponential":
        return value.log()
    return ((value - low) / (high - value)).log()
