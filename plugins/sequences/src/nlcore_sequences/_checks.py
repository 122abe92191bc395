"""Refuse tensors that would broadcast, promote or index their way to a wrong number."""

from __future__ import annotations

from torch import Tensor

from nlcore.errors import DeviceError, DtypeError, ShapeError

__all__ = ["check_sequence", "check_target"]


def check_sequence(identity: str, prediction: Tensor) -> None:
    """Raise unless `prediction` is a floating-point tensor [batch, m] with m ≥ 1.

    Args:
        identity: Id of the algorithm, which the message begins with.
        prediction: The tensor to look at; only its metadata is read.

    Raises:
        ShapeError: Not two dimensions, or a sequence without an element.
        DtypeError: Not a floating-point tensor.
    """
    if prediction.ndim != 2 or prediction.shape[1] == 0:
        raise ShapeError(
            f"{identity}: prediction has shape {list(prediction.shape)}; expected [batch, m] with m ≥ 1, one row a "
            "sequence. Reshape it, for one sequence with prediction[None]."
        )
    if not prediction.is_floating_point():
        raise DtypeError(
            f"{identity}: prediction has dtype {prediction.dtype}; expected a floating-point one. Convert it with "
            "prediction.float()."
        )


def check_target(identity: str, prediction: Tensor, target: Tensor) -> None:
    """Raise unless `target` has the shape, dtype and device of `prediction`.

    Args:
        identity: Id of the algorithm, which the message begins with.
        prediction: A tensor that `check_sequence` let pass, or one of its shape.
        target: The tensor to compare with it; only its metadata is read.

    Raises:
        ShapeError: The shapes differ.
        DtypeError: `target` is no tensor, or the dtypes differ.
        DeviceError: The devices differ.
    """
    if not isinstance(target, Tensor):
        raise DtypeError(f"{identity}: target is a {type(target).__name__}; expected a tensor [batch, m].")
    if target.shape != prediction.shape:
        raise ShapeError(
            f"{identity}: target has shape {list(target.shape)} but prediction has {list(prediction.shape)}; both "
            "are [batch, m], one target for every element."
        )
    if target.dtype != prediction.dtype:
        raise DtypeError(
            f"{identity}: target has dtype {target.dtype} but prediction has {prediction.dtype}. Convert it with "
            "target.to(prediction.dtype)."
        )
    if target.device != prediction.device:
        raise DeviceError(
            f"{identity}: target is on {target.device} but prediction is on {prediction.device}. Move it with "
            "target.to(prediction.device)."
        )
