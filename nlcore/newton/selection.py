"""The choice of `Auto`: candidates are probed on the network, and the mean of the probes decides.

A probe finds for each candidate d how far the original loss falls at best along Δ = JJᵀd, the change of the outputs
that the network makes of d, relative to the same for the gradient; on the batch that gave d, and on the next one. Where
samples are alike and their own Newton steps are not barred, the cosine of Δ with these counts as well, a quarter as
much: among directions along which the loss falls equally far now, the one that brings the outputs nearer to a solution
lets it fall further later.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nlcore.errors import PerformanceWarning, UnsupportedCurvatureError
from nlcore.evaluation import per_sample
from nlcore.newton.candidates import Candidates, CandidatesAtBatch
from nlcore.newton.chunks import intermediates
from nlcore.newton.curvature import Curvature
from nlcore.newton.derivatives import FORMED, SECOND, Derivatives, differentiate, operator_of
from nlcore.newton.fisher import HALF_FISHER
from nlcore.newton.guard import LossGuard
from nlcore.newton.learning_rate import EffectiveLearningRate
from nlcore.newton.network import Network, UnprobeableError
from nlcore.newton.outcome import NewtonStep
from nlcore.newton.pace import DENSE, next_gap
from nlcore.newton.probe import Findings, descend, log_ratios, measure
from nlcore.newton.problem import Problem
from nlcore.newton.reused import EarlierMatrices
from nlcore.newton.scoreboard import Scoreboard
from nlcore.newton.step_length import StepLength
from nlcore.soundness import check_second, undisturbed

__all__ = ["Probe", "Selection"]

_AGAIN = 10
"""Steps of dense probes in which a direction that was in doubt can show that the loss rose by noise alone."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of the history of a choice.

    Attributes:
        step: The step at which a probe was complete.
        scores: The mean scores of the candidates, after it.
        chosen: Index of the candidate in use.
    """

    step: int
    scores: tuple[float, ...]
    chosen: int


class Selection:
    """The state of a choice.

    Args:
        candidates: The directions to choose from.
        name: Name of the loss, for messages.

    Attributes:
        board: The scores of the candidates, and the one in use.
        matrices: The matrices of earlier batches.
        length: The length of the steps.
        learning_rate: That of the optimiser, as its steps show it.
        history: The probes so far.
        reason: Why the network cannot be probed; `None` while it can.
        age: Number of steps so far.
        next_probe: The step of the next probe.
        dense_until: The step up to which probes are dense, as at the start of a training.
        last: The mean loss of the last step, over the samples whose loss is finite; NaN without one.
        guard: Whether these losses have risen.
        checked: Whether the second derivatives that later choices may use were checked.
    """

    def __init__(self, candidates: Candidates, name: str) -> None:
        self.candidates, self.name = candidates, name
        self.board = Scoreboard(candidates)
        self.age = self.next_probe = self.dense_until = 0
        self.length, self.guard, self.learning_rate = StepLength(), LossGuard(), EffectiveLearningRate()
        self._step = 0.0
        self.history: list[Probe] = []
        self.reason: str | None = None
        self._pending: Findings | None = None
        self.last = math.nan
        self.matrices = EarlierMatrices(candidates)
        self._intermediates = 0
        self.checked = False
        self._jvp_sound: bool | None = None

    @property
    def curvature(self) -> Curvature:
        """The curvature in use."""
        return self.candidates.curvatures[self.board.current]

    def choose(self, problem: Problem, prediction: Tensor) -> Curvature:
        """Return the curvature of this step, after a probe where one is due.

        Args:
            problem: The loss at the prediction.
            prediction: [batch, *event], with its graph.
        """
        if problem.samples.ranks is None and not len(prediction):
            return self.curvature
        self.learning_rate.see(self._step)
        self._observe()
        at_batch = CandidatesAtBatch(self.candidates, problem, self._jvp_sound)
        due = self.age >= self.next_probe and all(_formed(one, problem) for one in self.candidates.curvatures)
        if self.reason is None and (due or self._pending is not None):
            self._try_to_probe(at_batch, prediction, due=due)
        self.age += 1
        if self.age == self.next_probe:
            self.learning_rate.remember()
        chosen = self._candidate(self.board.current, at_batch) if _formed(self.curvature, problem) else HALF_FISHER
        self._jvp_sound = at_batch.jvp_sound
        if not self.checked and self.reason is None:
            self._check_second(problem, chosen)
        return chosen

    def serving(self, problem: Problem) -> Curvature:
        """Return the curvature of the next step, for an evaluation, or one without a matrix that would be too large.

        A mask, or longer samples than those of the first batch, can leave many outputs without a structure.
        """
        if not _formed(self.curvature, problem):
            return HALF_FISHER
        return self.matrices.serving(self.board.current, problem, self.age + 1) or self.curvature

    def lengthened(self, step: NewtonStep, problem: Problem, *, training: bool) -> NewtonStep:
        """Return a step of the length that `StepLength` gives it, and note the mean loss; waits for the device.

        Without probes it is the gradient, and its length is left as it is.

        Args:
            step: The step of the curvature in use.
            problem: Which samples and outputs count.
            training: Whether the state changes; not in an evaluation.
        """
        samples, plainly = problem.samples, not step.curvature.power
        finite = torch.isfinite(step.value)
        kept = torch.stack([torch.where(finite, step.value, 0.0).double(), finite.double()])
        before = samples.root_mean_square(per_sample(step.gradient))
        after = before if plainly else samples.root_mean_square(per_sample(step.direction))
        sums, lengths = samples.total(kept @ samples.weight), torch.stack([before, after]).double()
        loss, count, gradient, length = torch.cat([sums, lengths]).tolist()
        if training:
            self.last = loss / count if count > 0 else math.nan
        if self.reason is not None:
            return step
        farthest = self.learning_rate.farthest(self.board.reach)
        steady = self.guard.risen > 0
        fitted = self.length.fit(gradient, plainly=plainly, steady=steady, training=training, farthest=farthest)
        fitted = fitted if length > 0 and 0 < fitted < math.inf else length
        if training:
            self._step = fitted
        if fitted == length:
            return step
        direction = step.direction * (fitted / length)
        target = problem.prediction.view_as(direction) - direction
        curvature = replace(step.curvature, normalize=fitted)  # type: ignore[type-var]
        return replace(step, direction=direction, target=target, curvature=curvature)

    @property
    def pending(self) -> bool:
        """Whether a probe waits for the next batch."""
        return self._pending is not None

    def explain(self) -> str:
        """Return the choice and its reason, in a sentence."""
        if self.reason is not None:
            return f"the plain gradient, because the network cannot be probed: {self.reason}."
        return self.board.explain()

    def stats(self) -> dict[str, float]:
        """Return the numbers of the choice: probes, progress, length."""
        progress = math.exp(float(self.board.scores[self.board.current]))
        return {"probes": self.board.probes, "progress": progress, "length": self.length.typical}

    def _observe(self) -> None:
        """Go back to the gradient, and to dense probes, where the loss of the last step has risen; note a stall."""
        last, self.last = self.last, math.nan
        if math.isnan(last):
            return
        guard, board = self.guard, self.board
        verdict = guard.judge(last, board.current, on_trial=self.candidates.first_order_only)
        doubtful = verdict == "doubtful" and bool(board.biased[board.current])
        if board.current != 0 and self.reason is None and (verdict == "lost" or doubtful or guard.alarmed):
            if doubtful:
                board.doubt()
                guard.excuse()
            board.current = guard.risen = 0
            self.dense_until = self.age + (_AGAIN if doubtful else DENSE // 2)
            self.next_probe = self.age
            self._pending = None
        if verdict == "lost":
            board.hold()
        before = guard.level
        self.length.observe(guard.count_in(last), before, self.age)

    def _check_second(self, problem: Problem, chosen: Curvature) -> None:
        """Check the second derivative that later choices may use; one that this choice uses is checked by the step."""
        counts, gradient = problem.samples.weight > 0, differentiate(problem, "gradient").gradient
        self.checked = bool(gradient[counts].any())
        kinds = {one.kind for one in self.candidates.curvatures if one.power and one.kind not in problem.loss.supplies}
        if self.checked and chosen.kind == "gradient":
            for kind in sorted(kinds & SECOND.keys()):
                with undisturbed(problem.evaluation, counts.device):
                    check_second(problem.evaluation, problem.prediction, counts, SECOND[kind])

    def _candidate(self, member: int, at_batch: CandidatesAtBatch) -> Curvature:
        return self.matrices.candidate(member, at_batch, self.age, same=self.board.same)

    def _try_to_probe(self, at_batch: CandidatesAtBatch, prediction: Tensor, *, due: bool) -> None:
        """Probe the network, or give up; a gradient that the prediction retains stays as it is."""
        kept = prediction.grad if prediction.retains_grad else None
        try:
            self._probe(at_batch, prediction, due=due)
        except UnprobeableError as error:  # a part of the network that earlier batches did not pass through
            if at_batch.problem.samples.ranks is not None:
                raise UnsupportedCurvatureError(
                    f"{self.name}: the default cannot probe this network any more ({error}). Give a curvature, "
                    f"for example nlcore.EmpiricalFisher()."
                ) from error
            self._give_up(str(error))
        finally:
            if prediction.retains_grad:
                prediction.grad = kept

    def _probe(self, at_batch: CandidatesAtBatch, prediction: Tensor, *, due: bool) -> None:
        network, reason = None, "another rank cannot probe its network"
        try:
            network = Network.of(prediction, check=not self.history)
        except UnprobeableError as error:
            reason = str(error)
        blind = at_batch.problem.samples.largest(torch.tensor(int(network is None), device=prediction.device))
        if network is None or bool(blind):
            self._give_up(reason)
            return
        plain = at_batch.exclude_unusable()
        self._complete(at_batch.problem, plain, network)
        if due:
            self._begin(at_batch, plain, network)
            self.next_probe = self.age + max(next_gap(self.age, self.dense_until), self.candidates.interval)

    def _give_up(self, reason: str) -> None:
        self.reason, self._pending, self.board.current = reason, None, 0
        remedy = "Choose a curvature to have one without probes"
        if "scaled_dot_product" in reason:
            remedy += ", or let torch compute attention by its differentiable kernel, with "
            remedy += "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)"
        warnings.warn(
            f"{self.name}: the default cannot probe this network ({reason}); it takes the plain gradient from here on. "
            f"{remedy}.",
            PerformanceWarning,
            stacklevel=2,
        )

    def _complete(self, problem: Problem, plain: Derivatives, network: Network) -> None:
        """Judge the directions of the last batch on this one, and decide."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        scores = pending.scores
        if [*map(id, pending.leaves)] == [*map(id, network.leaves)]:
            moves = (network.jvp(change) for change in pending.changes)
            descent = descend(problem, plain.value, plain.gradient, moves, kept=self._kept(problem))
            scores = (scores + log_ratios(descent.fall)) / 2
        self._record(scores, pending.members)

    def _record(self, scores: Tensor, members: list[int]) -> None:
        """Count a complete probe."""
        self.board.complete(scores, members)
        self.history.append(Probe(self.age, tuple(self.board.scores.tolist()), self.board.current))

    def _begin(self, at_batch: CandidatesAtBatch, plain: Derivatives, network: Network) -> None:
        """Judge the directions of this batch on it, and keep them for the next."""
        board, problem = self.board, at_batch.problem
        dispersion = at_batch.dispersion() if board.needs_dispersion else None
        if dispersion is not None:
            board.note(dispersion)
        members, newton = board.members(), self.candidates.newton
        reuse = self.candidates.constant or board.same
        used = [self._candidate(k, at_batch) if reuse else self.candidates.curvatures[k] for k in members]
        found = measure(
            problem,
            plain,
            network,
            members,
            at_batch.directions(used),
            reference=next(at_batch.directions([used[members.index(newton)]])) if newton in members else None,
            kept=self._kept(problem),
            recent=self.length.recent if self.learning_rate.wanted else None,
            limited=self.learning_rate.value == 0,
        )
        if found.reach is not None:
            board.reached(found.reach, members)
        if found.cosines is not None:
            board.agree(found.cosines, members)
        if found.changes:
            self._pending = found
            board.begin(found.scores, members)
        else:
            self._record(found.scores, members)
        if board.current in found.asked:
            self.learning_rate.ask(found.leaves, found.asked[board.current])

    def _kept(self, problem: Problem) -> int:
        """Return how many numbers an evaluation keeps, the same on all ranks, which then exchange as many times."""
        if not self._intermediates:
            count = torch.tensor(intermediates(problem), device=problem.prediction.device)
            self._intermediates = int(problem.samples.largest(count))
        return self._intermediates


def _formed(curvature: Curvature, problem: Problem) -> bool:
    """Return whether the matrix of a curvature is small enough to form, or has a structure that solves its power."""
    if curvature.kind == "gradient" or not curvature.power or problem.prediction.shape[1] <= FORMED:
        return True
    operator = operator_of(problem)
    return operator is not None and operator.supports(curvature.power)
