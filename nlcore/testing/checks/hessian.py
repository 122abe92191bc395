"""Checks of the second derivative, which `traits.order`, `hessian` and `traits.psd_hessian` promise."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, check, ensure, fail, only_if
from nlcore.testing.comparison import along, difference, directions, mismatch
from nlcore.testing.subject import BATCH, Subject

_BEFORE = (*SOUND, "gradient.graph", "gradient.supplied", "gradient.differences", "shape.supplied", "dtype.precision")
_DRAWS = 3
_LARGEST = 256

_TWICE = only_if(lambda subject: subject.traits.order >= 2, "traits.order is below 2: no second derivative is promised")
_SUPPLIED = only_if(lambda subject: "hessian" in subject.supplies, "it supplies no Hessian")


@check("hessian.order", requires=_BEFORE, when=_TWICE)
def order(subject: Subject) -> None:
    """A loss of order 2 has a second derivative that is not zero everywhere."""
    for prediction, target in subject.draws(_DRAWS):
        slope = subject.gradient(prediction, target)
        scale = float(prediction.abs().max()) or 1.0
        quotients = along(partial(subject.gradient, target=target), prediction, directions(prediction), 1e-4 * scale)
        if float(quotients.abs().max()) * scale > 1e-8 * float(slope.abs().max()):
            return
    fail(
        f"the gradient does not change around any of {_DRAWS * BATCH} samples: the second derivative is 0",
        "A piecewise linear loss sets Traits(order=1), so that no step is taken with an empty Hessian.",
    )


@check("hessian.finite", requires=(*SOUND, "shape.supplied"), when=_SUPPLIED)
def finite(subject: Subject) -> None:
    """A supplied Hessian is finite."""
    for example in subject.draws(_DRAWS):
        matrix = subject.supplied("hessian", *example)
        ensure(matrix.isfinite().all(), "hessian is not finite at the example", "Guard 0/0 and overflow.")


@check("hessian.symmetric", requires=("hessian.finite",), when=_SUPPLIED)
def symmetric(subject: Subject) -> None:
    """A supplied Hessian is symmetric."""
    for example in subject.draws(_DRAWS):
        matrix = subject.supplied("hessian", *example).detach()
        gap = difference(matrix, matrix.mT, subject.rounding * float(matrix.abs().max()))
        ensure(
            not gap, f"hessian is not symmetric ({gap} mirrored)", "Return (H + H.mT) / 2, or look for a swapped index."
        )


@check("hessian.differences", requires=(*_BEFORE, "hessian.order", "hessian.finite"), when=_TWICE)
def differences(subject: Subject) -> None:
    """The Hessian, supplied or by autograd, equals central differences of the gradient."""
    if "hessian" in subject.supplies and subject.traits.stochastic:
        return  # an estimate, of which only shape and symmetry can be checked
    remedy = (
        "Fix hessian(), or set Traits(order=1) if it is another curvature on purpose."
        if "hessian" in subject.supplies
        else "Keep what backward() needs as inputs or outputs of the Function, or set Traits(order=1)."
    )
    for prediction, target in subject.draws(2):
        vectors = directions(prediction)
        if "hessian" in subject.supplies:
            matrix = subject.supplied("hessian", prediction, target).detach()
            rows = torch.einsum("nij,rj->rni", (matrix + matrix.mT) / 2, vectors.reshape(len(vectors), -1))
            rows = rows.reshape(len(vectors), *prediction.shape)
        else:
            rows = subject.columns(prediction, target, vectors)
            ensure(
                rows.isfinite().all(),
                "at the example, autograd gives a second derivative that is not finite",
                "Guard 0/0, sqrt and log: both branches of a torch.where are differentiated.",
            )
        gap = mismatch(subject, partial(subject.gradient, target=target), prediction, rows, vectors)
        zero = "" if bool(rows.any()) else " It is 0 everywhere."
        ensure(not gap, f"the Hessian is not the derivative of the gradient ({gap} by differences).{zero}", remedy)


def _promises_psd(subject: Subject) -> str:
    if not subject.traits.psd_hessian:
        return "traits.psd_hessian is False"
    return "" if subject.traits.order >= 2 or "hessian" in subject.supplies else "it has no second derivative"


@check("hessian.convex", requires=("hessian.differences", "hessian.symmetric"), when=_promises_psd)
def convex(subject: Subject) -> None:
    """The Hessian of a loss that promises it is positive semi-definite."""
    for seed, (prediction, target) in enumerate(subject.draws(2 * _DRAWS)):
        # Away from the example's own scale too: a promise holds everywhere, not near the solution alone.
        sample, low, high = lowest_eigenvalue(_matrix(subject, prediction * (1.0, 3.0, 0.2)[seed % 3], target))
        ensure(
            low >= -max(subject.rounding, 1e-7) * max(high, 1e-300),
            f"traits.psd_hessian is True, but the Hessian of sample {sample} has the eigenvalue {low:.3g} (the "
            f"largest is {high:.3g})",
            "Set Traits(psd_hessian=False): the engine then repairs negative curvature.",
        )


@check(
    "hessian.constant",
    requires=("hessian.differences", "hessian.symmetric"),
    when=only_if(lambda subject: subject.traits.constant_curvature, "traits.constant_curvature is False"),
)
def constant(subject: Subject) -> None:
    """A loss that promises constant curvature has one Hessian for all samples, predictions and targets."""
    if subject.traits.order < 2 and "hessian" not in subject.supplies:
        return
    first: Tensor | None = None
    for seed, (prediction, target) in enumerate(subject.draws(_DRAWS)):
        matrix = _matrix(subject, prediction * (1.0, 3.0, 0.2)[seed], target)
        first = matrix[:1] if first is None else first
        gap = difference(matrix, first.expand_as(matrix), subject.tolerance * 1e-1 * float(first.abs().max()))
        ensure(
            not gap,
            f"traits.constant_curvature is True, but the Hessian changes with sample, prediction or target ({gap} of "
            f"the first sample)",
            "Set Traits(constant_curvature=False): the engine otherwise takes the matrix of the first batch for good.",
        )


def lowest_eigenvalue(matrix: Tensor) -> tuple[int, float, float]:
    """Return the sample with the lowest eigenvalue of [batch, m, m], that value, and the largest in magnitude."""
    values = torch.linalg.eigvalsh(((matrix + matrix.mT) / 2).detach().double())
    return int(values.amin(1).argmin()), float(values.min()), float(values.abs().max())


def _matrix(subject: Subject, prediction: Tensor, target: object) -> Tensor:
    """Return each sample's Hessian; for a large event only that of the 16 outputs that other checks examine."""
    if "hessian" in subject.supplies:
        return subject.supplied("hessian", prediction, target).detach()
    size, vectors = prediction[0].numel(), directions(prediction)
    if size <= _LARGEST:
        vectors = torch.eye(size, dtype=prediction.dtype, device=prediction.device).reshape(size, *prediction.shape[1:])
    columns = subject.columns(prediction, target, vectors).reshape(len(vectors), BATCH, size)
    return torch.einsum("rnm,sm->nrs", columns, vectors.reshape(len(vectors), size))
