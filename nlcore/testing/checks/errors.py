"""Wrong inputs: refused by name, never computed with in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import NlcoreError
from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject, leaves

__all__ = ["CHECKS"]

_ACCEPTED = (NlcoreError, ValueError, TypeError)


@check("errors.shape", requires=SOUND)
def shape(subject: Subject) -> None:
    """A prediction or target of the wrong shape is refused by name, and not broadcast."""
    prediction, target = subject.draw(BATCH)
    wrong: dict[str, tuple[Tensor, Any]] = {
        f"a prediction without its batch, {list(prediction.shape[1:])}": (
            prediction[0],
            _mapped(target, lambda t: t[0]),
        ),
        f"a prediction with one dimension more, {[1, *prediction.shape]}": (
            prediction[None],
            _mapped(target, lambda t: t[None]),
        ),
    }
    if leaves(target):
        for count in (BATCH - 1, 1):
            picked = _mapped(target, lambda t, count=count: t[:count])
            wrong[f"a batch of {BATCH} predictions and one of {count} targets"] = (prediction, picked)
    if any(_narrowed(leaf).shape != leaf.shape for leaf in leaves(target)):
        narrow = _mapped(target, _narrowed)
        wrong["targets whose last dimension is 1, which would be broadcast"] = (prediction, narrow)
    for what, (y, t) in wrong.items():
        _expect_refusal(subject, y, t, what, "Compare the shapes and raise nlcore.errors.ShapeError with both.")


def _narrowed(leaf: Tensor) -> Tensor:
    """Return a leaf with the first entry of its last dimension alone, if that is not the batch."""
    return leaf[..., :1] if leaf.ndim > 1 else leaf


@check("errors.dtype", requires=SOUND)
def dtype(subject: Subject) -> None:
    """A prediction of whole numbers is refused by name."""
    prediction, target = subject.draw(BATCH)
    whole = prediction.nan_to_num().round().long()
    _expect_refusal(
        subject, whole, target, "an int64 prediction", "Raise nlcore.errors.DtypeError unless it is_floating_point()."
    )


def _target_is_tensor(subject: Subject) -> str:
    return "" if leaves(subject.draw(1)[1]) else "the target holds no tensor"


@check("errors.device", requires=SOUND, when=_target_is_tensor)
def device(subject: Subject) -> None:
    """A target on another device is refused by name."""
    prediction, target = subject.draw(BATCH)
    elsewhere = _mapped(target, lambda t: t.to("meta"))
    _expect_refusal(
        subject,
        prediction,
        elsewhere,
        f"a prediction on {prediction.device} and a target on meta",
        "Compare the devices and raise nlcore.errors.DeviceError with both.",
    )


@check("errors.nan", requires=(*SOUND, "independence.samples"))
def nan(subject: Subject) -> None:
    """NaN in one sample is refused, or gives NaN for that sample alone."""
    prediction, target = subject.draw(BATCH)
    clean = subject.value(prediction, target).detach()
    prediction[1] = torch.nan
    try:
        value = subject.value(prediction, target).detach()
    except NlcoreError as error:
        _check_message(error, "a NaN in sample 1")
        return
    if bool(value[1].isfinite()):
        fail(
            f"a sample of NaN has the loss {float(value[1]):.6g}",
            "Let NaN through, or raise nlcore.errors.NonFiniteError with the samples.",
        )
    rest = [0, *range(2, BATCH)]
    compare(
        subject, value[rest], clean[rest], "NaN in sample 1 changes the loss of other samples", "Keep samples apart."
    )


def _expect_refusal(subject: Subject, prediction: Tensor, target: Any, what: str, remedy: str) -> None:
    try:
        found = subject.value(prediction, target)
    except _ACCEPTED as error:
        _check_message(error, what)
        return
    except Exception as error:
        text = " ".join(str(error).split())
        fail(f"{what} raised {type(error).__name__} from within ({text[:160]})", remedy)
    result = f"shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    fail(f"{what} was accepted and gave {result}", remedy)


def _check_message(error: Exception, what: str) -> None:
    text = str(error).strip()
    if len(text.split()) < 3:
        fail(
            f"{what} raised {type(error).__name__} with the message {text!r}",
            "Say what was wrong, with the values, and what to do.",
        )


def _mapped(target: Any, function: Callable[..., Tensor]) -> Any:
    return pytree.tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, target)


CHECKS = (shape, dtype, device, nan)
