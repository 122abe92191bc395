"""The algorithm under test, with its traits and the examples that it makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.capabilities import read_capabilities
from nlcore.errors import attempted
from nlcore.protocol import Traits
from nlcore.pullbacks import pulled_back

__all__ = ["BATCH", "Subject", "TargetInContext", "clone", "context_of", "leaves", "target_of"]

BATCH = 4
"""Samples in an example, unless a check needs another number."""


class TargetInContext(NamedTuple):
    """The target and the context of a loss that takes one; a part of the batch is taken of both."""

    target: Any
    context: Any


class Subject:
    """An algorithm under test.

    Args:
        algorithm: The loss.
        config: The class of its options, if it has any.
        factory: The callable that makes it; its class when `None`.
        options: The options that it was made with.
        name: Its name in messages; that of its class when `None`.
        summary: The line of its specification; `None` when it was not made from one.
        dtypes: Those of the examples; differences are taken in the widest.
        device: That of the examples.
        seed: Of all examples.
    """

    def __init__(
        self,
        algorithm: Any,
        *,
        config: type[Any] | None = None,
        factory: Callable[..., Any] | None = None,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
        summary: str | None = None,
        dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.algorithm = algorithm
        self.config, self.factory = config, factory or type(algorithm)
        self.options, self.summary = dict(options or {}), summary
        self.name = name or type(algorithm).__name__
        self.dtypes, self.device, self.seed = tuple(dtypes), torch.device(device), seed
        self.widest = max(self.dtypes, key=lambda dtype: -torch.finfo(dtype).eps)

    @property
    def traits(self) -> Traits:
        """The traits; the defaults where they are not `Traits`, which another check reports."""
        found = getattr(self.algorithm, "traits", None)
        return found if isinstance(found, Traits) else Traits()

    @property
    def supplies(self) -> frozenset[str]:
        """The optional capabilities that the loss has, of `"gradient"`, `"hessian"` and `"split"`."""
        return attempted(lambda: read_capabilities(self.algorithm).supplies, frozenset[str]())

    @property
    def methods(self) -> list[str]:
        """The names of the methods that take prediction, target and generator: the call, and supplied derivatives."""
        return ["__call__", *(name for name in ("gradient", "hessian") if name in self.supplies)]

    @property
    def tolerance(self) -> float:
        """Relative error of a difference quotient, and of anything less exact than rounding."""
        return 1e-5 if self.widest == torch.float64 else 5e-2

    @property
    def rounding(self) -> float:
        """Relative error of a sum that was added up in another order."""
        return 1e5 * torch.finfo(self.widest).eps if self.widest == torch.float64 else 1e-3

    def twin(self, algorithm: Any) -> Subject:
        """Return another algorithm under the same conditions."""
        return Subject(algorithm, device=self.device, dtypes=self.dtypes, seed=self.seed)

    def generator(self, seed: int = 0) -> torch.Generator:
        """Return a new generator for the call."""
        return torch.Generator(self.device).manual_seed(self.seed + 7919 * (seed + 1))

    def example(
        self, batch: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Any]:
        """Return prediction and target as the loss makes them, and the context with the target if it takes one."""
        made = {"generator": generator, "dtype": dtype, "device": device}
        prediction, target = self.algorithm.example(batch, **made)
        if not self.traits.takes_context:
            return prediction, target
        context = getattr(self.algorithm, "example_context", None)
        return prediction, TargetInContext(target, None if context is None else context(batch, **made))

    def draw(self, batch: int = BATCH, *, seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Any]:
        """Return an example that no other call shares memory with."""
        prediction, target = self.example(batch, self.generator(seed), dtype or self.widest, self.device)
        return clone(prediction), clone(target)

    def draws(self, count: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield several examples."""
        return (self.draw(seed=seed) for seed in range(count))

    def call(self, method: str, prediction: Tensor, target: Any, **options: Any) -> Tensor:
        """Call the loss or one of its methods, with the context of the target."""
        if method == "outer":
            outer: Tensor = self.algorithm.outer(prediction, target_of(target), **options)
            return outer
        given = (prediction,) if method == "inner" else (prediction, target_of(target))
        found: Tensor = getattr(self.algorithm, method)(*given, **context_of(target), **options)
        return found

    def value(self, prediction: Tensor, target: Any, *, seed: int = 0, **options: Any) -> Tensor:
        """Return the loss of each sample."""
        return self.call("__call__", prediction, target, generator=self.generator(seed), **options)

    def supplied(self, method: str, prediction: Tensor, target: Any, *, seed: int = 0, **options: Any) -> Tensor:
        """Return the result of `gradient` or `hessian` of the loss."""
        return self.call(method, prediction, target, generator=self.generator(seed), **options)

    def composed(self, prediction: Tensor, target: Any, **options: Any) -> Tensor:
        """Return `outer(inner(prediction), target)`."""
        return self.call("outer", self.call("inner", prediction, target, **options), target, **options)

    def gradient(self, prediction: Tensor, target: Any, *, seed: int = 0) -> Tensor:
        """Return the gradient that training uses, [batch, *event]: supplied, or the derivative of the value."""
        if "gradient" in self.supplies:
            return self.supplied("gradient", prediction, target, seed=seed).detach()
        return self.derivative(prediction, target, seed=seed).detach()

    def derivative(self, prediction: Tensor, target: Any, *, seed: int = 0, **options: Any) -> Tensor:
        """Return the derivative of the value by autograd, [batch, *event]; zero without a graph."""
        with torch.enable_grad():
            leaf = prediction.detach().clone().requires_grad_()
            return pulled_back(self.value(leaf, target, seed=seed, **options).sum(), leaf)

    def columns(self, prediction: Tensor, target: Any, directions: Tensor, *, seed: int = 0) -> Tensor:
        """Return each sample's Hessian times each of [r, *event] directions, [r, batch, *event], by autograd."""
        with torch.enable_grad():
            leaf = prediction.detach().clone().requires_grad_()
            if "gradient" in self.supplies:
                slope = self.supplied("gradient", leaf, target, seed=seed)
            else:
                slope = pulled_back(self.value(leaf, target, seed=seed).sum(), leaf, create_graph=True)
            rows = [pulled_back(slope, leaf, one.expand_as(slope), retain_graph=True) for one in directions]
        return torch.stack(rows).detach()

    def functions(self) -> Iterator[tuple[str, Callable[[Tensor, Any], Tensor]]]:
        """Yield the call and the other functions of prediction and target that the loss has, by name."""
        yield "the call", self.value
        if "gradient" in self.supplies:
            yield "gradient", lambda prediction, target: self.supplied("gradient", prediction, target)
        if "hessian" in self.supplies:
            yield "hessian", lambda prediction, target: self.supplied("hessian", prediction, target)
        if "split" in self.supplies:
            yield "inner", lambda prediction, target: self.call("inner", prediction, target)
            yield "outer", self.composed


def target_of(target: Any) -> Any:
    """Return the target without the context."""
    return target.target if isinstance(target, TargetInContext) else target


def context_of(target: Any) -> dict[str, Any]:
    """Return the keyword `context` for a loss that takes one, else nothing."""
    return {"context": target.context} if isinstance(target, TargetInContext) else {}


def leaves(target: Any) -> list[Tensor]:
    """Return the tensors in a target."""
    return [leaf for leaf in pytree.tree_leaves(target) if isinstance(leaf, Tensor)]


def mapped(target: Any, function: Callable[..., Tensor], *, everything: bool = False) -> Any:
    """Return a target with each tensor changed; its context is kept unless `everything` is changed."""
    if isinstance(target, TargetInContext) and not everything:
        return target._replace(target=mapped(target.target, function))
    return pytree.tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, target)


def clone(target: Any) -> Any:
    """Return a copy of a nested structure of tensors, apart from any graph."""
    return pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, target)
