"""Checks of devices, on `meta`: it exists on every machine, computes nothing, and mixes with no other device."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nlcore.testing.check import BASE, InconclusiveError, check, ensure, fail
from nlcore.testing.subject import BATCH, Subject, leaves

_ELSEWHERE = torch.device("meta")
_REMEDY = "Make every tensor with device=prediction.device."


@check("device.example", requires=(*BASE, "dtype.example"))
def example(subject: Subject) -> None:
    """`example(device=…)` makes prediction and target on the device that was asked for."""
    prediction, target = _elsewhere(_moved(subject))
    wrong = [str(one.device) for one in (prediction, *leaves(target)) if one.device != _ELSEWHERE]
    ensure(
        not wrong,
        f"example(device='{_ELSEWHERE}') returned a tensor on {', '.join(wrong[:1])}",
        "Pass device= on to every function that makes a tensor.",
    )


@check("device.value", requires=("device.example",))
def value(subject: Subject) -> None:
    """A call works on another device than the CPU, and its value is there."""
    subject = _moved(subject)
    prediction, target = _elsewhere(subject)
    for name in subject.methods:
        found = _called(subject, name, prediction, target).device
        ensure(found == _ELSEWHERE, f"{name} returned a tensor on {found} for a prediction on {_ELSEWHERE}", _REMEDY)


def _moved(subject: Subject) -> Subject:
    """Return the subject with a module that holds tensors copied to the other device."""
    held: Any = subject.algorithm
    if not isinstance(held, nn.Module) or not any(True for _ in chain(held.buffers(), held.parameters())):
        return subject
    try:
        return subject.twin(copy.deepcopy(held).to(_ELSEWHERE))
    except Exception as error:
        raise InconclusiveError(f"the module cannot be moved to meta: {type(error).__name__}") from error


def _called(subject: Subject, name: str, prediction: Tensor, target: Any) -> Tensor:
    try:
        return subject.call(name, prediction, target, generator=None)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "device" in text and "cpu" in text:
            fail(f"{name} mixes devices for a prediction on {_ELSEWHERE}: {text[:200]}", _REMEDY)
        raise InconclusiveError(f"{name} needs the values, which a tensor on meta lacks: {text[:120]}") from error
    except Exception as error:
        raise InconclusiveError(f"{name} cannot be tried on meta: {type(error).__name__}") from error


def _elsewhere(subject: Subject) -> tuple[Tensor, Any]:
    try:
        return subject.example(BATCH, None, subject.widest, _ELSEWHERE)
    except Exception as error:
        raise InconclusiveError(f"example cannot be tried on meta: {type(error).__name__}") from error
