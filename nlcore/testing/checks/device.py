"""Devices, tried on `meta`: its tensors compute nothing, are everywhere, and refuse to be mixed with others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nlcore.testing.check import BASE, InconclusiveError, check, fail
from nlcore.testing.subject import BATCH, Subject, leaves

__all__ = ["CHECKS"]

_ELSEWHERE = torch.device("meta")


def _stateless(subject: Subject) -> str:
    if isinstance(subject.algorithm, nn.Module) and (
        any(True for _ in subject.algorithm.buffers()) or any(True for _ in subject.algorithm.parameters())
    ):
        return "its tensors are on one device; move the module to try another"
    return ""


@check("device.example", requires=(*BASE, "dtype.example"), when=_stateless)
def example(subject: Subject) -> None:
    """`example(device=…)` makes prediction and target on the device that was asked for."""
    prediction, target = _elsewhere(subject)
    wrong = [one for one in (prediction, *leaves(target)) if one.device != _ELSEWHERE]
    if wrong:
        fail(
            f"example(device='{_ELSEWHERE}') returned a tensor on {wrong[0].device}",
            "Hand device= on to every function that makes a tensor.",
        )


@check("device.value", requires=("device.example",), when=_stateless)
def value(subject: Subject) -> None:
    """A call works on another device than the CPU, and its value is there."""
    prediction, target = _elsewhere(subject)
    for name in ("__call__", *(one for one in ("gradient", "hessian") if getattr(subject, f"supplies_{one}"))):
        found = _called(subject, name, prediction, target)
        if found.device != _ELSEWHERE:
            fail(f"{name} returned a tensor on {found.device} for a prediction on {_ELSEWHERE}", _REMEDY)


_REMEDY = "Make every tensor with device=prediction.device."


def _called(subject: Subject, name: str, prediction: Tensor, target: Any) -> Tensor:
    try:
        found: Tensor = getattr(subject.algorithm, name)(prediction, target, generator=None)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "device" in text and "cpu" in text:
            fail(f"{name} mixes devices for a prediction on {_ELSEWHERE}: {text[:200]}", _REMEDY)
        raise InconclusiveError(f"{name} needs the values, which a tensor on meta lacks: {text[:120]}") from error
    except Exception as error:
        raise InconclusiveError(f"{name} cannot be tried on meta: {type(error).__name__}") from error
    return found


def _elsewhere(subject: Subject) -> tuple[Tensor, Any]:
    try:
        prediction, target = subject.algorithm.example(BATCH, generator=None, dtype=subject.widest, device=_ELSEWHERE)
    except Exception as error:
        raise InconclusiveError(f"example cannot be tried on meta: {type(error).__name__}") from error
    return prediction, target


CHECKS = (example, value)
