"""Checks of independence: no sample depends on another, on the size of the batch, or on its own index in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.testing.check import SOUND, check, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject

_BEFORE = (*SOUND, "stochastic.declared", "dtype.precision")
_REMEDY = "Use no statistics of the batch and reduce nothing over it: dim=0 belongs to the samples."
_SAME_DRAW = only_if(
    lambda subject: not subject.traits.stochastic, "a stochastic loss draws other numbers for another batch"
)


@check("independence.samples", requires=_BEFORE)
def samples(subject: Subject) -> None:
    """The loss of a sample stays when the other samples change."""
    one, other = subject.draw(BATCH), subject.draw(BATCH, seed=1)
    mixed = pytree.tree_map(lambda a, b: torch.cat([a[:1], b[1:]]) if isinstance(a, Tensor) else a, one, other)
    for name, function in subject.functions():
        before, after = function(*one), function(*mixed)
        compare(
            subject,
            after[:1],
            before[:1],
            f"{name} gives sample 0 another result when the other samples change",
            _REMEDY,
        )


@check("independence.batch_size", requires=_BEFORE, when=_SAME_DRAW)
def batch_size(subject: Subject) -> None:
    """A sample alone has the loss that it has in a batch."""
    prediction, target = subject.draw(BATCH)
    for name, function in subject.functions():
        together = function(prediction, target)
        alone = [function(prediction[i : i + 1], _picked(target, slice(i, i + 1))) for i in range(BATCH)]
        compare(
            subject,
            together,
            torch.cat(alone),
            f"{name} gives a sample another result alone than in a batch of {BATCH}",
            _REMEDY,
        )


@check("independence.permutation", requires=_BEFORE, when=_SAME_DRAW)
def permutation(subject: Subject) -> None:
    """Samples in another order have the same losses in that order."""
    prediction, target = subject.draw(BATCH)
    order = torch.arange(BATCH, device=prediction.device).roll(1)
    for name, function in subject.functions():
        moved = function(prediction[order], _picked(target, order))
        compare(
            subject,
            moved,
            function(prediction, target)[order],
            f"{name} gives samples other results when the batch is put in another order",
            _REMEDY,
        )


def _picked(target: Any, index: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, target)
