"""Checks of a curvature that is supplied by its structure: products, trace and solves are those of the matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlcore.testing.check import SOUND, check, ensure, only_if
from nlcore.testing.comparison import difference
from nlcore.testing.subject import Subject

_OPERATOR = only_if(lambda subject: "operator" in subject.supplies, "it supplies no curvature operator")

_BOUND = 1e-8
_SHIFT = 0.1
"""λ of the solves, as a share of tr C/m."""


@check("operator.matrix", requires=(*SOUND, "hessian.differences"), when=_OPERATOR)
def matrix(subject: Subject) -> None:
    """The operator is the curvature of every sample, by products, trace and largest eigenvalue."""
    found = _operator(subject)
    if found is None:
        return
    operator, wanted = found
    size = float(wanted.abs().max())
    formed = operator.matvec(torch.eye(len(wanted[0]), dtype=wanted.dtype, device=wanted.device))
    for one in wanted:
        gap = difference(formed, one, _BOUND * size)
        ensure(not gap, f"curvature_operator is not the curvature ({gap})", "Correct matvec, or return None.")
    trace = float(wanted[0].trace())
    ensure(
        abs(operator.trace - trace) <= _BOUND * abs(trace),
        f"the operator's trace is {operator.trace:.6g}, and that of the curvature {trace:.6g}",
        "Give the trace of the whole matrix.",
    )
    largest = float(torch.linalg.eigvalsh(wanted[0])[-1])
    ensure(
        operator.largest >= largest * (1 - _BOUND),
        f"the operator's largest eigenvalue is {operator.largest:.6g}, and that of the curvature {largest:.6g}",
        "Give the largest eigenvalue or a bound above it.",
    )


@check("operator.solve", requires=("operator.matrix",), when=_OPERATOR)
def solve(subject: Subject) -> None:
    """The solves are (C + λI)^(−κ) for every power that the operator supports."""
    found = _operator(subject)
    if found is None:
        return
    operator, wanted = found
    values, vectors = torch.linalg.eigh(wanted[0])
    damping = torch.as_tensor(_SHIFT * operator.trace / len(values), dtype=wanted.dtype, device=wanted.device)
    unit = torch.eye(len(values), dtype=wanted.dtype, device=wanted.device)
    ensure(operator.supports(1.0), "the operator does not support the power 1", "The Newton step is needed always.")
    for power in (1.0, 0.5, 0.3):
        if operator.supports(power):
            expected = (vectors * (values + damping) ** -power) @ vectors.mT
            gap = difference(operator.solve(unit, damping, power), expected, _BOUND * float(expected.abs().max()))
            ensure(not gap, f"solve is not (C + λI)^(−{power:g}) ({gap})", "Correct solve, or supports().")


def _operator(subject: Subject) -> tuple[Any, Tensor] | None:
    """Return the operator and the curvature matrices [batch, m, m] at the example; `None` without an operator there."""
    prediction, target = subject.draw(2)
    operator = subject.algorithm.curvature_operator(prediction)
    if operator is None:
        return None
    size, event = prediction[0].numel(), prediction.shape[1:]
    unit = torch.eye(size, dtype=prediction.dtype, device=prediction.device).reshape(size, *event)
    columns = subject.columns(prediction, target, unit).reshape(size, len(prediction), size)
    return operator, columns.transpose(0, 1).double()
