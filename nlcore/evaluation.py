"""Evaluation of a loss at its target: the call, the validation of its results, one draw of random numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.arguments import check_arguments, check_mask
from nlcore.capabilities import Capabilities, unserved
from nlcore.errors import DtypeError, InPlaceError, ShapeError, first_line

__all__ = [
    "Evaluation",
    "cloned",
    "finite_rows",
    "full_precision",
    "graph_nodes",
    "in_inference",
    "per_sample",
    "signs",
    "transformed",
]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A loss with all its arguments except the prediction.

    Attributes:
        loss: The loss and its capabilities.
        shape: Shape of the prediction, [N, *event].
        target: The target, with half-precision tensors widened where the prediction was.
        mask: [N, *event] bool for a loss that takes one, else `None`.
        context: Tensors that the loss needs beside the prediction, for a loss that takes them.
        generator: Random numbers of a stochastic loss.
        state: State of the generator at the start: every evaluation of a stochastic loss sees the same draw.
    """

    loss: Capabilities
    shape: torch.Size
    target: Any
    mask: Tensor | None = None
    context: Any = None
    generator: torch.Generator | None = None
    state: Tensor | None = None

    @classmethod
    def of(
        cls,
        loss: Capabilities,
        prediction: Tensor,
        target: Any,
        *,
        mask: Tensor | None = None,
        context: Any = None,
        generator: torch.Generator | None = None,
        hold: bool = False,
    ) -> Evaluation:
        """Validate the arguments of a loss.

        With `hold`, the mask is not passed to the loss: it marks outputs that are held fixed.

        Raises:
            ContractError: Wrong shape, dtype or device; a mask or context that the loss does not take.
        """
        check_arguments(loss, prediction, target, context)
        check_mask(loss, prediction, mask, hold=hold)
        mask = None if hold else mask
        if prediction.dtype in _HALF:
            target, context = pytree.tree_map_only(
                Tensor, lambda leaf: leaf.float() if leaf.dtype in _HALF else leaf, (target, context)
            )
        if loss.traits.stochastic and generator is None:
            generator = torch.Generator(prediction.device).manual_seed(int(torch.randint(2**62, ())))
        state = generator.get_state() if loss.traits.stochastic and generator is not None else None
        return cls(loss, prediction.shape, target, mask, context, generator, state)

    def value(self, flat: Tensor) -> Tensor:
        """Return the loss of each sample at outputs [N, m], [N].

        Raises:
            ShapeError: The loss returned something other than one number per sample.
            DtypeError: It returned a tensor that is not floating point.
        """
        self._rewind()
        value = self._called(self.loss.function, flat, self.target)
        count = list(self.shape[:1])
        if not isinstance(value, Tensor) or value.shape != self.shape[:1]:
            unreduced = isinstance(value, Tensor) and value.ndim > 1 and value.shape[:1] == self.shape[:1]
            remedy = "Leave out the reduction over the batch (reduction='none') and sum over the other dimensions."
            if unreduced:
                remedy = "Sum over all dimensions but the first, as in loss(prediction, target).flatten(1).sum(1)."
            raise ShapeError(
                f"{self.loss.name}: a loss must return one number per sample, shape {count}, but returned "
                f"{_described(value)} for a prediction of shape {list(self.shape)}. {remedy}"
            )
        if not value.is_floating_point():
            raise DtypeError(
                f"{self.loss.name}: a loss must return a floating-point tensor, but returned {value.dtype}."
            )
        return value

    def inner(self, flat: Tensor) -> Tensor:
        """Return the features of each sample of a loss that splits, [N, *features]."""
        features = self._called(self.loss.function.inner, flat, generator=False)  # type: ignore[attr-defined]
        if not isinstance(features, Tensor) or features.shape[:1] != self.shape[:1]:
            raise ShapeError(
                f"{self.loss.name}.inner must return a tensor with the batch of {self.shape[0]} in front, but returned "
                f"{_described(features)}."
            )
        return features

    def outer(self, features: Tensor) -> Tensor:
        """Return the loss of each sample as a function of its features, [N]."""
        masked = {} if self.mask is None else {"mask": self.mask}
        value = self.loss.function.outer(features, self.target, **masked)  # type: ignore[attr-defined]
        if not isinstance(value, Tensor) or value.shape != self.shape[:1]:
            raise ShapeError(
                f"{self.loss.name}.outer must return one number per sample, shape {list(self.shape[:1])}, but "
                f"returned {_described(value)}."
            )
        return value

    def supplied(self, method: str, flat: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return `loss.gradient` or `loss.hessian` at outputs [N, m], of the given shape."""
        self._rewind()
        result = self._called(getattr(self.loss.function, method), flat, self.target)
        if not isinstance(result, Tensor) or result.numel() != math.prod(shape) or result.shape[:1] != shape[:1]:
            raise ShapeError(
                f"{self.loss.name}.{method} must return shape {list(shape)}, but returned {_described(result)}."
            )
        return result.reshape(shape).to(flat.dtype)

    def leaves(self) -> list[Tensor]:
        """Return the tensors of target and context."""
        return [leaf for leaf in pytree.tree_leaves((self.target, self.context)) if isinstance(leaf, Tensor)]

    def in_dtype(self, dtype: torch.dtype) -> Evaluation:
        """Return the evaluation with its floating-point tensors in another precision."""
        target, context = pytree.tree_map_only(
            Tensor, lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, (self.target, self.context)
        )
        return replace(self, target=target, context=context)

    def detached(self) -> Evaluation:
        """Return the evaluation with target and context apart from any graph."""
        target, context = pytree.tree_map_only(Tensor, lambda leaf: leaf.detach(), (self.target, self.context))
        return replace(self, target=target, context=context)

    def take(self, index: Tensor | slice) -> Evaluation:
        """Return the evaluation of some of the samples."""
        parts = self.target, self.mask, self.context, torch.empty(self.shape[0], 0)
        target, mask, context, rows = pytree.tree_map_only(Tensor, lambda leaf: leaf[index], parts)
        shape = torch.Size((rows.shape[0], *self.shape[1:]))
        return replace(self, shape=shape, target=target, mask=mask, context=context)

    def _rewind(self) -> None:
        if self.state is not None and self.generator is not None:
            self.generator.set_state(self.state)

    def _called(self, function: Any, flat: Tensor, *target: Any, generator: bool = True) -> Any:
        """Return what the loss returns; an error of torch in it gets a note that names the loss."""
        options: dict[str, Any] = {"generator": self.generator} if generator and self.loss.declared else {}
        if self.mask is not None:
            options["mask"] = self.mask
        if "context" in self.loss.accepts:
            options["context"] = self.context
        shaped = flat if flat.shape == self.shape else flat.reshape(self.shape)
        if torch.compiler.is_compiling():
            return function(shaped, *target, **options)
        try:
            return function(shaped, *target, **options)
        except TypeError as error:
            if not self.loss.declared and (names := unserved(function)):
                error.add_note(
                    f"{self.loss.name} needs {', '.join(names)}, but a Newton loss gives it prediction, target, and by "
                    "keyword mask and context. Data of each sample are the context: name the parameter `context`, "
                    "and call criterion(prediction, target, context=…). Bind constants by functools.partial."
                )
            raise
        except RuntimeError as error:
            note = (
                f"Raised in the loss {self.loss.name}. `nlcore check` lists what a loss must not do to be "
                "differentiated: change its inputs in place, leave torch, mix its samples."
            )
            if "in-place operation" not in str(error):
                error.add_note(note)
                raise
            said = first_line(error).rstrip(".")
            named = InPlaceError(
                f"{self.loss.name} changes its prediction in place ({said}). Work on a copy, as in y = y + 1."
            )
            named.add_note(note)
            raise named from error


def per_sample(tensor: Tensor) -> Tensor:
    """Return [N, *event] as [N, m]; m is 1 for an event without dimensions."""
    return tensor.reshape(tensor.shape[0], math.prod(tensor.shape[1:]))


def signs(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ±1, the same on every call, of the dtype and device of `like`."""
    generator = torch.Generator("cpu").manual_seed(0)
    return (torch.randint(2, shape, generator=generator, device="cpu") * 2 - 1).to(like)


def in_inference(*trees: Any) -> bool:
    """Return whether inference mode is on, or a tensor was made in it: neither can be differentiated."""
    if torch.compiler.is_compiling():
        return False
    if torch.is_inference_mode_enabled():
        return True
    present = (tree for tree in trees if tree is not None)
    leaves = (leaf for tree in present for leaf in ((tree,) if isinstance(tree, Tensor) else pytree.tree_leaves(tree)))
    return any(isinstance(leaf, Tensor) and leaf.is_inference() for leaf in leaves)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context without autocast."""
    kind = device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not of "meta"
    return torch.autocast(kind, enabled=False) if enabled else nullcontext()


def cloned(tree: Any) -> Any:
    """Return copies of all tensors, ordinary ones where inference mode is off."""
    return pytree.tree_map_only(Tensor, lambda leaf: leaf.clone(), tree)


def transformed(tensor: Tensor) -> bool:
    """Return whether code is being compiled, or run under a transform of `torch.func`."""
    return torch.compiler.is_compiling() or torch.func.debug_unwrap(tensor) is not tensor


def finite_rows(flat: Tensor, keep: Tensor | None = None) -> Tensor:
    """Return which rows of [N, m] have only finite entries where kept, [N]; x·0 is 0 only if x is finite."""
    zeros = flat * 0 if keep is None else torch.where(keep, flat * 0, 0.0)
    return zeros.sum(-1) == 0


def graph_nodes(roots: Iterable[Any]) -> Iterator[Any]:
    """Yield the nodes of a graph once each, in an order that depends on the graph alone."""
    stack = list(dict.fromkeys(root for root in roots if root is not None))
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                stack.append(after)


def _described(result: object) -> str:
    return f"shape {list(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
