"""The gradient: it is there, it is finite, and it is that of the value."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import NlcoreError
from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.quotients import directions, mismatch
from nlcore.testing.subject import BATCH, Subject, leaves

__all__ = ["CHECKS"]

_GRAPH = ("gradient.graph", "gradient.supplied")


def _own(subject: Subject) -> str:
    if subject.supplies_gradient:
        return "it supplies its gradient"
    return "" if subject.traits.order >= 1 else "traits.order is 0: it has no derivative"


@check("gradient.graph", requires=(*SOUND, "purity.gradients"), when=_own)
def graph(subject: Subject) -> None:
    """The value is connected to the prediction, and its gradient is finite and not all zero."""
    largest = 0.0
    for seed in range(3):
        prediction, target = subject.draw(BATCH, seed=seed)
        leaf = prediction.requires_grad_()
        value = subject.value(leaf, target)
        if not value.requires_grad:
            fail(
                "the value has no gradient: it is cut off from the prediction",
                "Take .detach(), .item() and no_grad() out of the way, or set Traits(order=0).",
            )
        found = subject.derivative(leaf, target)
        _check_finite(found, "the gradient")
        largest = max(largest, float(found.abs().max()))
    if largest == 0:
        fail(
            f"the gradient is 0 for all of {3 * BATCH} samples",
            "A loss whose derivative says nothing sets Traits(order=0) and supplies gradient().",
        )


def _supplied(subject: Subject) -> str:
    return "" if subject.supplies_gradient else "it supplies no gradient"


@check("gradient.supplied", requires=(*SOUND, "shape.supplied"), when=_supplied)
def supplied(subject: Subject) -> None:
    """A supplied gradient is finite and not all zero."""
    found = [subject.supplied("gradient", *subject.draw(BATCH, seed=seed)).detach() for seed in range(3)]
    for one in found:
        _check_finite(one, "gradient")
    if all(not bool(one.any()) for one in found):
        fail(f"gradient is 0 for all of {3 * BATCH} samples", "Return the gradient of each sample's loss.")


def _differentiable(subject: Subject) -> str:
    if subject.traits.order < 1:
        return "traits.order is 0: the derivative of the value says nothing"
    if subject.supplies_gradient and subject.traits.stochastic:
        return "a supplied gradient of a stochastic loss is an estimate"
    return ""


@check(
    "gradient.differences",
    requires=(*_GRAPH, "independence.samples", "dtype.precision"),
    when=_differentiable,
)
def differences(subject: Subject) -> None:
    """The gradient equals central differences of the value."""
    for seed in range(2):
        prediction, target = subject.draw(BATCH, seed=seed)
        vectors = directions(prediction)
        gradient = subject.gradient(prediction, target)
        slopes = torch.einsum("nk,rk->rn", gradient.flatten(1), vectors.flatten(1)) if gradient.ndim > 1 else gradient
        slopes = slopes.reshape(len(vectors), BATCH)

        def value(y: Tensor, target: object = target) -> Tensor:
            return subject.value(y, target)

        if gap := mismatch(subject, value, prediction, slopes, vectors):
            remedy = (
                "traits.order counts the derivatives of the value: a gradient that is meant to be another sets order=0."
                if subject.supplies_gradient
                else "Mend the backward of a Function; look for .detach() and for numbers computed outside of autograd."
            )
            fail(f"the gradient is not the derivative of the value ({gap} by differences)", remedy)


def _has_ties(subject: Subject) -> str:
    if subject.traits.order < 1 and not subject.supplies_gradient:
        return "it has no gradient"
    return ""


@check("gradient.ties", requires=_GRAPH, when=_has_ties)
def ties(subject: Subject) -> None:
    """Value and gradient stay finite where outputs are equal to each other, and where they equal the target."""
    prediction, target = subject.draw(BATCH)
    level = prediction.flatten(1).mean(1) if subject.traits.event_ndim else prediction
    places = {"all outputs of a sample are equal": level.reshape(-1, *[1] * subject.traits.event_ndim)}
    for leaf in leaves(target):
        # Where all predictions are positive, a target that is not lies outside of what a network can predict.
        fits = bool((leaf > 0).all()) or not bool((prediction > 0).all())
        if leaf.shape == prediction.shape and leaf.dtype == prediction.dtype and fits:
            places["the prediction equals the target"] = leaf
    for where, y in places.items():
        point = y.expand_as(prediction).contiguous()
        try:
            value, gradient = subject.value(point, target).detach(), subject.gradient(point, target)
        except NlcoreError:
            continue  # refused by name, which is as good
        if not bool(value.isfinite().all() and gradient.isfinite().all()):
            what = "the gradient" if bool(value.isfinite().all()) else "the value"
            fail(
                f"{what} is not finite where {where}",
                "Guard 0/0, sqrt and log at ties: both branches of a torch.where are differentiated.",
            )


def _check_finite(gradient: Tensor, name: str) -> None:
    wrong = ~gradient.isfinite().flatten(1).all(1) if gradient.ndim > 1 else ~gradient.isfinite()
    if bool(wrong.any()):
        fail(f"{name} of sample {int(wrong.nonzero()[0])} of the example is not finite", "Work in the log domain.")


CHECKS = (graph, supplied, differences, ties)
