"""Checks of the context, for a loss that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.errors import shorten
from nlcore.testing.check import SOUND, InconclusiveError, check, ensure
from nlcore.testing.comparison import difference
from nlcore.testing.subject import BATCH, Subject, TargetInContext

_REDRAWN = 3
"""Further examples whose contexts are tried."""


def _without_context(subject: Subject) -> str:
    if not subject.traits.takes_context:
        return "traits.takes_context is False"
    return "" if getattr(subject.algorithm, "example_context", None) is not None else "it has no example_context"


@check("context.used", requires=(*SOUND, "stochastic.declared"), when=_without_context)
def used(subject: Subject) -> None:
    """Each tensor of the context has an influence on the loss of some sample."""
    prediction, target = subject.draw(BATCH)
    before = _results(subject, prediction, target)
    parts, structure = pytree.tree_flatten_with_path(target.context)
    leaves = [leaf for _, leaf in parts]
    ignored, examined = [], 0
    for index, (path, leaf) in enumerate(parts):
        influences = []
        for changed in _changes(subject, leaf, index):
            context = pytree.tree_unflatten([*leaves[:index], changed, *leaves[index + 1 :]], structure)
            try:
                after = _results(subject, prediction, TargetInContext(target.target, context))
            except Exception:  # a loss may refuse a context that does not fit the rest of the example
                continue
            influences.append(any(_differ(one, other) for one, other in zip(after, before, strict=True)))
            if influences[-1]:
                break
        examined += bool(influences)
        if influences and not any(influences):
            ignored.append(pytree.keystr(path))
    what = f"the part {shorten(ignored)} of the context" if any(ignored) else "the context"
    ensure(
        not ignored,
        f"{what} has no influence: the loss of every sample stays the same when it changes",
        "Use it in the call, or leave it out; let example_context return one with an influence.",
    )
    if not examined:
        raise InconclusiveError("the context of the example holds no tensor that can be changed")


def _changes(subject: Subject, leaf: Any, index: int) -> Iterator[Tensor]:
    """Yield other values of one leaf of the context: those of other samples and other examples, and numbers near it."""
    if not isinstance(leaf, Tensor):
        return
    others = [pytree.tree_leaves(target.context) for _, target in (subject.draw(seed=1 + i) for i in range(_REDRAWN))]
    found = [leaf.roll(1, 0), *(other[index] for other in others if index < len(other))]
    if leaf.is_floating_point():
        noise = torch.rand(leaf.shape, generator=subject.generator(), dtype=leaf.dtype, device=leaf.device)
        found.append(leaf * (1 + 0.3 * noise) + 0.1 * noise)
    for one in found:
        if isinstance(one, Tensor) and one.shape == leaf.shape and one.dtype == leaf.dtype and _differ(one, leaf):
            yield one


def _results(subject: Subject, prediction: Tensor, target: Any) -> list[Tensor]:
    """Return the loss, and its supplied derivatives and parts, at one context."""
    return [function(prediction, target).detach() for _, function in subject.functions()]


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or bool(difference(one, other, 0.0))
