"""The arguments of a loss, checked before it is evaluated: prediction, target, context and mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.capabilities import Capabilities
from nlcore.errors import ContractError, DeviceError, DtypeError, ShapeError

__all__ = ["check_arguments", "check_mask"]


def check_arguments(loss: Capabilities, prediction: Any, target: Any, context: Any = None) -> None:
    """Refuse arguments that no loss can take; no value is read, so nothing waits for the device.

    Raises:
        DtypeError: The prediction is not a floating-point tensor, or the target holds an array of NumPy.
        ShapeError: It lacks a batch dimension, has the wrong number of dimensions, or the target has another batch.
        DeviceError: The target is on another device.
        ContractError: The loss does not take a context.
    """
    if not isinstance(prediction, Tensor):
        several = " Join its tensors, as in torch.cat(…, 1), and split them in the loss."
        raise DtypeError(
            f"{loss.name}: the prediction must be a tensor, but is a {type(prediction).__name__}."
            f"{several if isinstance(prediction, tuple | list) else ''}"
        )
    if not prediction.is_floating_point():
        raise DtypeError(
            f"{loss.name}: the prediction must be of a floating-point dtype, but is {prediction.dtype}. "
            f"Call prediction.float()."
        )
    shape = list(prediction.shape)
    if prediction.ndim == 0:
        raise ShapeError(f"{loss.name}: the prediction needs the batch in front, but has shape [].")
    if loss.declared and prediction.ndim != 1 + loss.traits.event_ndim:
        _let_the_loss_refuse(loss, prediction, target)
        raise ShapeError(
            f"{loss.name}: the prediction must have {1 + loss.traits.event_ndim} dimensions, the batch and "
            f"{loss.traits.event_ndim} of the event, but has shape {shape}. {_dimensions(loss, prediction)}"
        )
    if context is not None and "context" not in loss.accepts:
        raise ContractError(
            f"{loss.name} takes no context. Give it a parameter `context` (and Traits(takes_context=True), for an "
            f"AlgorithmicLoss), or the inner function of nlcore.compose a second positional parameter."
        )
    for what, tree in (("target", target), ("context", context)):
        for leaf in (tree,) if isinstance(tree, Tensor) else pytree.tree_leaves(tree):
            if isinstance(leaf, Tensor):
                _check_leaf(loss, prediction, what, leaf)
            elif getattr(leaf, "ndim", 0) and hasattr(leaf, "__array__"):  # of which no part of the samples is taken
                raise DtypeError(
                    f"{loss.name}: the {what} holds a {type(leaf).__name__}, and tensors are needed. "
                    f"Call torch.as_tensor on it."
                )


def _let_the_loss_refuse(loss: Capabilities, prediction: Tensor, target: Any) -> None:
    """Raise the loss's own error about too many dimensions, which may name an option of it."""
    if prediction.ndim > 1 + loss.traits.event_ndim and prediction.shape[-1] != 1:
        try:
            loss.function(prediction, target)
        except ShapeError:
            raise
        except Exception:  # of a loss that does not look at shapes
            return


def _dimensions(loss: Capabilities, prediction: Tensor) -> str:
    """Return what to do about a prediction with too few or too many dimensions."""
    if prediction.ndim < 1 + loss.traits.event_ndim:
        one = "For one output per sample, call prediction.unsqueeze(1). " if prediction.ndim == 1 else ""
        return f"{one}For a single sample, call prediction.unsqueeze(0)."
    if prediction.shape[-1] == 1:
        return "Call prediction.squeeze(-1)."
    return (
        f"If the loss is yours and takes such outputs, declare nlcore.Traits(event_ndim={prediction.ndim - 1}), as in "
        "nlcore.compose(…, traits=…)."
    )


def _check_leaf(loss: Capabilities, prediction: Tensor, what: str, leaf: Tensor) -> None:
    if leaf.device != prediction.device:
        raise DeviceError(
            f"{loss.name}: the prediction is on {prediction.device} and the {what} on {leaf.device}. "
            f"Move the {what}: {what}.to(prediction.device)."
        )
    if leaf.ndim == 0 or leaf.shape[0] != prediction.shape[0]:
        raise ShapeError(
            f"{loss.name}: the prediction has shape {list(prediction.shape)} and the {what} {list(leaf.shape)}: "
            f"both need the same batch in front."
        )


def check_mask(loss: Capabilities, prediction: Tensor, mask: Tensor | None, *, hold: bool) -> None:
    """Refuse a mask of another form, and one that the loss does not take, unless the outputs it marks are held fixed.

    Raises:
        ContractError: The loss takes none, or it is not a bool tensor of the shape of the prediction.
        DeviceError: It is on another device.
    """
    if mask is None:
        return
    if "mask" not in loss.accepts and not hold:
        raise ContractError(
            f"{loss.name} takes no mask, so the padding would count. Give it a parameter `mask` (bool, of the "
            f"prediction's shape, True = padded) and, for an AlgorithmicLoss, Traits(takes_mask=True); the inner or "
            f"outer function of nlcore.compose, likewise. A sample with padding has to get the value and the gradient "
            f"of its other outputs alone."
        )
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != prediction.shape:
        got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ContractError(
            f"{loss.name}: mask must be bool and of the prediction's shape {list(prediction.shape)}, True at padded "
            f"outputs, and is {got}."
        )
    if mask.device != prediction.device:
        raise DeviceError(
            f"{loss.name}: the prediction is on {prediction.device} and the mask on {mask.device}. "
            f"Move the mask: mask.to(prediction.device)."
        )
