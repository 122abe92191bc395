"""Samples are independent: none sees another, the size of the batch, or its own place in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.testing.check import SOUND, check
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject

__all__ = ["CHECKS"]

_BEFORE = (*SOUND, "stochastic.declared", "dtype.precision")
_REMEDY = "Use no statistics of the batch and reduce nothing over it: dim=0 belongs to the samples."


def _deterministic(subject: Subject) -> str:
    return "a stochastic loss draws other numbers for another batch" if subject.traits.stochastic else ""


@check("independence.samples", requires=_BEFORE)
def samples(subject: Subject) -> None:
    """The loss of a sample stays when the other samples change."""
    one, other = subject.draw(BATCH), subject.draw(BATCH, seed=1)
    mixed = pytree.tree_map(_with_first_of, one, other)
    for name, function in subject.functions():
        before, after = function(*one), function(*mixed)
        what = f"{name} gives sample 0 another result when the other samples change"
        compare(subject, after[:1], before[:1], what, _REMEDY)


@check("independence.batch_size", requires=_BEFORE, when=_deterministic)
def batch_size(subject: Subject) -> None:
    """A sample alone has the loss that it has in a batch."""
    prediction, target = subject.draw(BATCH)
    for name, function in subject.functions():
        together = function(prediction, target)
        alone = [function(prediction[i : i + 1], _picked(target, slice(i, i + 1))) for i in range(BATCH)]
        what = f"{name} gives a sample another result alone than in a batch of {BATCH}"
        compare(subject, together, torch.cat(alone), what, _REMEDY)


@check("independence.permutation", requires=_BEFORE, when=_deterministic)
def permutation(subject: Subject) -> None:
    """Samples in another order have the same losses in that order."""
    prediction, target = subject.draw(BATCH)
    order = torch.arange(BATCH, device=prediction.device).roll(1)
    for name, function in subject.functions():
        moved = function(prediction[order], _picked(target, order))
        what = f"{name} gives samples other results when the batch is put in another order"
        compare(subject, moved, function(prediction, target)[order], what, _REMEDY)


def _with_first_of(first: Any, rest: Any) -> Any:
    """Return the samples of `rest`, but for the first one."""
    return torch.cat([first[:1], rest[1:]]) if isinstance(first, Tensor) else first


def _picked(target: Any, index: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, target)


CHECKS = (samples, batch_size, permutation)
