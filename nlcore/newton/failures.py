"""Outcomes of a Newton step: values that travel on the device with the data, and their messages."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from nlcore.errors import NonFiniteError, SingularCurvatureError, shorten
from nlcore.evaluation import finite_rows, per_sample

if TYPE_CHECKING:
    from nlcore.newton.problem import Problem

__all__ = ["SOLVED", "Result", "raise_nonfinite", "raise_unsolved"]


class Result(IntEnum):
    """Outcome of the step of one sample, ordered by severity."""

    ok = 0
    """The damped curvature is positive definite, so the solution of the system is a descent direction."""
    indefinite = 1
    """The damped curvature has negative eigenvalues: it was solved as it is, the direction may point uphill."""
    singular = 2
    """The damped curvature has no inverse in the working precision."""
    nonfinite = 3
    """The prediction, the loss or one of its derivatives is NaN or infinite."""


SOLVED = Result.indefinite.value
"""A sample whose code is at most this has a direction."""


def raise_nonfinite(problem: Problem, usable: Tensor) -> NoReturn:
    """Refuse samples that are not finite.

    Args:
        problem: The loss and the prediction.
        usable: [N] bool, which samples have a finite prediction, loss and gradient.

    Raises:
        NonFiniteError: Some sample is not finite; the message names the samples, and whether the network, the target or
            the loss is at fault.
    """
    name, finite = problem.loss.name, finite_rows(problem.prediction, problem.samples.keep)
    after = "With on_failure='fallback' such samples take no step and are counted."
    if not bool(finite.all()):
        what, wrong = "the prediction is NaN or infinite", ~finite
        remedy = "Look at the network and at its inputs, and leave such samples out of the batch."
        after = (
            "With on_failure='fallback' the direction of such samples is 0, but in the backward pass of the network "
            "0 · NaN is NaN."
        )
    elif missing := int((_lacks_target(problem) & ~usable).sum()):
        what, wrong = "the loss or its gradient is NaN or infinite", ~usable
        remedy = (
            f"The target is NaN or infinite in {missing} of them. If this is padding, give a mask, True at padded "
            f"outputs; a loss of your own has to leave them out by masked_fill, as 0 · NaN is NaN."
        )
    else:
        what = "the loss or its gradient is NaN or infinite, at predictions that are finite,"
        wrong = ~usable
        largest = float(problem.samples.kept(problem.prediction)[wrong].nan_to_num().abs().max())
        remedy = (
            f"The loss fails there. The largest of these predictions is {largest:.3g}: if predictions have grown, the "
            f"training has diverged, and a lower learning rate helps."
        )
    samples = wrong.nonzero().flatten().tolist()
    raise NonFiniteError(
        f"{name}: {what} in {len(samples)} of {finite.shape[0]} samples: {shorten(samples)}. {remedy} {after}", samples
    )


def _lacks_target(problem: Problem) -> Tensor:
    """Return which samples have a target that is NaN or infinite, [N] bool.

    Padded outputs count in a plain function, which may multiply them by 0, and not in an `AlgorithmicLoss`.
    """
    target, mask = problem.evaluation.target, problem.evaluation.mask
    if not isinstance(target, Tensor) or target.shape[:1] != problem.prediction.shape[:1]:
        return problem.prediction.new_zeros(problem.prediction.shape[0], dtype=torch.bool)
    wrong = ~target.isfinite()
    if mask is not None and problem.loss.declared and mask.shape == target.shape:
        wrong &= ~mask
    return per_sample(wrong).any(dim=1)


def raise_unsolved(
    problem: Problem, codes: Tensor, strength: Tensor, condition: Tensor, null_space: tuple[int, int]
) -> NoReturn:
    """Refuse directions that failed.

    Args:
        problem: The loss.
        codes: [N] int8, a `Result` each.
        strength: λ.
        condition: The estimated condition of C + λI.
        null_space: The dimension that the null space of C is known to have, and the size of C.

    Raises:
        NonFiniteError: A curvature or direction is NaN or infinite.
        SingularCurvatureError: The damped curvature has no inverse.
    """
    name, worst = problem.loss.name, int(codes.max())
    samples = (codes == worst).nonzero().flatten().tolist()
    where = f"for {len(samples)} of {codes.shape[0]} samples: {shorten(samples)}"
    damping = f"{float(strength.max()):.3g}"
    if worst == Result.nonfinite.value:
        raise NonFiniteError(
            f"{name}: the curvature or the direction is NaN or infinite {where} (λ = {damping}). Use "
            f"nlcore.EmpiricalFisher(), which needs no second derivative, or on_failure='fallback' to take the plain "
            f"gradient there.",
            samples,
        )
    estimate = float(condition.max()) if condition.numel() else math.nan
    null, (dimension, size) = "", null_space
    if dimension:
        null = (
            f" The curvature has a null space of dimension {dimension} of {size}, along which the loss does not bend; "
            f"with damping the step is finite there."
        )
    raise SingularCurvatureError(
        f"{name}: the curvature plus λ = {damping} is singular (condition about {estimate:.1e}) {where}.{null} "
        f"Increase the damping, for example damping=nlcore.Relative(0.1); a loss that does not change when all "
        f"outputs shift always needs some.",
        samples,
    )
