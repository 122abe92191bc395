"""The network behind a prediction, seen through its graph: how it turns a direction into a change of the outputs.

J is the Jacobian of the outputs with respect to the parameters. A direction d reaches the parameters as q = Jᵀd, and a
small step along q moves the outputs by Jq. The graph of the prediction gives both: Jᵀ is the backward pass, and J is
the derivative of the backward pass, which is linear, with respect to the cotangent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import first_line
from nlcore.evaluation import graph_nodes, signs, transformed

__all__ = ["Network", "UnprobeableError"]

_SHARD = "RegisterPostBackwardFunctionBackward"
"""Node by which `torch.distributed.fsdp.fully_shard` scatters gradients: a probe would scatter them as well."""

_CONVOLUTION = "ConvolutionBackwardBackward0"
"""Node of the derivative of the backward pass of a convolution."""

_TOLERANCE = 0.02
"""Largest relative difference of ⟨g, J Jᵀg⟩ and ‖Jᵀg‖² for which the graph counts as differentiable twice."""


class UnprobeableError(Exception):
    """The graph of a prediction does not allow a probe; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network behind a prediction.

    Attributes:
        prediction: [N, *event], with its graph.
        leaves: The parameters it hangs on.
        dual: The cotangent of the backward pass, a tensor like the prediction.
        pulled: Jᵀ·dual, with its graph; `None` for a parameter without part in it.
        convolutions: The nodes of that graph that are derivatives of the backward passes of convolutions.
    """

    prediction: Tensor
    leaves: tuple[Tensor, ...]
    dual: Tensor
    pulled: tuple[Tensor | None, ...]
    convolutions: tuple[Any, ...] = ()

    @classmethod
    def of(cls, prediction: Tensor, *, check: bool = True) -> Network:
        """Return the network behind a prediction.

        Args:
            prediction: [N, *event].
            check: Whether ⟨v, JJᵀv⟩ is compared with ‖Jᵀv‖², as a backward pass may have a wrong derivative.

        Raises:
            UnprobeableError: The graph can be differentiated once only, or not at all apart from `backward`.
        """
        if transformed(prediction):
            raise UnprobeableError("the step is compiled, or taken under a transform of torch.func")
        leaves = _leaves(prediction)
        for what, tensors in (("a parameter", leaves), ("the prediction", (prediction,))):
            if any(one._backward_hooks for one in tensors):
                raise UnprobeableError(f"{what} has a hook, which a probe would call")
        with torch.enable_grad():
            # Random signs: behind a softmax, the product of Jᵀ with equal numbers is zero, and its check meaningless.
            dual = signs(prediction, tuple(prediction.shape)).requires_grad_()
            try:
                pulled = torch.autograd.grad(prediction, leaves, dual, create_graph=True, allow_unused=True)
            except RuntimeError as error:
                raise UnprobeableError(_line(error)) from error
        if not any(one is not None and one.requires_grad for one in pulled):
            raise UnprobeableError("the backward pass of the network cannot be differentiated")
        nodes = graph_nodes(one.grad_fn for one in pulled if one is not None)
        convolutions = tuple(node for node in nodes if node.name() == _CONVOLUTION)
        network = cls(prediction, leaves, dual, pulled, convolutions)
        if check:
            network._require_consistent()
        return network

    def _require_consistent(self) -> None:
        """Compare ⟨v, JJᵀv⟩ with ‖Jᵀv‖²; where a batch makes them NaN or infinite, they prove nothing."""
        pairs = zip(self.pulled, self.leaves, strict=True)
        change = [torch.zeros_like(leaf) if q is None else q.detach() for q, leaf in pairs]
        moved, size = self.jvp(change), sum(float(q.double().square().sum()) for q in change)
        along = float((moved * self.dual.detach().reshape(moved.shape)).double().sum())
        if math.isfinite(along - size) and abs(along - size) > _TOLERANCE * size:
            raise UnprobeableError("the derivative of its backward pass is wrong")

    def vjp(self, direction: Tensor) -> tuple[Tensor, ...]:
        """Return q = Jᵀd of a direction [N, m], one tensor for each parameter."""
        shaped = direction.reshape(self.prediction.shape).to(self.prediction.dtype)
        products = torch.autograd.grad(self.prediction, self.leaves, shaped, retain_graph=True, allow_unused=True)
        return tuple(
            torch.zeros_like(leaf) if one is None else one for one, leaf in zip(products, self.leaves, strict=True)
        )

    def jvp(self, change: Sequence[Tensor]) -> Tensor:
        """Return Jq, [N, m], of a change q of the parameters.

        Raises:
            UnprobeableError: A part of the network can be differentiated once only.
        """
        known = [k for k, one in enumerate(self.pulled) if one is not None and one.requires_grad]
        outputs: Any = [self.pulled[k] for k in known]
        parts = [change[k].to(self.leaves[k].dtype) for k in known]
        try:
            with _lean(self.convolutions):
                (moved,) = torch.autograd.grad(outputs, self.dual, parts, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise UnprobeableError(_line(error)) from error
        if moved is None:
            raise UnprobeableError("the backward pass of the network cannot be differentiated")
        return moved.detach().flatten(1) if moved.ndim > 1 else moved.detach().unsqueeze(-1)


def _leaves(prediction: Tensor) -> tuple[Tensor, ...]:
    """Return the leaves that a prediction hangs on, in the order of its graph.

    Raises:
        UnprobeableError: A module has a backward hook, or parameters are sharded.
    """
    if prediction.grad_fn is None:
        return (prediction,)
    leaves: list[Tensor] = []
    for node in graph_nodes([prediction.grad_fn]):
        if node.name().startswith("BackwardHookFunction"):
            raise UnprobeableError("a module has a backward hook, which a probe would call")
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            if _sharded(variable):
                raise UnprobeableError("its parameters are sharded over several processes")
            leaves.append(variable)
        elif node.name() == _SHARD:
            raise UnprobeableError("its parameters are sharded over several processes")
    return tuple(leaves)


@contextmanager
def _lean(convolutions: Sequence[Any]) -> Iterator[None]:
    """Spare the derivatives of convolutions' backward passes what a product with J does not need."""
    with ExitStack() as stack:
        for node in convolutions:
            lean = _Convolution(node)
            stack.callback(node.register_prehook(lean.before).remove)
            stack.callback(node.register_hook(lean.after).remove)
        yield


class _Convolution:
    """The derivative of the backward pass of a convolution, along the cotangent alone.

    That of torch computes those along the input and the weight as well, whether they are asked for or not, and takes
    three to six times as long. Here it gets no change of the weight, whose part is added, and of the input none where
    the bias changes: a node has to be left some change. The numbers are the same.

    Args:
        node: Its node.
    """

    def __init__(self, node: Any) -> None:
        self.node = node
        self.held: list[Tensor | None] = [None, None]

    def before(self, changes: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Hold back the changes of input and weight, as far as another is left."""
        source, weight, bias = changes
        if source is None and bias is None:
            self.held = [None, None]
            return changes
        self.held = [None if bias is None else source, weight]
        return (source if bias is None else None), None, bias

    def after(self, products: tuple[Tensor | None, ...], _: object) -> tuple[Tensor | None, ...]:
        """Add what the changes that were held back make of the output."""
        (source, weight), node = self.held, self.node
        options: Any = node._saved_stride, node._saved_padding, node._saved_dilation
        options += node._saved_transposed, node._saved_output_padding, node._saved_groups
        parts = [] if source is None else [torch.convolution(source, node._saved_weight, None, *options)]
        parts += [] if weight is None else [torch.convolution(node._saved_input, weight, None, *options)]
        parts += [] if products[0] is None else [products[0]]
        return (reduce(torch.add, parts) if parts else None), *products[1:]


def _sharded(leaf: Tensor) -> bool:
    """Return whether a parameter is a shard, or was gathered for the forward pass alone."""
    if hasattr(leaf, "device_mesh") or hasattr(leaf, "_is_flat_param"):
        return True
    return leaf.layout == torch.strided and leaf.numel() > 0 and leaf.untyped_storage().nbytes() == 0


def _line(error: Exception) -> str:
    return first_line(error).rstrip(".")
