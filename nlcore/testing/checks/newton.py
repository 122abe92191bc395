"""Checks of the Newton step: finite, downhill, and the gradient for a large damping."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nlcore.errors import NlcoreError
from nlcore.newton import (
    Curvature,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    NewtonLoss,
    NewtonStep,
    Relative,
    newton_step,
)
from nlcore.newton.damping import Damping
from nlcore.testing.check import SOUND, check, ensure, fail, trainable
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, context_of, target_of

_BEFORE = (
    *SOUND,
    "gradient.graph",
    "gradient.supplied",
    "hessian.order",
    "hessian.differences",
    "hessian.finite",
    "hessian.symmetric",
    "hessian.convex",
    "gauss_newton.split",
    "gauss_newton.convex",
    "transforms.func",
    "transforms.autograd",
    "independence.samples",
)

_LARGEST = 256


def _curvatures(subject: Subject) -> Iterator[tuple[str, Callable[[Damping], Curvature]]]:
    """Yield every curvature that the loss can supply; of an event so large that no block is formed, the Fisher's."""
    yield "EmpiricalFisher", lambda damping: EmpiricalFisher(damping=damping)
    if subject.draw(1)[0].numel() > _LARGEST:
        return
    if subject.traits.order >= 2 or "hessian" in subject.supplies:
        yield "Hessian", lambda damping: Hessian(damping=damping)
    if "split" in subject.supplies:
        yield "GaussNewton", lambda damping: GaussNewton(damping=damping)


def _step(subject: Subject, curvature: Curvature, *, seed: int = 0) -> NewtonStep:
    prediction, target = subject.draw(BATCH, seed=seed)
    try:
        return newton_step(
            subject.algorithm,
            prediction,
            target_of(target),
            curvature,
            **context_of(target),
            generator=subject.generator(),
            process_group=False,
        )
    except NlcoreError as error:
        fail(f"{curvature} raised {type(error).__name__}: {error}", "Look at value and derivatives at the example.")


@check("newton.finite", requires=_BEFORE, when=trainable)
def finite(subject: Subject) -> None:
    """Every curvature gives a finite direction, for tiny and for huge damping."""
    for name, make in _curvatures(subject):
        for rho in (1e-6, 1.0, 1e6):
            finite = _step(subject, make(Relative(rho))).direction.isfinite().all()
            ensure(
                finite, f"{name}(Relative({rho:g})) gives a direction that is not finite", "Look at its derivatives."
            )


@check("newton.descent", requires=("newton.finite",), when=trainable)
def descent(subject: Subject) -> None:
    """Every curvature gives a direction along which the loss of each sample falls."""
    for name, make in _curvatures(subject):
        for seed in range(2):
            step = _step(subject, make(Relative(0.1)), seed=seed)
            g, d = (one.reshape(BATCH, -1).double() for one in (step.gradient, step.direction))
            cosine = (g * d).sum(1) / (g.norm(dim=1) * d.norm(dim=1)).clamp(min=1e-300)
            sample = int(cosine.argmin())
            ensure(
                cosine[sample] >= -1e-9,
                f"the direction of {name} climbs for sample {sample}: cosine {float(cosine[sample]):.3g} with the "
                "gradient",
                "Look at traits.psd_hessian and at a supplied curvature.",
            )


@check("newton.limit", requires=("newton.finite",), when=trainable)
def limit(subject: Subject) -> None:
    """For a large damping λ, λ times the direction is the gradient."""
    for name, make in _curvatures(subject):
        scale = float(_step(subject, make(Relative(1.0))).stats["mean_curvature"])
        strength = 1e9 * max(scale, 1e-12)
        step = _step(subject, make(strength))
        compare(
            subject,
            step.direction * strength,
            step.gradient,
            f"with {name}(damping={strength:.3g}) λ times the direction is not the gradient",
            "Look at the scale of its curvature.",
            tolerance=1e-4 if subject.widest == torch.float64 else 1e-2,
        )


@check("newton.training", requires=("newton.finite",), when=trainable)
def training(subject: Subject) -> None:
    """`NewtonLoss` reports the mean loss, and its backward pass gives the mean direction to a network."""
    prediction, target = subject.draw(BATCH)
    weight: Tensor = torch.ones((), dtype=prediction.dtype, device=prediction.device, requires_grad=True)
    criterion = NewtonLoss(subject.algorithm, generator=subject.generator(), process_group=False)
    output = prediction * weight
    output.retain_grad()
    loss = criterion(output, target_of(target), **context_of(target))
    loss.backward()
    wanted = subject.value(prediction, target).mean()
    compare(subject, loss.reshape(1), wanted.reshape(1), "NewtonLoss reports another value", "Return the loss itself.")
    received = output.grad
    if received is None or weight.grad is None or not bool(received.isfinite().all()):
        fail("no finite gradient reached the network", "Look at the derivatives of the loss.")
    if criterion.last_step is not None:
        what, direction = "the network receives a gradient other than the mean direction", criterion.last_step.direction
        compare(subject, received * BATCH, direction, what, "Look at the derivatives.", tolerance=1e-6)
