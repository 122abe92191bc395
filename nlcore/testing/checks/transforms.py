"""Checks of the transforms that `traits.transforms` promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.pullbacks import pulled_back
from nlcore.testing.check import check, fail
from nlcore.testing.comparison import compare, directions
from nlcore.testing.subject import BATCH, Subject

_BEFORE = ("gradient.graph", "gradient.supplied", "hessian.differences", "independence.samples")
_REMEDY = "Give the Function setup_context and generate_vmap_rule, or set Traits(transforms='autograd')."


def _func(subject: Subject) -> str:
    if subject.traits.transforms != "func":
        return "traits.transforms is 'autograd'"
    return "" if subject.traits.order >= 1 or "gradient" in subject.supplies else "it has no derivative"


@check("transforms.func", requires=_BEFORE, when=_func)
def func(subject: Subject) -> None:
    """`torch.func` takes gradient and curvature, and they are those of autograd."""
    prediction, target = subject.draw(BATCH)
    vjp: Any = torch.func.vjp

    def gradient(y: Tensor) -> Tensor:
        if "gradient" in subject.supplies:
            return subject.supplied("gradient", y, target)
        value, pull = vjp(lambda x: subject.value(x, target), y)
        return pull(torch.ones_like(value))[0]  # type: ignore[no-any-return]

    try:
        found = gradient(prediction)
        rows = _rows(subject, gradient, prediction)
    except (RuntimeError, NotImplementedError) as error:
        fail(f"torch.func cannot differentiate it: {' '.join(str(error).split())[:300]}", _REMEDY)
    what = "torch.func returns another {} than autograd"
    compare(subject, found, subject.gradient(prediction, target), what.format("gradient"), _REMEDY)
    if rows is not None:
        wanted = subject.columns(prediction, target, directions(prediction))
        compare(subject, rows, wanted, what.format("Hessian"), _REMEDY, tolerance=subject.tolerance * 1e-2)


def _rows(subject: Subject, gradient: Any, prediction: Tensor) -> Tensor | None:
    """Return the curvature that the engine takes of a loss of order 2: the pull-back of the gradient, mapped."""
    if subject.traits.order < 2 or "hessian" in subject.supplies:
        return None
    vjp: Any = torch.func.vjp
    slope, pull = vjp(gradient, prediction)
    vectors = directions(prediction)
    rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(vectors.unsqueeze(1).expand(len(vectors), *slope.shape))
    return rows


def _autograd(subject: Subject) -> str:
    if subject.traits.transforms != "autograd":
        return "traits.transforms is 'func'"
    return "" if subject.traits.order >= 1 else "it has no derivative"


@check("transforms.autograd", requires=_BEFORE, when=_autograd)
def autograd(subject: Subject) -> None:
    """`torch.autograd.grad` works at a prediction that is not a leaf, and twice over one graph."""
    prediction, target = subject.draw(BATCH)
    leaf = prediction.requires_grad_()
    try:
        value = subject.value(leaf * 1.0, target).sum()
        first = pulled_back(value, leaf, retain_graph=True)
        again = pulled_back(value, leaf)
    except RuntimeError as error:
        fail(
            f"autograd.grad fails for a prediction that a network made: {' '.join(str(error).split())[:300]}",
            "Save tensors with ctx.save_for_backward, and change none of them in backward.",
        )
    compare(subject, again, first, "a second backward over one graph differs from the first", "Keep backward pure.")
