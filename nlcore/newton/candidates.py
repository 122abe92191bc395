"""The candidates of a choice at one batch: derivatives, matrices and directions, each formed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nlcore.evaluation import signs
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import rho_of_noise
from nlcore.newton.derivatives import FORMED, Derivatives, Kind, differentiate
from nlcore.newton.fisher import EmpiricalFisher
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, FeatureMatrix, OperatorMatrix
from nlcore.newton.problem import Problem, Samples
from nlcore.newton.rho import amplification, examined
from nlcore.newton.second_order import form_features
from nlcore.newton.solve import directions

__all__ = ["Candidates", "CandidatesAtBatch", "Dispersion"]

_ALIKE, _ALIKE_RHO, _OVERSTEP = 4.0, 1e-2, 2.0
"""Samples are alike where their curvature is amplified at most this much by the inverse of the mean with this ρ; the
Newton step of a batch is barred where its own ρ amplifies more than the last number."""

_NOISY = 4.0
"""Where curvature is constant by declaration, a Newton step is barred while this many times its ρ is below the one of
cross-validation, which varies by a factor of three from batch to batch without noise."""

_ROUND, _FLAT = 10.0, 1e-6
"""Condition of a mean matrix under which it counts as round, and the share of its largest eigenvalue under which
another one is left out of that."""

_MANY, _FEW = 2**18, 2**16
"""Entries of all samples' matrices above which the mean is formed from few samples at a time, and those of the few."""

_SAME = 1e-4
"""Largest difference of samples' matrices, relative to their largest entry, for which they count as one."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The directions that are probed.

    Attributes:
        curvatures: The candidates; the first is the gradient.
        newton: Index of the samples' own Newton steps; `None` if they are not probed.
        bounded: A curvature with `Bounded` damping, whose matrices show how alike the samples are; `None` without one.
        cautious: Index of the only one beside the gradient that may be chosen early, the half power; 0 for none.
        constant: Whether the matrix is the same for all samples and steps.
        refresh: Steps for which the matrix of a batch serves otherwise.
        interval: Fewest steps between two probes.
    """

    curvatures: tuple[Curvature, ...]
    newton: int | None = None
    bounded: Curvature | None = None
    cautious: int = 0
    constant: bool = False
    refresh: int = 10
    interval: int = 1

    @property
    def first_order_only(self) -> bool:
        """Whether no candidate has a second derivative of the loss."""
        return all(one.kind == "gradient" for one in self.curvatures)

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates, as constructor calls; the first is "the gradient"."""
        return ("the gradient", *map(_shown, self.curvatures[1:]))

    @classmethod
    def of(
        cls, *curvatures: Curvature, newton: Curvature | None = None, cautious: Curvature, **options: Any
    ) -> Candidates:
        """Return candidates by the curvatures that are the Newton step and the half power, and the other attributes."""
        newton_index = None if newton is None else curvatures.index(newton)
        return cls(curvatures, newton=newton_index, cautious=curvatures.index(cautious), **options)


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much the curvature of the samples of a batch differs.

    Attributes:
        alike: Whether one matrix serves them all.
        same: Whether their matrices are one and the same.
        round: Whether their mean is well-conditioned, so that no direction is soft.
        barred: [K] bool, whether the step of a candidate overshoots for single samples, or would fit noise.
        judged: The indices of these K candidates: the Newton steps.
    """

    alike: bool
    same: bool
    round: bool
    barred: Tensor
    judged: list[int]


class CandidatesAtBatch:
    """The candidates at one batch.

    Args:
        candidates: The directions.
        problem: The loss at the prediction.

    Attributes:
        problem: The same, after `exclude_unusable` without the samples that are not finite.
        formed: The matrix of a second-order curvature, once a probe has formed it.
        jvp_sound: Whether products with the Jacobian of the loss were found right; `None` before they were needed.
    """

    def __init__(self, candidates: Candidates, problem: Problem, jvp_sound: bool | None = None) -> None:
        self.candidates, self.problem, self.jvp_sound = candidates, problem, jvp_sound
        self._known: dict[Kind, Derivatives] = {}
        self.formed: CurvatureMatrix | None = None
        self._features: FeatureMatrix | None = None

    def exclude_unusable(self) -> Derivatives:
        """Leave out samples that are not finite, and return value and gradient; from here on nothing raises."""
        plain = differentiate(self.problem, "gradient")
        self.problem, plain = plain.exclude_unusable(replace(self.problem, raising=False))
        return plain

    def derivatives(self, curvature: Curvature) -> Derivatives:
        """Return the derivatives for a curvature, zero where they are not finite."""
        kind: Kind = curvature.kind if curvature.power else "gradient"
        if kind not in self._known:
            taken: Kind = "gradient" if self._in_parts(kind) else kind
            self._known[kind] = self._differentiate(self.problem, curvature, taken).zeroed()
        return self._known[kind]

    def _differentiate(self, problem: Problem, curvature: Curvature, kind: Kind) -> Derivatives:
        derivatives = differentiate(problem, kind, chunk_size=curvature.chunk_size, jvp_sound=self.jvp_sound)
        self.jvp_sound = self.jvp_sound if derivatives.jvp_sound is None else derivatives.jvp_sound
        return derivatives

    def _in_parts(self, kind: Kind) -> bool:
        """Return whether samples' own Gauss–Newton matrices are too many to hold, and none of them is a candidate's."""
        samples, (count, size) = self.problem.samples, self.problem.prediction.shape
        if kind != "gauss_newton" or self.candidates.bounded is None:
            return False
        if samples.keep is not None or samples.ranks is not None:
            return False
        return count * size**2 > _MANY and all(one.aggregate == "batch" for one in self.candidates.curvatures)

    def _of_batch(self, curvature: Curvature) -> CurvatureMatrix:
        """Return the matrix of the batch, in parts where it is too large as a whole."""
        if self._in_parts(curvature.kind):
            return self._mean_of_parts(curvature)
        return curvature.matrix(self.derivatives(curvature), self.problem)

    def _mean_of_parts(self, curvature: Curvature) -> CurvatureMatrix:
        """Return the matrix of the batch, from those of a few samples at a time."""
        problem, known = self.problem, self.derivatives(curvature)
        count, size = problem.prediction.shape
        mean = torch.zeros(size, size, dtype=torch.float64, device=problem.prediction.device)
        weight = mean.new_zeros(())
        for index in torch.arange(count, device=mean.device).split(max(1, _FEW // size**2)):
            part = problem.take(index)
            derivatives = self._differentiate(part, curvature, curvature.kind)
            matrix = curvature.matrix(derivatives, part)
            share = matrix.samples.weight.sum()
            mean, weight = mean + share * matrix.dense(), weight + share
        self._known[curvature.kind] = replace(known, features=derivatives.features)
        mean = mean / weight.clamp(min=torch.finfo(mean.dtype).tiny)
        curved, largest = mean.diagonal().mean().abs(), mean.abs().amax()
        return DenseMatrix(
            problem.samples, None, size, curved, largest, rounding=torch.finfo(known.gradient.dtype).eps, mean=mean
        )

    def matrix(self, curvature: Curvature) -> CurvatureMatrix | None:
        """Return the matrix of a second-order curvature, which serves all candidates of its kind; `None` for others."""
        if curvature.kind == "gradient" or not curvature.power:
            return None
        features = self._in_features(curvature)
        if curvature.aggregate == "sample" and features is not None:
            return features
        if self.formed is None:
            plainly = features is not None or self._in_parts(curvature.kind)
            self.formed = self._of_batch(curvature if plainly else self.candidates.bounded or curvature)
        return self.formed

    def mean_matrix(self, curvature: Curvature, *, same: bool) -> CurvatureMatrix:
        """Return the matrix of the batch, for its inverse to be kept.

        Args:
            curvature: The curvature.
            same: Whether the last batch had one matrix for all samples; then one sample is enough.
        """
        samples, same = self.problem.samples, same or self.candidates.constant
        if self.formed is not None:
            return self.formed
        if not same or samples.keep is not None or samples.ranks is not None:
            return self._of_batch(curvature)
        return self._of_one(curvature)[0]

    def _of_one(self, curvature: Curvature) -> tuple[CurvatureMatrix, Derivatives]:
        """Return the matrix of one sample that counts, where all have the same, and its derivatives."""
        one = self.problem.take(self.problem.samples.weight.argmax().unsqueeze(0))
        derivatives = self._differentiate(one, curvature, curvature.kind)
        return curvature.matrix(derivatives, one), derivatives

    def _in_features(self, curvature: Curvature) -> FeatureMatrix | None:
        """Return the samples' own matrices in the space of few features; `None` where they are not to be had."""
        if self._features is None and self.candidates.bounded is not None and curvature.kind == "gauss_newton":
            self._features = form_features(self.derivatives(curvature), self.problem)
        return self._features

    def directions(self, curvatures: Iterable[Curvature]) -> Iterator[Tensor]:
        """Yield the directions [N, m] of curvatures, each of root mean square one; those that fail are zero."""
        for curvature in curvatures:
            matrix = self.matrix(curvature)
            direction = directions(self.derivatives(curvature), self.problem, curvature, matrix).direction
            direction = torch.where(torch.isfinite(direction).all(-1, keepdim=True), direction, 0.0)
            size = self.problem.samples.root_mean_square(direction)
            yield direction.div_(torch.where(size > 0, size, 1.0))

    def _examined(self, bounded: Curvature, matrix: DenseMatrix) -> tuple[Tensor, Samples]:
        """Return samples' own matrices, of all or of a few where all are too many, and those samples."""
        if matrix.own is not None:
            return matrix.own, matrix.samples
        count, size = self.problem.prediction.shape
        index = torch.arange(count, device=matrix.mean.device)[:: -(-count // max(1, _FEW // size**2))]
        few = self.problem.take(index)
        matrix_of_few = bounded.matrix(self._differentiate(few, bounded, bounded.kind), few)
        own: Tensor = matrix_of_few.own  # type: ignore[attr-defined]
        return own, matrix_of_few.samples

    def _dispersion_of_one(self) -> Dispersion | None:
        """Return which Newton steps would fit noise where one matrix serves all samples by declaration."""
        members = self.candidates.curvatures
        newton = [k for k, one in enumerate(members) if one.kind != "gradient" and one.power == 1]
        curvature, samples = members[newton[0]], self.problem.samples
        if samples.keep is None and samples.ranks is None and self.problem.prediction.shape[1] <= FORMED:
            of_one, derivatives_of_one = self._of_one(curvature)
            derivatives = replace(self.derivatives(members[0]), features=derivatives_of_one.features)
            matrix: CurvatureMatrix | None = replace(of_one, samples=samples)
        else:
            matrix, derivatives = self.matrix(curvature), self.derivatives(curvature)
        if derivatives.features is None or not isinstance(matrix, DenseMatrix | OperatorMatrix):
            return None
        rhos = torch.tensor([members[k].damping.rho for k in newton], device="cpu")
        barred = _NOISY * rhos < float(rho_of_noise(matrix, derivatives))
        return Dispersion(alike=True, same=False, round=False, barred=barred, judged=newton)

    def dispersion(self) -> Dispersion | None:
        """Return how much the samples differ; `None` where neither that nor the noise can be judged."""
        bounded = self.candidates.bounded
        if bounded is None:
            return self._dispersion_of_one() if self.candidates.constant else None
        members = self.candidates.curvatures
        newton = [k for k, one in enumerate(members) if one.kind == bounded.kind and one.power == 1]
        of_batch = next(one for one in members if one.kind == bounded.kind and one.aggregate == "batch")
        features, matrix, derivatives = self._in_features(bounded), self.matrix(of_batch), self.derivatives(bounded)
        if not isinstance(matrix, DenseMatrix):
            return None
        self._known[bounded.kind] = replace(derivatives, jacobian=None, outer_hvp=None)  # their matrices are all formed
        own, samples = self._examined(bounded, matrix) if features is None else (features.root, matrix.samples)
        roots = features is not None
        rhos = torch.tensor([_ALIKE_RHO, *(members[k].damping.rho for k in newton)], device="cpu")
        strengths = rhos.to(matrix.mean) * matrix.mean_curvature
        quantile = bounded.damping.quantile
        amplifications = amplification(matrix.mean, own, strengths, samples, quantile, roots=roots).cpu()
        single = torch.tensor([members[k].aggregate == "sample" for k in newton], device="cpu")
        barred = (amplifications[1:] > _OVERSTEP) & ~single
        if derivatives.features is not None:
            barred |= rhos[1:] < float(rho_of_noise(matrix, derivatives))
        several = float(samples.total((samples.weight > 0).sum())) > 1
        values = torch.linalg.eigvalsh(matrix.mean)
        least = torch.where(values > _FLAT * values[-1], values, torch.inf).amin()
        return Dispersion(
            alike=several and float(amplifications[0]) <= _ALIKE,
            same=several and _are_same(matrix.mean, own, samples, roots=roots),
            round=bool(values[-1] < _ROUND * least),
            barred=barred,
            judged=newton,
        )


def _shown(curvature: Curvature) -> str:
    """Return the constructor call, without the option `max_step`: `StepLength` decides the length."""
    return repr(replace(curvature, max_step=100.0) if isinstance(curvature, EmpiricalFisher) else curvature)


def _are_same(mean: Tensor, own: Tensor, samples: Samples, *, roots: bool) -> bool:
    """Return whether samples' own matrices, or their rows, give the same product with random signs as their mean."""
    some, along = examined(len(own)), signs(mean, (len(mean), 1))
    product = mean @ along
    image = own[some] @ along
    image = own[some].mT @ image if roots else image
    counted = (samples.weight[some] > 0)[:, None, None]
    gap = samples.largest(torch.where(counted, image - product, 0.0).abs())
    return bool(gap <= _SAME * product.abs().amax())
