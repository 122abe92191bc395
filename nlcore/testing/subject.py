"""What the checks work on: an algorithm with its traits, and examples that it makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.protocol import GaussNewtonSplit, SuppliesGradient, SuppliesHessian, Traits

__all__ = ["BATCH", "Subject", "clone", "leaves", "pulled_back"]

BATCH = 4
"""Samples in an example, unless a check needs another number."""


class Subject:
    """An algorithm under test.

    Args:
        algorithm: The loss.
        config: The class of its options, if it has any.
        factory: What makes it; its class when `None`.
        options: The options that it was made with.
        summary: What a plugin says about it in one line; `None` when it was not made by one.
        dtypes: In which it is to work; differences are taken in the widest.
        device: Where the examples are made.
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
        self.options = dict(options or {})
        self.name = name or type(algorithm).__name__
        self.summary = summary
        self.dtypes, self.device, self.seed = tuple(dtypes), torch.device(device), seed
        self.widest = max(self.dtypes, key=lambda dtype: -torch.finfo(dtype).eps)

    @property
    def traits(self) -> Traits:
        """The traits; the defaults where they are not what they should be, which a check of its own tells."""
        found = getattr(self.algorithm, "traits", None)
        return found if isinstance(found, Traits) else Traits()

    @property
    def supplies_gradient(self) -> bool:
        """Whether the loss has a gradient of its own."""
        return self._supplies("gradient", SuppliesGradient)

    @property
    def supplies_hessian(self) -> bool:
        """Whether the loss supplies its Hessian."""
        return self._supplies("hessian", SuppliesHessian)

    @property
    def splits(self) -> bool:
        """Whether the loss has a Gauss–Newton split."""
        return self._supplies("split", GaussNewtonSplit)

    def _supplies(self, name: str, kind: Any) -> bool:
        stated = self.traits.supplies
        return isinstance(self.algorithm, kind) if stated is None else name in stated

    @property
    def tolerance(self) -> float:
        """Relative error of a difference quotient, and of anything less exact than rounding."""
        return 1e-5 if self.widest == torch.float64 else 5e-2

    @property
    def rounding(self) -> float:
        """Relative error of a sum that was added up in another order."""
        return 1e5 * torch.finfo(self.widest).eps if self.widest == torch.float64 else 1e-3

    def generator(self, seed: int = 0) -> torch.Generator:
        """Return a new generator for the call."""
        return torch.Generator(self.device).manual_seed(self.seed + 7919 * (seed + 1))

    def draw(self, batch: int = BATCH, *, seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Any]:
        """Return an example that no other call shares memory with."""
        found: tuple[Tensor, Any] = self.algorithm.example(
            batch, generator=self.generator(seed), dtype=dtype or self.widest, device=self.device
        )
        return clone(found[0]), clone(found[1])

    def value(self, prediction: Tensor, target: Any, *, seed: int = 0, **options: Any) -> Tensor:
        """Return the loss of each sample."""
        found: Tensor = self.algorithm(prediction, target, generator=self.generator(seed), **options)
        return found

    def supplied(self, method: str, prediction: Tensor, target: Any, *, seed: int = 0) -> Tensor:
        """Return what `gradient` or `hessian` of the loss returns."""
        found: Tensor = getattr(self.algorithm, method)(prediction, target, generator=self.generator(seed))
        return found

    def gradient(self, prediction: Tensor, target: Any, *, seed: int = 0) -> Tensor:
        """Return the gradient that training uses, [batch, *event]: supplied, or the derivative of the value."""
        if self.supplies_gradient:
            return self.supplied("gradient", prediction, target, seed=seed).detach()
        return self.derivative(prediction, target, seed=seed).detach()

    def derivative(self, prediction: Tensor, target: Any, *, seed: int = 0) -> Tensor:
        """Return the derivative of the value by autograd, [batch, *event]; zero without a graph."""
        with torch.enable_grad():
            leaf = prediction.detach().clone().requires_grad_()
            return pulled_back(self.value(leaf, target, seed=seed).sum(), leaf)

    def columns(self, prediction: Tensor, target: Any, directions: Tensor, *, seed: int = 0) -> Tensor:
        """Return each sample's Hessian times each of [r, *event] directions, [r, batch, *event], by autograd."""
        with torch.enable_grad():
            leaf = prediction.detach().clone().requires_grad_()
            if self.supplies_gradient:
                slope = self.supplied("gradient", leaf, target, seed=seed)
            else:
                slope = pulled_back(self.value(leaf, target, seed=seed).sum(), leaf, create_graph=True)
            rows = [pulled_back(slope, leaf, one.expand_as(slope), retain_graph=True) for one in directions]
        return torch.stack(rows).detach()

    def functions(self) -> Iterator[tuple[str, Callable[[Tensor, Any], Tensor]]]:
        """Yield the call and the other functions of prediction and target that the loss has, by name."""
        yield "the call", self.value
        if self.supplies_gradient:
            yield "gradient", lambda prediction, target: self.supplied("gradient", prediction, target)
        if self.supplies_hessian:
            yield "hessian", lambda prediction, target: self.supplied("hessian", prediction, target)
        if self.splits:
            yield "inner", lambda prediction, target: self.algorithm.inner(prediction)
            yield "outer", lambda prediction, target: self.algorithm.outer(self.algorithm.inner(prediction), target)


def leaves(target: Any) -> list[Tensor]:
    """Return the tensors in a target."""
    return [leaf for leaf in pytree.tree_leaves(target) if isinstance(leaf, Tensor)]


def clone(target: Any) -> Any:
    """Return a copy of a nested structure of tensors, apart from any graph."""
    return pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, target)


def pulled_back(output: Tensor, source: Tensor, direction: Tensor | None = None, **options: Any) -> Tensor:
    """Return the vector–Jacobian product, zero where `output` does not depend on `source`."""
    if not output.requires_grad:
        return torch.zeros_like(source)
    (found,) = torch.autograd.grad(output, source, direction, allow_unused=True, **options)
    return torch.zeros_like(source) if found is None else found
