"""The capabilities of a loss: what it supplies and accepts, read once from its traits, methods and signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlcore.errors import ContractError
from nlcore.protocol import (
    AlgorithmicLoss,
    GaussNewtonSplit,
    SuppliesGradient,
    SuppliesHessian,
    SuppliesOperator,
    Traits,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Capabilities", "context_parameter", "keywords", "parameters_of", "read_capabilities", "unserved"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A loss and what is known about it before it is evaluated.

    Attributes:
        function: The object as the user gave it.
        name: Its name in messages.
        traits: Its traits; the defaults for a plain callable.
        declared: Whether it is an `AlgorithmicLoss`, so that its traits are a promise and not a guess.
        supplies: A subset of {"gradient", "hessian", "split", "operator"}.
        accepts: The optional keywords its call accepts, a subset of {"generator", "mask", "context"}.
    """

    function: Callable[..., Tensor]
    name: str
    traits: Traits
    declared: bool
    supplies: frozenset[str]
    accepts: frozenset[str]


def read_capabilities(loss: object) -> Capabilities:
    """Return the capabilities of `loss`.

    Args:
        loss: An `AlgorithmicLoss`, or any callable `(prediction, target) -> [batch]`.

    Raises:
        ContractError: It is neither, or its traits are not `Traits`.
    """
    if isinstance(loss, type) or not callable(loss):
        raise ContractError(
            f"A Newton loss needs an AlgorithmicLoss or a callable (prediction, target) -> [batch], "
            f"and was given {loss!r}. Make one with nlcore.make(id), or pass an instance, not a class."
        )
    name = (getattr(loss, "__qualname__", None) or type(loss).__name__).rpartition("<locals>.")[2]
    if not isinstance(loss, AlgorithmicLoss):
        return Capabilities(loss, name, Traits(), False, _methods(loss), keywords(loss) & {"mask", "context"})
    traits = loss.traits
    if not isinstance(traits, Traits):
        raise ContractError(f"{name}.traits is {traits!r}; it must be an nlcore.Traits.")
    supplies = _methods(loss) if traits.supplies is None else traits.supplies
    accepts = {"generator"} | ({"mask"} if traits.takes_mask else set())
    return Capabilities(
        loss, name, traits, True, supplies, frozenset(accepts | ({"context"} if traits.takes_context else set()))
    )


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function, or of a module's `forward`; none where it has no signature."""
    forward = getattr(function, "forward", None)
    try:
        return list(inspect.signature(forward if callable(forward) else function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return []


def keywords(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters that `function` accepts by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(one.name for one in parameters_of(function) if one.kind in kinds)


def context_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the parameter that is the context: `context`, or a second positional one without default; or None."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [one for one in parameters_of(function) if one.kind in kinds]
    if len(positional) < 2 or positional[1].name == "mask":
        return None
    second = positional[1]
    return second if second.name == "context" or second.default is second.empty else None


def unserved(loss: Callable[..., Any]) -> list[str]:
    """Return the parameters of a plain loss, beside prediction and target, that nothing is passed for."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one for one in parameters_of(loss) if one.default is one.empty and one.kind not in variable]
    return [one.name for one in needed[2:] if one.name not in {"mask", "context"}]


def _methods(loss: object) -> frozenset[str]:
    kinds = {
        "gradient": SuppliesGradient,
        "hessian": SuppliesHessian,
        "split": GaussNewtonSplit,
        "operator": SuppliesOperator,
    }
    return frozenset(name for name, kind in kinds.items() if isinstance(loss, kind))
