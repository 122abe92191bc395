"""Checks of wrong inputs: they are refused by name, and no result is computed from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.errors import NlcoreError
from nlcore.testing.check import SOUND, check, ensure, fail, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, leaves, mapped, target_of

_ACCEPTED = (NlcoreError, ValueError, TypeError)


@check("errors.shape", requires=SOUND)
def shape(subject: Subject) -> None:
    """A prediction or target of the wrong shape is refused by name, and not broadcast."""
    prediction, target = subject.draw(BATCH)
    event, tensors = list(prediction.shape[1:]), leaves(target_of(target))
    first = mapped(target, lambda t: t[0], everything=True)
    longer = mapped(target, lambda t: t[None], everything=True)
    wrong: dict[str, tuple[Tensor, Any]] = {
        f"a prediction without its batch, {event}": (prediction[0], first),
        f"a prediction with one dimension more, {[1, BATCH, *event]}": (prediction[None], longer),
    }
    for count in (BATCH - 1, 1) if tensors else ():
        fewer = mapped(target, lambda t, count=count: t[:count])
        wrong[f"a batch of {BATCH} predictions and one of {count} targets"] = (prediction, fewer)
    if any(_narrowed(leaf).shape != leaf.shape for leaf in tensors):
        narrow = mapped(target, _narrowed)
        if _broadcasts(subject, prediction, narrow, target):
            wrong["targets whose last dimension is 1, which would be broadcast"] = (prediction, narrow)
    for what, given in wrong.items():
        _expect_refusal(subject, *given, what, "Compare the shapes and raise nlcore.errors.ShapeError with both.")


def _broadcasts(subject: Subject, prediction: Tensor, narrow: Any, target: Any) -> bool:
    """Return whether targets of width 1 are refused, or have the loss of wide ones with equal entries.

    If neither, they are valid targets of another width.
    """
    try:
        found = subject.value(prediction, narrow).detach()
        wide = subject.value(prediction, _filled(target)).detach()
    except Exception:  # whether it is a refusal by name, the check finds out
        return True
    return found.shape != wide.shape or bool(torch.isclose(found, wide, equal_nan=True).any())


def _filled(target: Any) -> Any:
    """Return a target with every leaf's last dimension filled with its first entry."""
    return mapped(target, lambda t: _narrowed(t).expand_as(t))


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


@check(
    "errors.device",
    requires=SOUND,
    when=only_if(lambda subject: bool(leaves(target_of(subject.draw(1)[1]))), "the target holds no tensor"),
)
def device(subject: Subject) -> None:
    """A target on another device is refused by name."""
    prediction, target = subject.draw(BATCH)
    elsewhere = mapped(target, lambda t: t.to("meta"))
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
    ensure(
        not value[1].isfinite(),
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
    except Exception as error:
        text = " ".join(str(error).split())
        fail(f"{what} raised {type(error).__name__} from within ({text[:160]})", remedy)
    else:
        result = f"shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        fail(f"{what} was accepted and gave {result}", remedy)


def _check_message(error: Exception, what: str) -> None:
    text = str(error).strip()
    ensure(
        len(text.split()) >= 3,
        f"{what} raised {type(error).__name__} with the message {text!r}",
        "Say what was wrong, with the values, and what to do.",
    )
