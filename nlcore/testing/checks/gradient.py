"""Checks of the gradient: it exists, it is finite, and it is that of the value."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nlcore.errors import NlcoreError
from nlcore.testing.check import SOUND, check, ensure, only_if, trainable
from nlcore.testing.comparison import directions, mismatch
from nlcore.testing.subject import BATCH, Subject, leaves, target_of

_GRAPH = ("gradient.graph", "gradient.supplied")


def _own(subject: Subject) -> str:
    if "gradient" in subject.supplies:
        return "it supplies its gradient"
    return "" if subject.traits.order >= 1 else "traits.order is 0: it has no derivative"


@check("gradient.graph", requires=(*SOUND, "purity.gradients"), when=_own)
def graph(subject: Subject) -> None:
    """The value is connected to the prediction, and its gradient is finite and not all zero."""
    largest = 0.0
    for prediction, target in subject.draws(3):
        ensure(
            subject.value(prediction.clone().requires_grad_(), target).requires_grad,
            "the value has no gradient: it is cut off from the prediction",
            "Take .detach(), .item() and no_grad() out of the way, or set Traits(order=0).",
        )
        gradient = subject.derivative(prediction, target)
        _check_finite(gradient, "the gradient")
        largest = max(largest, float(gradient.abs().max()))
    ensure(
        largest > 0,
        f"the gradient is 0 for all of {3 * BATCH} samples",
        "A loss whose derivative is 0 almost everywhere sets Traits(order=0) and supplies gradient().",
    )


@check(
    "gradient.supplied",
    requires=(*SOUND, "shape.supplied"),
    when=only_if(lambda subject: "gradient" in subject.supplies, "it supplies no gradient"),
)
def supplied(subject: Subject) -> None:
    """A supplied gradient is finite and not all zero."""
    gradients = [subject.gradient(*example) for example in subject.draws(3)]
    for one in gradients:
        _check_finite(one, "gradient")
    ensure(
        any(bool(one.any()) for one in gradients),
        f"gradient is 0 for all of {3 * BATCH} samples",
        "Return the gradient of each sample's loss.",
    )


def _differentiable(subject: Subject) -> str:
    if subject.traits.order < 1:
        return "traits.order is 0: the derivative of the value is not used"
    estimated = "gradient" in subject.supplies and subject.traits.stochastic
    return "a supplied gradient of a stochastic loss is an estimate" if estimated else ""


@check("gradient.differences", requires=(*_GRAPH, "independence.samples", "dtype.precision"), when=_differentiable)
def differences(subject: Subject) -> None:
    """The gradient equals central differences of the value."""
    remedy = (
        "traits.order counts the derivatives of the value: a gradient that is meant to be another sets order=0."
        if "gradient" in subject.supplies
        else "Fix the backward of a Function; look for .detach() and for numbers computed outside of autograd."
    )
    for prediction, target in subject.draws(2):
        vectors = directions(prediction)
        gradient = subject.gradient(prediction, target)
        slopes = torch.einsum("nk,rk->rn", gradient.flatten(1), vectors.flatten(1)) if gradient.ndim > 1 else gradient
        gap = mismatch(
            subject, partial(subject.value, target=target), prediction, slopes.reshape(len(vectors), BATCH), vectors
        )
        ensure(not gap, f"the gradient is not the derivative of the value ({gap} by differences)", remedy)


@check("gradient.ties", requires=_GRAPH, when=trainable)
def ties(subject: Subject) -> None:
    """Value and gradient stay finite where outputs are equal to each other, and where they equal the target."""
    prediction, target = subject.draw(BATCH)
    level = prediction.flatten(1).mean(1) if subject.traits.event_ndim else prediction
    points = {"all outputs of a sample are equal": level.reshape(-1, *[1] * subject.traits.event_ndim)}
    for leaf in leaves(target_of(target)):
        # Where all predictions are positive, a target that is not lies outside of what a network can predict.
        fits = bool((leaf > 0).all()) or not bool((prediction > 0).all())
        if leaf.shape == prediction.shape and leaf.dtype == prediction.dtype and fits:
            points["the prediction equals the target"] = leaf
    for where, y in points.items():
        point = y.expand_as(prediction).contiguous()
        try:
            results = {"value": subject.value(point, target).detach(), "gradient": subject.gradient(point, target)}
        except NlcoreError:
            continue  # refused by name, which is as good
        for name, result in results.items():
            ensure(
                result.isfinite().all(),
                f"the {name} is not finite where {where}",
                "Guard 0/0, sqrt and log at ties: both branches of a torch.where are differentiated.",
            )


def _check_finite(gradient: Tensor, name: str) -> None:
    wrong = [index for index, one in enumerate(gradient) if not bool(one.isfinite().all())]
    ensure(not wrong, f"{name} of samples {wrong} of the example is not finite", "Work in the log domain.")
