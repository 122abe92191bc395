"""Checks of padded outputs, for a loss that takes a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, check, ensure, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject

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
