"""Padded outputs, for a loss that takes a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject, pulled_back

__all__ = ["CHECKS"]


def _takes_mask(subject: Subject) -> str:
    return "" if subject.traits.takes_mask else "traits.takes_mask is False"


def _example(subject: Subject) -> tuple[Tensor, object, Tensor]:
    prediction, target = subject.draw(BATCH)
    mask = torch.zeros_like(prediction, dtype=torch.bool)
    mask.reshape(BATCH, -1)[:, -1] = True
    return prediction, target, mask


@check("mask.nothing", requires=SOUND, when=_takes_mask)
def nothing(subject: Subject) -> None:
    """A mask that is False everywhere changes nothing."""
    prediction, target, mask = _example(subject)
    found = subject.value(prediction, target, mask=torch.zeros_like(mask))
    wanted = subject.value(prediction, target)
    compare(subject, found, wanted, "a mask without padding changes the loss", "True marks padding, False counts.")


@check("mask.padding", requires=("mask.nothing",), when=_takes_mask)
def padding(subject: Subject) -> None:
    """What stands at a padded output has no influence, and gets no gradient."""
    prediction, target, mask = _example(subject)
    before = subject.value(prediction, target, mask=mask)
    moved = torch.where(mask, prediction + 3.0 * prediction.abs().max(), prediction)
    after = subject.value(moved, target, mask=mask)
    compare(subject, after, before, "the loss depends on a padded output", "Leave out outputs where mask is True.")
    leaf = prediction.requires_grad_()
    gradient = pulled_back(subject.value(leaf, target, mask=mask).sum(), leaf)
    if bool(gradient[mask].any()):
        fail("a padded output has a gradient", "Leave out outputs where mask is True.")


@check("mask.sample", requires=("mask.padding",), when=_takes_mask)
def sample(subject: Subject) -> None:
    """A sample that is padding throughout has loss 0 and gradient 0, and changes no other."""
    prediction, target, mask = _example(subject)
    before = subject.value(prediction, target, mask=mask)
    mask[0] = True
    leaf = prediction.requires_grad_()
    after = subject.value(leaf, target, mask=mask)
    if bool(after[0] != 0):
        fail(
            f"a sample that is padding throughout has the loss {after[0].item():.6g}",
            "Return 0 for a sample all of whose outputs are padded, and divide by no number of outputs that may be 0.",
        )
    compare(subject, after[1:], before[1:], "a sample that is padding changes another", "Treat samples one by one.")
    slopes = {"gradient": pulled_back(after.sum(), leaf)}
    for method, supplied in (("gradient", subject.supplies_gradient), ("hessian", subject.supplies_hessian)):
        if supplied:
            options = {"mask": mask, "generator": subject.generator()}
            slopes[method] = getattr(subject.algorithm, method)(prediction, target, **options)
    for what, found in slopes.items():
        if bool((found[0] != 0).any()):
            fail(
                f"the {what} of a sample that is padding throughout is not 0",
                "A NaN comes of 0/0, also in a branch that torch.where does not take; put harmless numbers there.",
            )


CHECKS = (nothing, padding, sample)
