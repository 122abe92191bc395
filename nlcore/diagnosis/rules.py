"""From the figures of a diagnosis to a verdict, its reason and what to use: one table for each aim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nlcore.diagnosis.examination import Examination
from nlcore.diagnosis.figures import RHOS
from nlcore.diagnosis.precision import WRONG_ALLOWED

__all__ = ["Advice", "Verdict", "judge_loss", "judge_outputs"]

Verdict: TypeAlias = Literal[
    "gain",
    "per sample only",
    "only a scale",
    "nothing to gain",
    "not determined",
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

_FURTHER, _SHORT = 1.1, 0.9
"""Progress from which a direction goes clearly further than the gradient, and below which it falls short of it."""

_REALISED = 0.1
"""Cosine below which a network makes little of the samples' own Newton steps; 0.22 to 0.39 where these gained."""

_NOISY = 0.01
"""Damping by cross-validation from which the targets count as noisy: a blur has 0.0001, with 5 % of noise 0.01 and
more. Clean targets of a loss far from quadratic may have 0.1, so that noise decides only where samples differ."""

_FLAT, _MOSTLY_FLAT = 0.1, 0.5
"""Shares of flat directions that are worth a warning, and that leave the outputs open; a blur of 16 pixels has 0.12."""

_LOSS, _OUTPUTS = "nlcore.Auto()", 'nlcore.Auto(aim="outputs")'
_CONTRADICTION = (
    "Steps that are right for single samples then contradict each other in the network, and the result of a single "
    "probe is chance."
)
_PLAIN = "the plain loss"
_CLIPPED = "the plain loss with torch.nn.utils.clip_grad_norm_"


@dataclass(frozen=True, slots=True)
class Advice:
    """A verdict, why, and the expressions to use, the first one first."""

    verdict: Verdict
    reason: str
    use: tuple[str, ...]


def judge_loss(found: Examination) -> Advice:
    """Return the first row that fits, for those who need a low loss.

    | the loss …                                                                  | verdict               |
    |-----------------------------------------------------------------------------|-----------------------|
    | is not finite, or has a wrong float32 gradient, for more than 1 % of samples | `fix the loss first` |
    | has a cut graph, mixes samples, differs between two calls                   | `fix the loss first` |
    | shows no second derivative that could be trusted                            | `opaque`              |
    | has a round mean curvature: condition < 2, or < 10 and cosine > 0.97, and … |                       |
    | … round matrices do not hold for single samples, all convex                 | `undecided`           |
    | … gradients of which one is ten times the median                            | `only a scale`        |
    | … nothing of that                                                           | `nothing to gain`     |
    | is ill-conditioned (> 10), turned (cosine < 0.8), and …                     |                       |
    | … one matrix amplifies at the prediction already                           | `undecided`           |
    | … the network falls short along the samples' own Newton steps               | `undecided`           |
    | … one matrix amplifies further on                                           | `per sample only`     |
    | … one matrix serves all samples                                             | `gain`                |
    | lies between                                                                | `undecided`           |

    One matrix amplifies where even ρ = 0.1 leaves an amplification above 1.5: the damping that would bound it takes
    away most of the gain. Where it does so at the prediction, steps that are right for single samples contradict each
    other in the network, and the result of one probe is chance: on one task the progress was between 0.3 and 1.6,
    by seed. A network falls short where the progress is below 0.9.
    """
    return _fix(found) or _opaque(found, _LOSS) or _round(found, _LOSS) or _ill(found) or _between(found, _LOSS)


def judge_outputs(found: Examination) -> Advice:
    """Return the first row that fits, for those who need the outputs themselves.

    | the loss …                                                                  | verdict               |
    |-----------------------------------------------------------------------------|-----------------------|
    | is faulty, opaque or round                                                  | as for the loss       |
    | is flat for a sample along more than half of the directions                 | `not determined`      |
    | is ill-conditioned (> 10), turned (cosine < 0.8), and …                     |                       |
    | … one matrix amplifies at the prediction already                           | `undecided`           |
    | … the network falls short along the samples' own Newton steps               | `undecided`           |
    | … the network makes little of those steps: cosine < 0.1                     | `undecided`           |
    | … one matrix amplifies further on, and the targets look noisy               | `undecided`           |
    | … nothing of that                                                           | `gain`                |
    | lies between                                                                | `undecided`           |
    """
    return (
        _fix(found)
        or _opaque(found, _OUTPUTS)
        or _round(found, _OUTPUTS)
        or _open(found)
        or _determined(found)
        or _between(found, _OUTPUTS)
    )


def _fix(found: Examination) -> Advice | None:
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


def _opaque(found: Examination, first: str) -> Advice | None:
    if found.further is not None:
        return None
    near = found.here.cosine > _PARALLEL
    reason = (
        f"There is no second derivative to look at, only the Fisher matrix of this batch's gradients: condition "
        f"{found.here.condition:.3g}, cosine of its direction to the gradient {found.here.cosine:.2f}"
        + (", so close that little can come of it. " if near else ". ")
        + "Whether it pays, a short run beside plain training has to say."
    )
    reason += _probed(found) if first == _LOSS else ""
    return Advice("opaque", reason, (first, "nlcore.EmpiricalFisher(damping=nlcore.Relative(1.0))", _PLAIN))


def _round(found: Examination, first: str) -> Advice | None:
    here = found.here
    if math.isnan(here.condition):
        reason = "The curvature is zero for every sample that was looked at, so there is nothing to judge by."
        return Advice("undecided", reason, (first, _PLAIN))
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
        own = _own(found)
        use = (own, _OUTPUTS, _PLAIN) if first == _OUTPUTS else (_LOSS, own, _PLAIN)
        return Advice("undecided", reason + (_probed(found) if first == _LOSS else _flat(found)), use)
    alike = f"The mean curvature is round (condition {here.condition:.3g}) and its direction is the gradient (cosine "
    alike += f"{here.cosine:.3f}) up to a length"
    flat = _flat(found) if first == _OUTPUTS else ""
    if found.gradient_ratio > _RATIO:
        reason = (
            f"{alike}. But the largest gradient of a sample is {found.gradient_ratio:.3g} times the median, so that "
            f"a few samples decide every step: what bounds or evens out their lengths helps, a matrix does not.{flat}"
        )
        return Advice("only a scale", reason, (_CLIPPED, _own(found)))
    adam = "and Adam is invariant to the scale of the gradient. The learning rate matters more than any curvature."
    return Advice("nothing to gain", f"{alike}, {adam}{flat}", (_PLAIN, _CLIPPED))


def _ill(found: Examination) -> Advice | None:
    if not _turned(found):
        return None
    ill, (worst, at), noise = _described(found), _amplified(found), _noise(found, _LOSS)
    if _contradicting(found):
        reason = f"{ill}, and it differs from sample to sample already at this prediction: {at}. {_CONTRADICTION}"
        return Advice("undecided", f"{reason}{noise}{_probed(found)}", (_LOSS, _CLIPPED))
    if found.network.newton < _SHORT:
        reason = (
            f"{ill}. But the network, as it is now, makes little of the samples' own Newton steps: {_short(found)}."
        )
        return Advice("undecided", f"{reason}{noise}{_probed(found)}", (_LOSS, _PLAIN))
    if worst > _LIMIT:
        reason = (
            f"{ill}, but it differs from sample to sample further on: {at}, above the limit of {_LIMIT}. Each "
            f"sample needs its own matrix; clipping was seen to come close."
        )
        use = (_LOSS, _own(found), _CLIPPED)
        return Advice("per sample only", f"{reason}{noise}{_probed(found)}", use)
    reason = f"{ill}, and one matrix serves the whole batch (amplification at most {worst:.2f} at ρ = 0.1)."
    return Advice("gain", f"{reason}{noise}{_probed(found)}", (_LOSS, *_alternatives(found)))


def _open(found: Examination) -> Advice | None:
    """The targets leave most directions of the outputs open."""
    if not found.whole or found.here.own_flat_directions <= _MOSTLY_FLAT * found.outputs:
        return None
    reason = (
        f"{found.here.own_flat_directions} of {found.outputs} directions of the outputs leave the loss of a sample as "
        f"it is: its target does not determine them. Many outputs solve the algorithm equally well, and a Newton "
        f"step leads each sample to a different one. The target asks for a low loss only."
    )
    return Advice("not determined", reason, (_LOSS, _PLAIN))


def _determined(found: Examination) -> Advice | None:
    """Newton steps solve for the outputs, if the network can follow."""
    if not _turned(found):
        return None
    ill, (worst, at), network = _described(found), _amplified(found), found.network
    more = _noise(found, _OUTPUTS) + _flat(found)
    if _contradicting(found):
        reason = f"{ill}, and it differs from sample to sample already at this prediction: {at}. {_CONTRADICTION}"
        return Advice("undecided", reason + more, (_OUTPUTS, _LOSS, _PLAIN))
    if network.realised < _REALISED or network.newton < _SHORT:
        why = f"the steps of other samples move the outputs at a cosine of {network.realised:.2f} to a sample's own"
        if network.newton < _SHORT:
            why = _short(found) if network.realised >= _REALISED else f"{why}, and {_short(found)}"
        reason = f"{ill}. But the network, as it is now, makes little of the samples' own Newton steps: {why}."
        return Advice("undecided", reason + more, (_OUTPUTS, _LOSS, _PLAIN))
    reason = f"{ill}: plain steps leave the soft directions of the outputs for last, Newton steps do not."
    if worst > _LIMIT and found.here.noise >= _NOISY:
        reason = f"{ill}, and it differs from sample to sample further on: {at}. Only a short run decides whether each "
        return Advice("undecided", f"{reason}sample's own matrix helps.{more}", (_OUTPUTS, _own(found), _CLIPPED))
    if worst > _LIMIT:
        reason += f" It differs from sample to sample further on: {at}. Each sample then needs its own matrix."
        return Advice("gain", reason + more, (_own(found), _OUTPUTS, _CLIPPED))
    return Advice("gain", reason + more, (_OUTPUTS, *_alternatives(found)[int(found.automatic) :]))


def _between(found: Examination, first: str) -> Advice:
    here = found.here
    reason = (
        f"A condition of {here.condition:.3g} with a cosine of {here.cosine:.2f} lies between what was seen to gain "
        f"(above {_ILL:.0f}, below {_TURNED}) and what was seen not to (below {_ROUND:.0f}, or above {_PARALLEL})."
    )
    if not found.whole:
        reason += " It was taken on some of the outputs, so that the true condition is larger."
    reason += _probed(found) if first == _LOSS else _noise(found, _OUTPUTS) + _flat(found)
    return Advice("undecided", reason, (first, _bounded(found.name), _PLAIN))


def _turned(found: Examination) -> bool:
    return found.here.condition > _ILL and _smallest_cosine(found) < _TURNED


def _smallest_cosine(found: Examination) -> float:
    return min(found.here.cosine, found.here.own_cosine, found.further.cosine if found.further else 1.0)


def _described(found: Examination) -> str:
    here, cosine = found.here, _smallest_cosine(found)
    also = ")" if here.cosine - cosine < 0.005 else f", {here.cosine:.2f} at this prediction)"
    return (
        f"The curvature is ill-conditioned ({here.condition:.3g}) and its direction turns away from the gradient "
        f"(cosine {cosine:.2f}{also}"
    )


def _amplified(found: Examination) -> tuple[float, str]:
    """Return the largest amplification at ρ = 0.1, and both in a clause."""
    strength = RHOS.index(0.1)
    here, further = (one.amplification[strength] for one in (found.here, found.further or found.here))
    both = f"with one matrix for the batch at ρ = 0.1 the amplification is {here:.2f} here and {further:.2f} where the "
    return max(here, further), f"{both}targets lead"


def _alternatives(found: Examination) -> tuple[str, ...]:
    """Return the curvatures to try beside the default, where one matrix serves all samples."""
    if not (found.further and found.here.alike and found.further.alike):
        return (_bounded(found.name),)
    # Fixed linear algorithms: with clean targets the Fisher gained more on running totals, less on an integrator.
    rho = 1.0 if found.here.noise >= _NOISY else 0.1
    return _bounded(found.name), f"nlcore.EmpiricalFisher(damping=nlcore.Relative({rho}))"


def _probed(found: Examination) -> str:
    """Say what the network makes of the directions of the default."""
    network = found.network
    if not network.progress:
        return ""
    name, factor = network.best
    if factor >= _FURTHER:
        return (
            f" Probed on the network as it is now, the loss falls furthest along {name}: {factor:.2g} times as far as "
            f"along the gradient."
        )
    return (
        f" Probed on the network as it is now, no direction lets the loss fall clearly further than the gradient (at "
        f"most {factor:.2f} times); {_LOSS} probes again as it trains."
    )


def _contradicting(found: Examination) -> bool:
    return found.here.amplification[RHOS.index(0.1)] > _LIMIT


def _short(found: Examination) -> str:
    times = f"{found.network.newton:.2f} times"
    return f"along the moves that it makes of them the loss falls {times} as far as along the gradient"


def _noise(found: Examination, aim: str) -> str:
    if not found.here.noise >= _NOISY:
        return ""
    return (
        f" Cross-validation asks for a damping of ρ = {found.here.noise:.2g}: the targets have noise, or parts that "
        f"look like it. A full Newton step would fit it; "
        + (f"{_LOSS} leaves such steps out." if aim == _LOSS else f"{aim} chooses its damping by cross-validation.")
    )


def _flat(found: Examination) -> str:
    count = found.here.own_flat_directions
    if not found.whole or count < _FLAT * found.outputs:
        return ""
    leave, them = ("leaves", "it") if count == 1 else ("leave", "them")
    return f" {count} of {found.outputs} directions {leave} the loss as it is: the targets do not determine {them}."


def _bounded(name: str) -> str:
    return f"nlcore.{name}(damping=nlcore.Bounded(), normalize=True)"


def _own(found: Examination) -> str:
    """Return the expression for each sample's own matrix."""
    return f'nlcore.{found.name}(damping=nlcore.Relative(0.01), aggregate="sample", normalize=True)'


def _share(part: float) -> str:
    return f"{100 * part:.3g} %"
