"""An algorithmic loss from any differentiable function and a convex criterion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, ShapeError, nearest
from nlcore.newton.adapt import check_inputs, inspect_loss
from nlcore.protocol import Traits

__all__ = ["Composed", "compose", "half_squared_error"]

Inner = Callable[[Tensor], Tensor]
Outer = Callable[[Tensor, Any], Tensor]


def half_squared_error(features: Tensor, target: Tensor) -> Tensor:
    """Return ½‖features − target‖² of each sample, [batch], for [batch, *features]."""
    if features.shape != target.shape:
        raise ShapeError(
            f"squared_error: the features have shape {list(features.shape)} and the target {list(target.shape)}."
        )
    return (features - target).flatten(1).square().sum(1) / 2


_OUTERS: dict[str, Outer] = {"squared_error": half_squared_error}


@dataclass(frozen=True)
class Composed:
    """The loss `outer(inner(prediction), target)`; make it with `nlcore.compose`.

    Attributes:
        inner_function: `[batch, *event] -> [batch, *features]`, differentiable.
        outer_function: `([batch, *features], target) -> [batch]`, convex in the features.
        traits: What the engine may assume.
        example_function: Makes a valid `(prediction, target)`; needed only for checks.
    """

    inner_function: Inner
    outer_function: Outer
    traits: Traits = field(default_factory=Traits)
    example_function: Callable[..., tuple[Tensor, Any]] | None = None

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the features, [batch, *features]."""
        return self.inner_function(prediction)

    def outer(self, features: Tensor, target: Any) -> Tensor:
        """Return the convex loss of the features, [batch]."""
        return self.outer_function(features, target)

    def __call__(self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch].

        Raises:
            ContractError: Wrong shape, dtype or device.
        """
        check_inputs(inspect_loss(self), prediction, target)
        return self.outer_function(self.inner_function(prediction), target)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Any]:
        """Return a valid `(prediction, target)` by the function given to `compose`.

        Raises:
            ContractError: None was given.
        """
        if self.example_function is None:
            raise ContractError("This composed loss has no example. Give one: nlcore.compose(inner, outer, example=…).")
        return self.example_function(batch_size, generator=generator, dtype=dtype, device=device)


def compose(
    inner: Inner,
    outer: Outer | str = "squared_error",
    *,
    traits: Traits | None = None,
    example: Callable[..., tuple[Tensor, Any]] | None = None,
) -> Composed:
    """Make an `AlgorithmicLoss` with a Gauss–Newton split from a function and a convex criterion.

    Args:
        inner: `[batch, *event] -> [batch, *features]`: your simulator, filter or relaxed algorithm; differentiable,
            samples independent.
        outer: `"squared_error"` for ½‖features − target‖², or a function `(features, target) -> [batch]` that is
            convex in the features.
        traits: Defaults to `Traits()`: one event dimension, two derivatives.
        example: `(batch_size, *, generator, dtype, device) -> (prediction, target)`, for the conformance checks.

    Raises:
        ConfigError: `inner` is not callable, or `outer` names no criterion.

    Example:
        >>> import torch, nlcore
        >>> totals = nlcore.compose(lambda y: y.cumsum(-1))
        >>> totals(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 5.0]]))
        tensor([2.])
        >>> print(nlcore.NewtonLoss(totals).explain())
        Composed: GaussNewton(damping=Bounded(), normalize=True), because the loss has a Gauss–Newton split.
    """
    if not callable(inner):
        raise ConfigError(f"compose(inner={inner!r}): inner must be a function [batch, *event] -> [batch, *features].")
    if isinstance(outer, str):
        if outer not in _OUTERS:
            raise ConfigError(
                f"compose(outer={outer!r}): the named criteria are {', '.join(map(repr, _OUTERS))}"
                f"{nearest(outer, _OUTERS)}; or give a function (features, target) -> [batch]."
            )
        outer = _OUTERS[outer]
    elif not callable(outer):
        raise ConfigError(
            f"compose(outer={outer!r}): outer must be a name or a function (features, target) -> [batch]."
        )
    return Composed(inner, outer, traits or Traits(), example)
