"""Base classes of losses with a solver inside, for any source of solutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import ContractError

__all__ = ["Argmin", "EstimatedLoss", "SolvingLoss", "Truth", "inner_product", "repeated", "solved"]

Argmin: TypeAlias = Callable[..., Tensor]
"""Maps costs [N, *event] to the solutions of least cost, [N, *event]; a second positional parameter is the context."""


class Truth(NamedTuple):
    """The target of a loss in working precision, with the sign of costs, and the context.

    Attributes:
        solution: The true solution, [N, *event], if it is known.
        costs: The true costs, [N, *event], if they are known.
        context: Tensors of every sample that the argmin needs beside the costs.
    """

    solution: Tensor | None = None
    costs: Tensor | None = None
    context: Any = None

    @property
    def the_solution(self) -> Tensor:
        """The true solution of a method that needs it."""
        return _known(self.solution)

    @property
    def the_costs(self) -> Tensor:
        """The true costs of a method that needs them."""
        return _known(self.costs)


class SolvingLoss(ABC):
    """A loss that solves problems: a family of losses writes `_checked`, `_solver`, `_ndim` and `_changed`."""

    @property
    @abstractmethod
    def _ndim(self) -> int:
        """Number of dimensions of one sample's costs."""

    @abstractmethod
    def _checked(self, prediction: Tensor, target: Any, context: Any = None) -> tuple[Tensor, Truth]:
        """Return validated costs, [N, *event], connected to the prediction, and the truth."""

    @abstractmethod
    def _solver(self, costs: Tensor, context: Any) -> Tensor:
        """Return the solutions of costs [M, *event], detached."""

    @property
    def _repeatable(self) -> bool:
        """Whether the solver is known to give equal costs equal solutions at any time, so that they can be kept."""
        return False

    def _changed(self, costs: Tensor) -> Tensor:
        """Return costs that a method has changed, [..., *event], brought back to where the solver is defined."""
        return costs

    def _solutions(self, truth: Truth, *costs: Tensor) -> tuple[Tensor, ...]:
        """Return the solutions of several tensors of costs, each [N, *event] or [S, N, *event], all by one call.

        Value, gradient and Hessian of a batch ask for the same solutions one after the other: if the solver is
        `_repeatable`, the last few are kept.

        Args:
            truth: With the context of the N samples.
            costs: The costs, of one dtype.
        """
        if not self._repeatable or torch.compiler.is_compiling() or not all(map(_plain, costs)):
            return self._solved(truth.context, costs)
        memory = self.__dict__.setdefault("_last_solved", _Solutions())
        found = [memory.find(one, truth.context) for one in costs]
        missing = [one for one, known in zip(costs, found, strict=True) if known is None]
        new = iter(self._solved(truth.context, missing) if missing else ())
        for index, one in enumerate(costs):
            if found[index] is None:
                found[index] = next(new)
                memory.keep(one, truth.context, found[index])
        return tuple(found)

    def _solved(self, context: Any, costs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the solutions of several tensors of costs by one call of the solver."""
        if len(costs) == 1 and costs[0].ndim == self._ndim + 1:
            return (self._solver(costs[0], context),)
        flat = [one.reshape(-1, *one.shape[one.ndim - self._ndim :]) for one in costs]
        joined = torch.cat(flat) if len(flat) > 1 else flat[0]
        if context is not None:
            size = costs[0].shape[costs[0].ndim - self._ndim - 1]
            context = repeated(context, len(joined) // size if size else 1)
        found = torch.split(self._solver(joined, context), [len(one) for one in flat])
        return tuple(one.reshape(given.shape) for one, given in zip(found, costs, strict=True))


class _Solutions:
    """The problems solved last, with their solutions; neither copied nor pickled with the loss."""

    _KEPT: ClassVar[int] = 3  # those of the true costs, the predicted costs and the costs that a method has changed

    def __init__(self) -> None:
        self._known: tuple[tuple[Tensor, Any, Tensor], ...] = ()

    def find(self, costs: Tensor, context: Any) -> Tensor | None:
        """Return the solutions of these costs in this context, if they are kept."""
        for known, beside, found in self._known:
            same = beside is context and known.dtype == costs.dtype and known.device == costs.device
            if same and torch.equal(known, costs):
                return found.clone()
        return None

    def keep(self, costs: Tensor, context: Any, found: Tensor) -> None:
        """Keep copies of costs and solutions: the caller may change its own."""
        self._known = ((costs.clone(), context, found.clone()), *self._known[: self._KEPT - 1])

    def __reduce__(self) -> tuple[type[_Solutions], tuple[()]]:
        return _Solutions, ()


def _plain(costs: Tensor) -> bool:
    """Return whether costs can be compared: they have values, and no transform of `torch.func` is active."""
    return type(costs) is Tensor and not costs.is_meta and not torch._C._are_functorch_transforms_active()


class EstimatedLoss(SolvingLoss):
    """A loss whose value and gradient come from exact solutions.

    The value is connected to the prediction by the supplied gradient, so that `loss(prediction,
    target).mean().backward()` trains as in the method's paper; the gradient is computed only if needed. A method writes
    `_gradient`, and `_value` where the value needs fewer solutions.
    """

    @abstractmethod
    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return losses [N] and gradients with respect to the costs [N, *event], from the same draw as `_value`."""

    def _value(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> Tensor:
        """Return the losses, [N]; override it where the gradient takes solutions of its own."""
        return self._gradient(costs, truth, generator)[0]

    def _estimate(
        self, prediction: Tensor, target: Any, generator: torch.Generator | None, context: Any = None
    ) -> Tensor:
        """Return the losses, connected to the prediction."""
        costs, truth = self._checked(prediction, target, context)
        if not (torch.is_grad_enabled() and costs.requires_grad):
            return self._value(costs.detach(), truth, generator).to(prediction.dtype)
        with torch.no_grad():
            value, gradient = self._gradient(costs.detach(), truth, generator)
        connected: Tensor = _Connected.apply(costs, value, gradient)  # type: ignore[no-untyped-call]
        return connected.to(prediction.dtype)

    def _supplied(
        self, prediction: Tensor, target: Any, generator: torch.Generator | None, context: Any = None
    ) -> Tensor:
        """Return the gradients with respect to the costs, not differentiable, in the dtype of the prediction."""
        with torch.no_grad():
            costs, truth = self._checked(prediction, target, context)
            return self._gradient(costs.detach(), truth, generator)[1].to(prediction.dtype)


class _Connected(torch.autograd.Function):
    """A value whose backward pass returns a gradient that was computed with it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(costs: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0].reshape(-1, *[1] * (gradient.ndim - 1)) * gradient, None, None


def solved(argmin: Callable[..., Any], *given: Any) -> Any:
    """Return what an argmin returns for costs and context; under `torch.func.grad` it is given plain tensors."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return argmin(*given)
    return _Solved.apply(argmin, *given)  # type: ignore[no-untyped-call]


class _Solved(torch.autograd.Function):
    """The solutions of an argmin, piecewise constant: a transform of `torch.func` runs it outside of itself."""

    @staticmethod
    def forward(argmin: Callable[..., Any], *given: Any) -> Any:
        return argmin(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], argmin: Callable[..., Any], *given: Any) -> Any:
        raise ContractError(
            "A solver cannot run under torch.vmap, since it is made for batches. Make the dimension a part of the "
            "batch, as in loss(prediction.flatten(0, 1), target.flatten(0, 1))."
        )


def inner_product(costs: Tensor, solutions: Tensor, ndim: int) -> Tensor:
    """Return ⟨c, y⟩ over the last `ndim` dimensions."""
    return (costs * solutions).sum(dim=tuple(range(-ndim, 0)))


def repeated(context: Any, times: int) -> Any:
    """Return a context for so many copies of the batch, one after the other."""
    return pytree.tree_map(
        lambda leaf: leaf.repeat(times, *[1] * (leaf.ndim - 1)) if isinstance(leaf, Tensor) else leaf, context
    )


def _known(part: Tensor | None) -> Tensor:
    if part is None:
        raise RuntimeError("A method asked for a part of the target that it did not declare to need.")
    return part
