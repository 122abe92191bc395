"""From the figures of a diagnosis to a verdict, its reason and what to use: one table, in one function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nlcore.diagnosis.examination import Examination
from nlcore.diagnosis.figures import RHOS
from nlcore.diagnosis.precision import WRONG_ALLOWED

__all__ = ["Advice", "Verdict", "judge"]

Verdict: TypeAlias = Literal[
    "gain",
    "per sample only",
    "only a scale",
    "nothing to gain",
    "undecided",
    "fix the loss first",
    "opaque",
]

_ILL, _ROUND = 10.0, 2.0
"""Running totals of 3 and 4 numbers, condition 16 and 29, gained 20 points; no ranking loss has more than 3."""

_TURNED, _PARALLEL = 0.8, 0.97
_OWN_ILL, _OWN_TURNED = 1000.0, 0.7
_LIMIT = 1.5
_RATIO = 10.0
_PLAIN = "the plain loss"
_CLIPPED = "the plain loss with torch.nn.utils.clip_grad_norm_"


@dataclass(frozen=True, slots=True)
class Advice:
    """A verdict, why, and the expressions to use, the first one first."""

    verdict: Verdict
    reason: str
    use: tuple[str, ...]


def judge(found: Examination) -> Advice:
    """Return the first row that fits.

    | the loss …                                                                  | verdict               |
    |-----------------------------------------------------------------------------|-----------------------|
    | is not finite, or has a wrong float32 gradient, for more than 1 % of samples | `fix the loss first` |
    | has a cut graph, mixes samples, differs between two calls                   | `fix the loss first` |
    | shows no second derivative that could be trusted                            | `opaque`              |
    | has a round mean curvature: condition < 2, or < 10 and cosine > 0.97, and … |                       |
    | … round matrices do not hold for single samples, all convex                 | `undecided`           |
    | … gradients of which one is ten times the median                            | `only a scale`        |
    | … nothing of that                                                           | `nothing to gain`     |
    | is ill-conditioned (> 10), turned (cosine < 0.8); one matrix amplifies      | `per sample only`     |
    | is ill-conditioned and turned; one matrix serves all samples                | `gain`                |
    | lies between                                                                | `undecided`           |

    One matrix amplifies where, at the prediction or further on, even ρ = 0.1 leaves an amplification above 1.5: the
    damping that would bound it takes away most of the gain.
    """
    return _mend(found) or _opaque(found) or _round(found) or _ill(found) or _between(found)


def _mend(found: Examination) -> Advice | None:
    if found.unsound:
        return Advice("fix the loss first", found.unsound, ("the corrected loss, after another diagnosis",))
    precision, remedy = found.precision, "the same loss written with logarithms, then diagnose it again"
    if found.broken > WRONG_ALLOWED:
        reason = f"The loss or its gradient is not finite for {_share(found.broken)} of the samples, in float64."
        return Advice("fix the loss first", reason, (remedy,))
    if precision is None or precision.wrong <= WRONG_ALLOWED:
        return None
    reason = (
        f"In float32 the gradient of {_share(precision.wrong)} of the samples is off by more than 1 % (at most by a "
        f"factor of {precision.gradient_error:.2g}); it is exactly zero for {_share(precision.vanished)} and a "
        f"hundred times too long for {_share(precision.exploding)} of them, where float64 gives other numbers. One "
        f"such step can ruin a run, and no curvature repairs it. Clipping or a Fisher only softens the blow."
    )
    return Advice("fix the loss first", reason, (remedy,))


def _opaque(found: Examination) -> Advice | None:
    if found.further is not None:
        return None
    near = found.here.cosine > _PARALLEL
    reason = (
        f"There is no second derivative to look at, only the Fisher matrix of this batch's gradients: condition "
        f"{found.here.condition:.3g}, cosine of its direction to the gradient {found.here.cosine:.2f}"
        + (", so close that little can come of it. " if near else ". ")
        + "Whether it pays, a short run beside plain training has to say."
    )
    return Advice("opaque", reason, ("nlcore.EmpiricalFisher(damping=nlcore.Relative(1.0))", _PLAIN))


def _round(found: Examination) -> Advice | None:
    here = found.here
    if math.isnan(here.condition):
        reason = "The curvature is zero for every sample that was looked at, so there is nothing to judge by."
        return Advice("undecided", reason, (_PLAIN,))
    if not (here.condition < _ROUND or (here.cosine > _PARALLEL and here.condition <= _ILL)):
        return None
    if not found.whole:
        return None
    if here.own_condition > _OWN_ILL and here.own_cosine < _OWN_TURNED and (here.negative or 0.0) <= 0.01:
        reason = (
            f"The mean curvature is round (condition {here.condition:.3g}), so one matrix for the batch is only a "
            f"scale. The samples' own matrices are not (median condition {here.own_condition:.3g}): steps with "
            f"those turn by a cosine of {here.own_cosine:.2f}. Only a short run decides whether that helps."
        )
        return Advice("undecided", reason, (_per_sample(found.name), _PLAIN))
    alike = f"The mean curvature is round (condition {here.condition:.3g}) and its direction is the gradient (cosine "
    alike += f"{here.cosine:.3f}) up to a length"
    if found.gradient_ratio > _RATIO:
        reason = (
            f"{alike}. But the largest gradient of a sample is {found.gradient_ratio:.3g} times the median, so that "
            f"a few samples decide every step: what bounds or evens out their lengths helps, a matrix does not."
        )
        return Advice("only a scale", reason, (_CLIPPED, _per_sample(found.name)))
    adam = "and Adam is invariant to the scale of the gradient. The learning rate matters more than any curvature."
    reason = f"{alike}, {adam}"
    return Advice("nothing to gain", reason, (_PLAIN, _CLIPPED))


def _ill(found: Examination) -> Advice | None:
    here, further = found.here, found.further
    cosine = min(here.cosine, here.own_cosine, further.cosine if further else 1.0)
    if further is None or here.condition <= _ILL or cosine >= _TURNED:
        return None
    ill = f"The curvature is ill-conditioned ({here.condition:.3g}) and its direction turns away from the gradient "
    ill += f"(cosine {cosine:.2f}" + (")" if cosine == here.cosine else f", {here.cosine:.2f} at this prediction)")
    strength = RHOS.index(0.1)
    worst = max(here.amplification[strength], further.amplification[strength])
    if worst > _LIMIT:
        reason = (
            f"{ill}, but it differs from sample to sample: with one matrix for the batch at ρ = 0.1 the amplification "
            f"is {here.amplification[strength]:.2f} here and {further.amplification[strength]:.2f} where the "
            f"targets lead, above the {_LIMIT} that training stands. Each sample needs its own matrix; clipping was "
            f"seen to come close."
        )
        return Advice("per sample only", reason, (_per_sample(found.name), _CLIPPED))
    reason = f"{ill}, and one matrix serves the whole batch (amplification at most {worst:.2f} at ρ = 0.1)."
    use: tuple[str, ...] = (_bounded(found.name),)
    if here.alike and further.alike:
        reason += (
            " It is the same for all samples, as of a fixed linear algorithm. There the Fisher gained more still on "
            "running totals with clean targets, and far less on a double integrator: nothing measured here separates "
            "the two, so try both. Noisy targets want more damping."
        )
        use = (*use, "nlcore.EmpiricalFisher(damping=nlcore.Relative(0.1))")
    return Advice("gain", reason, use)


def _between(found: Examination) -> Advice:
    here = found.here
    reason = (
        f"A condition of {here.condition:.3g} with a cosine of {here.cosine:.2f} lies between what was seen to gain "
        f"(above {_ILL:.0f}, below {_TURNED}) and what was seen not to (below {_ROUND:.0f}, or above {_PARALLEL})."
    )
    if not found.whole:
        reason += " It was taken on some of the outputs, so that the true condition is larger."
    return Advice("undecided", reason, (_bounded(found.name), _PLAIN))


def _bounded(name: str) -> str:
    return f"nlcore.{name}(damping=nlcore.Bounded(), normalize=True)"


def _per_sample(name: str) -> str:
    return f'nlcore.{name}(damping=nlcore.Relative(0.01), aggregate="sample", normalize=True)'


def _share(part: float) -> str:
    return f"{100 * part:.3g} %"
