"""Checks of padded outputs, for a loss that takes a mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, InconclusiveError, check, ensure, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, leaves, mapped, target_of

_TAKES_MASK = only_if(lambda subject: subject.traits.takes_mask, "traits.takes_mask is False")
_LEAVE_OUT = "Leave out outputs where mask is True."


def _example(subject: Subject) -> tuple[Tensor, object, Tensor]:
    prediction, target = subject.draw(BATCH)
    mask = torch.zeros_like(prediction, dtype=torch.bool)
    mask.reshape(BATCH, -1)[:, -1] = True
    return prediction, target, mask


@check("mask.nothing", requires=SOUND, when=_TAKES_MASK)
def nothing(subject: Subject) -> None:
    """A mask that is False everywhere changes nothing."""
    prediction, target, mask = _example(subject)
    found = subject.value(prediction, target, mask=torch.zeros_like(mask))
    wanted = subject.value(prediction, target)
    compare(subject, found, wanted, "a mask without padding changes the loss", "True marks padding, False counts.")


@check("mask.padding", requires=("mask.nothing",), when=_TAKES_MASK)
def padding(subject: Subject) -> None:
    """The content of a padded output has no influence, and gets no derivative."""
    prediction, target, mask = _example(subject)
    before = subject.value(prediction, target, mask=mask)
    moved = torch.where(mask, prediction + 3.0 * prediction.abs().max(), prediction)
    after = subject.value(moved, target, mask=mask)
    compare(subject, after, before, "the loss depends on a padded output", _LEAVE_OUT)
    if "split" in subject.supplies:
        composed = subject.composed(moved, target, mask=mask)
        what, tolerance = "outer(inner(prediction), target) depends on a padded output", subject.tolerance * 1e-2
        compare(subject, composed, before, what, _LEAVE_OUT, tolerance=tolerance)
    for name, derivative in _derivatives(subject, prediction, target, mask).items():
        if name != "hessian":
            ensure(not derivative[mask].any(), f"a padded output has a {name}", _LEAVE_OUT)


@check("mask.nan", requires=("mask.padding",), when=_TAKES_MASK)
def nan(subject: Subject) -> None:
    """NaN at a padded output, of the prediction or of a target of its shape, has no influence."""
    prediction, target, mask = _example(subject)
    before = subject.value(prediction, target, mask=mask)
    held = leaves(target_of(target))
    spoilt: dict[str, tuple[Tensor, Any]] = {"prediction": (prediction.masked_fill(mask, torch.nan), target)}
    if any(one.shape == mask.shape and one.is_floating_point() for one in held):
        spoilt["target"] = (prediction, mapped(target, lambda t: _with_nan(t, mask)))
    for what, given in spoilt.items():
        after = subject.value(*given, mask=mask)
        derivative = subject.derivative(*given, mask=mask)
        remedy = "Replace it before the computation, as by masked_fill(mask, 0.0); NaN times zero is NaN."
        compare(subject, after, before, f"NaN at a padded output of the {what} changes the loss", remedy)
        sound = derivative.isfinite().all() and not derivative[mask].any()
        ensure(sound, f"NaN at a padded output of the {what} spoils the derivative", remedy)


@check("mask.shorter", requires=("mask.padding",), when=_TAKES_MASK)
def shorter(subject: Subject) -> None:
    """The loss of a padded sample is that of the shorter sample, where the targets have the shape of the prediction."""
    prediction, target, mask = _example(subject)
    held = leaves(target_of(target))
    if prediction.ndim != 2 or subject.traits.takes_context or any(one.shape != mask.shape for one in held):
        raise InconclusiveError("prediction and target cannot both be cut")
    padded = subject.value(prediction, target, mask=mask)
    try:
        cut = subject.value(prediction[:, :-1], mapped(target, lambda t: t[:, :-1]))
    except Exception as error:  # the cut target may be invalid, such as a permutation that lacks an entry
        raise InconclusiveError(f"the cut sample is refused with {type(error).__name__}") from error
    compare(
        subject,
        padded,
        cut,
        "the loss of a sample with a padded output is not that of the sample without it",
        f"{_LEAVE_OUT} A mean is over the outputs that are not padded.",
    )


@check("mask.sample", requires=("mask.padding",), when=_TAKES_MASK)
def sample(subject: Subject) -> None:
    """A sample that is padding throughout has loss 0 and gradient 0, and changes no other."""
    prediction, target, mask = _example(subject)
    before = subject.value(prediction, target, mask=mask)
    mask[0] = True
    after = subject.value(prediction, target, mask=mask)
    ensure(
        after[0] == 0,
        f"a sample that is padding throughout has the loss {after[0].item():.6g}",
        "Return 0 for a sample all of whose outputs are padded, and divide by no number of outputs that may be 0.",
    )
    compare(subject, after[1:], before[1:], "a sample that is padding changes another", "Treat samples one by one.")
    for name, derivative in _derivatives(subject, prediction, target, mask).items():
        ensure(
            not (derivative[0] != 0).any(),
            f"the {name} of a sample that is padding throughout is not 0",
            "A NaN comes of 0/0, also in a branch that torch.where does not take; put harmless numbers there.",
        )


def _derivatives(subject: Subject, prediction: Tensor, target: object, mask: Tensor) -> dict[str, Tensor]:
    """Return the derivative of the value [batch, *event], and the supplied ones, [batch, *event] or [batch, m, m]."""
    supplied = [name for name in subject.methods if name != "__call__"]
    own = {name: subject.supplied(name, prediction, target, mask=mask).detach() for name in supplied}
    return {"derivative": subject.derivative(prediction, target, mask=mask), **own}


def _with_nan(leaf: Tensor, mask: Tensor) -> Tensor:
    """Return a tensor of the target with NaN at padded outputs, if it has the shape of the prediction."""
    return leaf.masked_fill(mask, torch.nan) if leaf.shape == mask.shape and leaf.is_floating_point() else leaf
