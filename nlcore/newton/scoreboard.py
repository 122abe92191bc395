"""The scores of the candidates of a choice, as means over the probes, and the candidate that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nlcore.newton.candidates import Candidates, Dispersion

__all__ = ["Scoreboard"]

_RATE = 0.1
"""Least weight of a probe in the running means."""

_AGREEMENT = 0.25
"""Weight of the agreement with the Newton step, where samples are alike; log ratios of it lie between −1 and 1."""

_MARGIN = 0.1
"""Advantage for which the choice changes."""

_CLEAR = 0.25
"""Advantage for which the gradient is left where nothing but gradients is known of the loss: the Fisher matrix is large
where gradients are, and not where the loss curves. A direction that is given up again costs more than it gained: the
second moments of Adam remember it. The gradient is taken again as soon as it is as good."""

_TRUST = 6
"""Probes before a candidate other than the gradient and the cautious one may be chosen where samples differ: to a
network that is new its samples are alike, and a step that ruins the outputs of others later looks best."""

_PATIENCE = 0.3
"""Advantage over the gradient where samples are alike and their curvature is not round: the gradient falls along the
steep directions, which are soon used up. Directions that are `biased` do not have it."""

_FULL_FIRST, _FULL_EVERY = 3, 4
"""The first probes examine all candidates, and so does every fourth."""

_PRICE = 0.1
"""Advantage that the samples' own matrices need where samples are alike: they are formed anew at every step, and one
matrix for all would do as well."""

_BEST = 2
"""Candidates that every other probe examines, beside the gradient and the one in use."""

_HOLD = 10
"""Probes for which the gradient is kept after the running mean of the loss has risen to more than twice its lowest."""


class Scoreboard:
    """The scores of the candidates, and the one in use.

    Args:
        candidates: The directions to choose from.

    Attributes:
        scores: [K], mean log ratios of the falls along the candidates; the first, the gradient's, is zero.
        agreement: [K], mean cosines with the samples' own Newton steps.
        mean_reach: [K], mean logs of the best lengths along the candidates, in units of recent gradients.
        last_reach: [K], the same of the last probe of each.
        barred: [K], not zero for a candidate that may not be chosen.
        per_sample: [K] bool, which candidates have a matrix for each sample.
        alike: Whether one matrix serves all samples; as `same` and `round`, see `Dispersion`.
        same: Whether the samples' matrices are one and the same.
        round: Whether their mean is well-conditioned.
        probes: Number of complete probes.
        current: Index of the candidate in use.
        held: Number of probes before which no candidate but the gradient is chosen.
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        count = len(candidates.curvatures)
        self.scores = torch.zeros(count, dtype=torch.float64, device="cpu")  # whatever the default device
        self.agreement, self.barred = torch.zeros(2, count, dtype=torch.float64, device="cpu")
        self.mean_reach, self.last_reach = torch.zeros(2, count, dtype=torch.float64, device="cpu")
        self.per_sample = torch.tensor([one.aggregate == "sample" for one in candidates.curvatures], device="cpu")
        self.alike = candidates.constant
        self.same = self.round = False
        self.probes = self.current = self.held = 0

    @property
    def reach(self) -> float:
        """The best length along the candidate in use, in units of recent gradients: the shorter of mean and last."""
        return math.exp(min(float(self.mean_reach[self.current]), float(self.last_reach[self.current])))

    @property
    def biased(self) -> Tensor:
        """[K] bool, the candidates whose steps may sum to zero where gradients do not: samples have other matrices."""
        return self.per_sample & (not self.same)

    @property
    def needs_dispersion(self) -> bool:
        """Whether the next probe looks how much the samples differ; rarely once they have one matrix."""
        return not ((self.same or self.candidates.constant) and self.probes % _FULL_EVERY)

    def note(self, dispersion: Dispersion) -> None:
        """Bar the Newton steps that amplify what other samples or noise would ask for; note if samples are alike."""
        self.alike, self.same, self.round = dispersion.alike, dispersion.same, dispersion.round
        self.barred[dispersion.judged] = dispersion.barred.double()

    def members(self) -> list[int]:
        """Return the candidates of the next probe: all at first and every fourth time, else the best so far."""
        every = range(len(self.scores))
        if self.probes % _FULL_EVERY == 0 or self.probes < _FULL_FIRST:
            return list(every)
        best = torch.where(self.barred > 0, -torch.inf, self.scores).argsort(descending=True)[:_BEST].tolist()
        newton = self.candidates.newton if self.alike else 0  # whose agreement with the others counts
        return [k for k in every if k in (0, self.current, newton, *best)]

    def begin(self, scores: Tensor, members: Sequence[int]) -> None:
        """Decide by the first part of a probe, where it is the first one."""
        if self.probes == 0:
            self._mix(self.scores, scores, members, more=1)
            self.decide(members)

    def complete(self, scores: Tensor, members: Sequence[int]) -> None:
        """Count a probe, and decide.

        Args:
            scores: [len(members)], the log ratios of the candidates that were probed.
            members: Their indices.
        """
        self.probes += 1
        self._mix(self.scores, scores, members)
        self.decide(members)

    def agree(self, cosines: Tensor, members: Sequence[int]) -> None:
        """Count the cosines [len(members)] of a probe that is not complete yet."""
        self._mix(self.agreement, cosines, members, more=1)

    def reached(self, lengths: Tensor, members: Sequence[int]) -> None:
        """Count the best lengths [len(members)] of a probe that is not complete yet, in units of recent gradients."""
        logs = lengths.log()
        if bool(logs.isfinite().all()):
            self._mix(self.mean_reach, logs, members, more=1)
            self.last_reach[members] = logs

    def hold(self) -> None:
        """Keep to the gradient for the next probes."""
        self.held = self.probes + _HOLD

    def doubt(self) -> None:
        """Begin the scores of the biased candidates anew."""
        self.scores[self.biased] = self.scores[self.biased].clamp(max=0.0)

    def decide(self, members: Sequence[int]) -> None:
        """Choose the best of the candidates just probed, where it is better than the present one by a margin."""
        scores = torch.full_like(self.scores, -torch.inf)
        scores[members] = self.scores[members]
        newton = self.candidates.newton
        if newton is not None and self.alike and not self.barred[newton]:
            agreement = self.agreement.clamp(min=0.02)
            scores = scores + _AGREEMENT * (agreement / agreement[0]).log().clamp(-1, 1)
        scores = torch.where(self.barred > 0, -torch.inf, scores)
        if self.alike:
            scores[1:] += torch.where(self.biased[1:], 0.0, 0.0 if self.round else _PATIENCE)
            scores[self.per_sample] -= _PRICE
        if self.probes < self.held:
            scores[1:] = -torch.inf
        trusted = self.same or self.candidates.constant
        if self.probes < _TRUST and not trusted:
            known = torch.tensor([0, self.candidates.cautious], device="cpu")
            scores = torch.full_like(scores, -torch.inf).index_copy(0, known, scores[known])
        unknown = self.candidates.first_order_only
        if unknown and scores[0] >= scores[self.current]:
            self.current = 0
        margin = _CLEAR if unknown and self.current == 0 else _MARGIN
        best = int(scores.argmax())
        first = self.probes == 0 and trusted
        if first or scores[best] > scores[self.current] + margin:
            self.current = best

    def explain(self) -> str:
        """Return the choice and its reason, in a sentence."""
        count = len(self.candidates.curvatures)
        probes = f"the mean of {self.probes} probes of {count} directions on the network"
        probes = probes if self.probes else f"the first probe of {count} directions on the network"
        if self.current == 0:
            rose = self.probes < self.held
            why = "the loss rose" if rose else "no other direction lets the loss fall clearly further"
            return f"the gradient, because {why}; {probes}."
        further = math.exp(float(self.scores[self.current]))
        times = "" if f"{further:.2g}" == "1" else f"{further:.2g} times "
        fall = f"the loss falls {times}as far as along the gradient"
        if further < 1:
            why = f"because directions of small curvature are trained as well, although {fall}"
        else:
            why = f"because {fall}{', and directions of small curvature are trained as well' if further < 1.1 else ''}"
        return f"{self.candidates.names[self.current]}, {why}; {probes}."

    def _mix(self, means: Tensor, numbers: Tensor, members: Sequence[int], more: int = 0) -> None:
        """Bring running means nearer to the numbers of a probe.

        Args:
            means: [K].
            numbers: [len(members)].
            members: The candidates that they are of.
            more: One if this probe is not counted yet.
        """
        rate = max(1 / (self.probes + more), _RATE)
        for index, member in enumerate(members):
            means[member] += rate * (float(numbers[index]) - means[member])
