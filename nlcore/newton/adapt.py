"""What the engine needs to know of a loss, read once; and the checks of what goes in and comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import ContractError, DeviceError, DtypeError, ShapeError
from nlcore.protocol import AlgorithmicLoss, GaussNewtonSplit, SuppliesGradient, SuppliesHessian, Traits

__all__ = ["LossInfo", "check_inputs", "evaluate", "finite_rows", "inspect_loss", "per_sample"]


@dataclass(frozen=True, slots=True)
class LossInfo:
    """A loss with what can be said about it before any data.

    Attributes:
        loss: The object as the user gave it.
        name: How messages name it.
        traits: Its traits; the defaults for a plain callable.
        declared: Whether it is an `AlgorithmicLoss`, so that its traits are a promise and not a guess.
        splits: Whether it has a Gauss–Newton split.
        supplies_gradient: Whether its gradient is its own affair.
        supplies_hessian: Whether it knows its Hessian.
    """

    loss: Callable[..., Tensor]
    name: str
    traits: Traits
    declared: bool
    splits: bool
    supplies_gradient: bool
    supplies_hessian: bool


def inspect_loss(loss: object) -> LossInfo:
    """Return what the engine needs to know of `loss`.

    Args:
        loss: An `AlgorithmicLoss`, or any callable `(prediction, target) -> [batch]`.

    Raises:
        ContractError: It is neither.
    """
    if isinstance(loss, LossInfo):
        return loss
    if isinstance(loss, type) or not callable(loss):
        raise ContractError(
            f"A Newton loss needs an AlgorithmicLoss or a callable (prediction, target) -> [batch], "
            f"and was given {loss!r}. Make one with nlcore.make(id), or pass an instance, not a class."
        )
    name = getattr(loss, "__qualname__", None) or type(loss).__name__
    declared = isinstance(loss, AlgorithmicLoss)
    traits = loss.traits if isinstance(loss, AlgorithmicLoss) else Traits()
    if not isinstance(traits, Traits):
        raise ContractError(f"{name}.traits is {traits!r}; it must be an nlcore.Traits.")
    return LossInfo(
        loss=loss,
        name=name,
        traits=traits,
        declared=declared,
        splits=isinstance(loss, GaussNewtonSplit),
        supplies_gradient=isinstance(loss, SuppliesGradient),
        supplies_hessian=isinstance(loss, SuppliesHessian),
    )


def check_inputs(info: LossInfo, prediction: Any, target: Any) -> None:
    """Refuse what no loss can work on; no value is read, so nothing waits for the device.

    Raises:
        DtypeError: The prediction is no floating-point tensor.
        ShapeError: It lacks a batch dimension, has the wrong number of dimensions, or the target has another batch.
        DeviceError: The target is elsewhere.
    """
    if not isinstance(prediction, Tensor):
        raise DtypeError(f"{info.name}: the prediction must be a tensor, and is a {type(prediction).__name__}.")
    if not prediction.is_floating_point():
        raise DtypeError(
            f"{info.name}: the prediction must be of a floating-point dtype, and is {prediction.dtype}. "
            f"Call prediction.float()."
        )
    shape = list(prediction.shape)
    if prediction.ndim == 0:
        raise ShapeError(f"{info.name}: the prediction needs the batch in front, and has shape [].")
    if info.declared and prediction.ndim != 1 + info.traits.event_ndim:
        raise ShapeError(
            f"{info.name}: the prediction must have {1 + info.traits.event_ndim} dimensions, the batch and "
            f"{info.traits.event_ndim} of the event, and has shape {shape}."
        )
    for leaf in (target,) if isinstance(target, Tensor) else pytree.tree_leaves(target):
        if not isinstance(leaf, Tensor):
            continue
        if leaf.device != prediction.device:
            raise DeviceError(
                f"{info.name}: the prediction is on {prediction.device} and the target on {leaf.device}. "
                f"Move the target: target.to(prediction.device)."
            )
        if leaf.ndim == 0 or leaf.shape[0] != prediction.shape[0]:
            raise ShapeError(
                f"{info.name}: the prediction has shape {shape} and the target {list(leaf.shape)}: "
                f"both need the same batch in front."
            )


def evaluate(
    info: LossInfo, prediction: Tensor, target: Any, generator: torch.Generator | None, mask: Tensor | None
) -> Tensor:
    """Return the loss of each sample, [batch], after a check of its shape.

    Raises:
        ShapeError: The loss returned something other than one number per sample.
    """
    options: dict[str, Any] = {}
    if info.declared:
        options["generator"] = generator
    if mask is not None and info.traits.takes_mask:
        options["mask"] = mask
    value = _called(info, prediction, target, options)
    if not isinstance(value, Tensor) or value.shape != prediction.shape[:1]:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ShapeError(
            f"{info.name}: a loss must return one number per sample, shape {list(prediction.shape[:1])}, and returned "
            f"{got} for a prediction of shape {list(prediction.shape)}. Leave out the reduction over the batch "
            f"(reduction='none') and sum over the other dimensions."
        )
    if not value.is_floating_point():
        raise DtypeError(f"{info.name}: a loss must return a floating-point tensor, and returned {value.dtype}.")
    return value


def _called(info: LossInfo, prediction: Tensor, target: Any, options: dict[str, Any]) -> Any:
    """Return what the loss returns; an error of torch in it gets a note that says whose it is."""
    if torch.compiler.is_compiling():
        return info.loss(prediction, target, **options)
    try:
        return info.loss(prediction, target, **options)
    except RuntimeError as error:
        error.add_note(
            f"Raised in the loss {info.name}. `nlcore check` tells what a loss must not do to be differentiated: "
            "change its inputs in place, leave torch, mix its samples."
        )
        raise


def per_sample(tensor: Tensor) -> Tensor:
    """Return [N, *event] as [N, m]; m is 1 for an event without dimensions."""
    return tensor.reshape(tensor.shape[0], math.prod(tensor.shape[1:]))


def finite_rows(flat: Tensor, padded: Tensor | None = None) -> Tensor:
    """Return which rows of [N, m] are finite where they are not padded, [N]; x·0 is 0 for finite x alone."""
    zeros = flat * 0 if padded is None else (flat * 0).masked_fill(padded, 0.0)
    return zeros.sum(-1) == 0
