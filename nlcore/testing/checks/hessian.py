"""The second derivative: what `traits.order`, `hessian` and `traits.psd_hessian` promise."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import difference
from nlcore.testing.checks.quotients import along, directions, mismatch
from nlcore.testing.subject import BATCH, Subject

__all__ = ["CHECKS"]

_BEFORE = (*SOUND, "gradient.graph", "gradient.supplied", "gradient.differences", "shape.supplied", "dtype.precision")
_DRAWS = 3
_LARGEST = 256


def _twice(subject: Subject) -> str:
    if subject.traits.order < 2:
        return f"traits.order is {subject.traits.order}: no second derivative is promised"
    return ""


@check("hessian.order", requires=_BEFORE, when=_twice)
def order(subject: Subject) -> None:
    """A loss of order 2 has a second derivative that is not zero everywhere."""
    for seed in range(_DRAWS):
        prediction, target = subject.draw(BATCH, seed=seed)
        vectors = directions(prediction)
        slope = subject.gradient(prediction, target)
        scale = float(prediction.abs().max()) or 1.0

        def gradient(y: Tensor, target: object = target) -> Tensor:
            return subject.gradient(y, target)

        quotients = along(gradient, prediction, vectors, 1e-4 * scale)
        if float(quotients.abs().max()) * scale > 1e-8 * float(slope.abs().max()):
            return
    fail(
        f"the gradient does not change around any of {_DRAWS * BATCH} samples: the second derivative is 0",
        "A piecewise linear loss sets Traits(order=1), so that no step is taken with an empty Hessian.",
    )


@check("hessian.differences", requires=(*_BEFORE, "hessian.order", "hessian.finite"), when=_twice)
def differences(subject: Subject) -> None:
    """The Hessian, supplied or by autograd, equals central differences of the gradient."""
    if subject.supplies_hessian and subject.traits.stochastic:
        return  # an estimate, of which shape and symmetry alone are known
    for seed in range(2):
        prediction, target = subject.draw(BATCH, seed=seed)
        vectors = directions(prediction)
        rows = _supplied_columns(subject, prediction, target, vectors)
        if rows is None:
            rows = subject.columns(prediction, target, vectors)

        def gradient(y: Tensor, target: object = target) -> Tensor:
            return subject.gradient(y, target)

        if gap := mismatch(subject, gradient, prediction, rows, vectors):
            zero = " It is 0 everywhere." if not bool(rows.any()) else ""
            remedy = (
                "Mend hessian(), or set Traits(order=1) if it is another curvature on purpose."
                if subject.supplies_hessian
                else "Keep what backward() needs as inputs or outputs of the Function, or set Traits(order=1)."
            )
            fail(f"the Hessian is not the derivative of the gradient ({gap} by differences).{zero}", remedy)


def _supplied(subject: Subject) -> str:
    return "" if subject.supplies_hessian else "it supplies no Hessian"


@check("hessian.finite", requires=(*SOUND, "shape.supplied"), when=_supplied)
def finite(subject: Subject) -> None:
    """A supplied Hessian is finite."""
    for seed in range(_DRAWS):
        found = subject.supplied("hessian", *subject.draw(BATCH, seed=seed))
        if not bool(found.isfinite().all()):
            fail("hessian is not finite at the example", "Guard 0/0 and overflow.")


@check("hessian.symmetric", requires=("hessian.finite",), when=_supplied)
def symmetric(subject: Subject) -> None:
    """A supplied Hessian is symmetric."""
    for seed in range(_DRAWS):
        found = subject.supplied("hessian", *subject.draw(BATCH, seed=seed)).detach()
        gap = difference(found, found.mT, subject.rounding * float(found.abs().max()))
        if gap:
            fail(f"hessian is not symmetric ({gap} mirrored)", "Return (H + H.mT) / 2, or look for a swapped index.")


def _promises_convex(subject: Subject) -> str:
    if not subject.traits.psd_hessian:
        return "traits.psd_hessian is False"
    if subject.traits.order < 2 and not subject.supplies_hessian:
        return "it has no second derivative"
    return ""


@check("hessian.convex", requires=("hessian.differences", "hessian.symmetric"), when=_promises_convex)
def convex(subject: Subject) -> None:
    """The Hessian of a loss that promises to be convex is positive semi-definite."""
    for seed in range(2 * _DRAWS):
        prediction, target = subject.draw(BATCH, seed=seed)
        # Away from the example's own scale too: a promise holds everywhere, not near the solution alone.
        point = prediction * (1.0, 3.0, 0.2)[seed % 3]
        matrix = _matrix(subject, point, target)
        values = torch.linalg.eigvalsh(((matrix + matrix.mT) / 2).double())
        low, high = float(values.min()), float(values.abs().max())
        if low < -max(subject.rounding, 1e-7) * max(high, 1e-300):
            sample = int(values.amin(1).argmin())
            fail(
                f"traits.psd_hessian is True, but the Hessian of sample {sample} has the eigenvalue {low:.3g} (the "
                f"largest is {high:.3g})",
                "Set Traits(psd_hessian=False): the engine then repairs negative curvature.",
            )


def _matrix(subject: Subject, prediction: Tensor, target: object) -> Tensor:
    """Return each sample's Hessian; of a large event that of the 16 outputs that are tried elsewhere, too."""
    if subject.supplies_hessian:
        return subject.supplied("hessian", prediction, target).detach()
    size = prediction[0].numel()
    if size > _LARGEST:
        vectors = directions(prediction)
    else:
        vectors = torch.eye(size, dtype=prediction.dtype, device=prediction.device).reshape(size, *prediction.shape[1:])
    columns = subject.columns(prediction, target, vectors).reshape(len(vectors), BATCH, size)
    return torch.einsum("rnm,sm->nrs", columns, vectors.reshape(len(vectors), size))


def _supplied_columns(subject: Subject, prediction: Tensor, target: object, vectors: Tensor) -> Tensor | None:
    if not subject.supplies_hessian:
        return None
    matrix = subject.supplied("hessian", prediction, target).detach()
    rows = torch.einsum("nij,rj->rni", (matrix + matrix.mT) / 2, vectors.reshape(len(vectors), -1))
    return rows.reshape(len(vectors), *prediction.shape)


CHECKS = (order, finite, symmetric, differences, convex)
