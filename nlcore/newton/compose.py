"""An algorithmic loss from any differentiable function and a convex criterion."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nlcore.arguments import check_arguments
from nlcore.capabilities import context_parameter, keywords, read_capabilities
from nlcore.errors import ConfigError, ContractError, ShapeError, nearest
from nlcore.protocol import Traits

__all__ = ["Composed", "compose", "half_squared_error"]

Inner = Callable[..., Tensor]
Outer = Callable[..., Tensor]


def half_squared_error(features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return ½‖features − target‖² of each sample, [batch], for [batch, *features].

    Args:
        features: [batch, *features], or [batch] for one feature.
        target: Of the same shape.
        mask: [batch, *event] bool, True = padded. Where there is one feature for each output, those of padded outputs
            do not count.
    """
    if features.shape != target.shape:
        raise ShapeError(
            f"squared_error: the features have shape {list(features.shape)} and the target {list(target.shape)}. "
            "Give the target the shape that the inner function returns."
        )
    if mask is not None and mask.shape == features.shape:
        features, target = (one.masked_fill(mask, 0.0) for one in (features, target))
    errors = (features - target).square()
    return (errors if errors.ndim == 1 else errors.flatten(1).sum(1)) / 2


_OUTERS: dict[str, Outer] = {"squared_error": half_squared_error}


@dataclass(frozen=True)
class Composed:
    """The loss `outer(inner(prediction), target)`; make it with `nlcore.compose`.

    Attributes:
        inner_function: `[batch, *event] -> [batch, *features]`, differentiable; it may have a second positional
            parameter, the context, and a parameter `mask`.
        outer_function: `([batch, *features], target) -> [batch]`, convex in the features; it may have a parameter
            `mask`.
        traits: The assumptions that the engine may make.
        example_function: Makes a valid `(prediction, target)`; needed only for checks.
    """

    inner_function: Inner
    outer_function: Outer
    traits: Traits = field(default_factory=Traits)
    example_function: Callable[..., tuple[Tensor, Any]] | None = None

    @functools.cached_property
    def _masked(self) -> tuple[bool, bool]:
        """Whether inner and outer function have a parameter `mask`."""
        return "mask" in keywords(self.inner_function), "mask" in keywords(self.outer_function)

    @functools.cached_property
    def _context(self) -> inspect.Parameter | None:
        return context_parameter(self.inner_function)

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None, context: Any = None) -> Tensor:
        """Return the features, [batch, *features].

        Raises:
            ContractError: `inner` needs a context and none is given.
        """
        options = {"mask": mask} if self._masked[0] else {}
        parameter = self._context
        if parameter is None:
            return self.inner_function(prediction, **options)
        if context is None and parameter.default is parameter.empty:
            raise ContractError(
                f"The inner function of this loss needs a context, its parameter {parameter.name!r}: give "
                f"criterion(prediction, target, context=…). If that is the target, the function is a whole loss: give "
                "it to nlcore.NewtonLoss without compose."
            )
        return self.inner_function(prediction, context, **options)

    def outer(self, features: Tensor, target: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the convex loss of the features, [batch]."""
        if mask is not None and self._masked[1]:
            return self.outer_function(features, target, mask=mask)
        return self.outer_function(features, target)

    def __call__(
        self,
        prediction: Tensor,
        target: Any,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        context: Any = None,
    ) -> Tensor:
        """Return the loss of each sample, [batch].

        Raises:
            ContractError: Wrong shape, dtype or device; a context that `inner` does not take, or needs.
        """
        check_arguments(read_capabilities(self), prediction, target, context)
        return self.outer(self.inner(prediction, mask=mask, context=context), target, mask=mask)

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
            samples independent. Tensors that it needs beside the prediction (an initial state, a length) are a
            second positional parameter without a default: the context, given as `criterion(…, context=…)`. With a
            parameter `mask` it receives the mask, True = padded.
        outer: `"squared_error"` for ½‖features − target‖², or a function `(features, target) -> [batch]` that is
            convex in the features. With a parameter `mask` it receives the mask as well.
        traits: Defaults to `Traits()`: one event dimension, two derivatives. Mask and context are read off the
            functions.
        example: `(batch_size, *, generator, dtype, device) -> (prediction, target)`, for the conformance checks.

    Raises:
        ConfigError: `inner` is not callable, or `outer` names no criterion.

    Example:
        >>> import torch, nlcore
        >>> totals = nlcore.compose(lambda y: y.cumsum(-1))
        >>> totals(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 5.0]]))
        tensor([2.])
        >>> print(nlcore.NewtonLoss(totals, nlcore.Auto(aim="outputs")).explain().partition(", because ")[2])
        the loss has a Gauss–Newton split.
    """
    if not callable(inner):
        raise ConfigError(f"compose(inner={inner!r}): inner must be a function [batch, *event] -> [batch, *features].")
    if isinstance(outer, str):
        if outer not in _OUTERS:
            raise ConfigError(
                f"compose(outer={outer!r}): the named criteria are {', '.join(map(repr, _OUTERS))}"
                f"{nearest(outer, _OUTERS)}; or give a function (features, target) -> [batch]."
            )
        function, masked = _OUTERS[outer], False
    elif callable(outer):
        function, masked = outer, "mask" in keywords(outer)
    else:
        raise ConfigError(
            f"compose(outer={outer!r}): outer must be a name or a function (features, target) -> [batch]."
        )
    takes_mask = masked or "mask" in keywords(inner)
    read = replace(traits or Traits(), takes_mask=takes_mask, takes_context=context_parameter(inner) is not None)
    return Composed(inner, function, read, example)
