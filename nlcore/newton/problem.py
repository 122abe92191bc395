"""A validated problem: the loss at a batch of predictions, and the samples and outputs that count."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities
from nlcore.errors import ShapeError
from nlcore.evaluation import Evaluation, finite_rows, per_sample
from nlcore.newton.ranks import Ranks
from nlcore.soundness import require_valid_weights, valid_weights

__all__ = ["Backend", "Problem", "Samples"]

Backend: TypeAlias = Literal["auto", "func", "autograd"]


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of this process as a part of the global batch, and every sum over that.

    Attributes:
        weight: [N] float64, the weight of each sample, at most one, and zero for a sample that does not count.
        keep: [N, m] bool, False at padded outputs; `None` without padding.
        ranks: The processes that share the batch; `None` for one process.
        counted: [N, m] bool, which outputs count; [N, 1] without padding.
        scale: [m] or [1], s such that diag(s)(Σ wᵢAᵢ)diag(s) is the mean of the Aᵢ over the samples that count. An
            output's own entry is its mean over the samples that have it; scaling from both sides keeps a positive
            semi-definite sum so, which a division entry by entry would not. Zero for an output that no sample has.
        outputs: [], how many of the m outputs count in some sample, at least one; `None` without padding.
        equal: Whether all samples and outputs of the one process are known to count, and to count the same.
    """

    weight: Tensor
    keep: Tensor | None
    ranks: Ranks | None
    counted: Tensor
    scale: Tensor
    outputs: Tensor | None
    equal: bool = False

    @classmethod
    def of(cls, weight: Tensor, keep: Tensor | None = None, ranks: Ranks | None = None) -> Samples:
        """Return samples by their weights [N]."""
        counted = (weight > 0).unsqueeze(-1)
        counted = counted if keep is None else counted & keep
        held = (weight.unsqueeze(-1) * counted).sum(0)
        held = held if ranks is None else ranks.total(held)
        outputs = None if keep is None else (held > 0).sum().clamp(min=1)
        return cls(weight, keep, ranks, counted, torch.where(held > 0, held, torch.inf).rsqrt(), outputs)

    @classmethod
    def uniform(cls, count: int, device: torch.device) -> Samples:
        """Return samples that all count, and count the same."""
        weight = torch.ones(count, dtype=torch.float64, device=device)
        scale = torch.full((1,), max(1, count) ** -0.5, dtype=torch.float64, device=device)
        counted = torch.ones(count, 1, dtype=torch.bool, device=device)
        return cls(weight, None, None, counted, scale, None, equal=True)

    def where(self, counts: Tensor) -> Samples:
        """Return the samples with weight zero where `counts` [N] is False."""
        return Samples.of(torch.where(counts, self.weight, 0.0), self.keep, self.ranks)

    def total(self, local: Tensor) -> Tensor:
        """Return the sum of `local` over the ranks."""
        return local if self.ranks is None else self.ranks.total(local)

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest entry of `values` over the ranks, and at least zero, []."""
        largest = values.amax() if values.numel() else values.new_zeros(())
        return largest if self.ranks is None else self.ranks.largest(largest)

    def gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Return the rows [N, …] of all ranks, and where those of this one are."""
        return (rows, slice(0, rows.shape[0])) if self.ranks is None else self.ranks.gather(rows)

    def count(self) -> int:
        """Return the number of samples of all ranks."""
        return self.weight.shape[0] if self.ranks is None else int(self.total(torch.ones_like(self.weight).sum()))

    def kept(self, directions: Tensor) -> Tensor:
        """Return [N, m] with zeros at padded outputs."""
        return directions if self.keep is None else torch.where(self.keep, directions, 0.0)

    def cleared(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Return [N, m, m] in float64, zero where an output, a sample or a number does not count; which are finite."""
        blocks = torch.where(self.counted.unsqueeze(-1) & self.counted.unsqueeze(-2), blocks.double(), 0.0)
        finite = finite_rows(blocks.flatten(1))
        return torch.where(finite[:, None, None], blocks, 0.0), finite

    def mean(self, blocks: Tensor) -> Tensor:
        """Return the mean of [N, m, m] over the samples of all ranks, [m, m], symmetric."""
        return self.scaled(self.total((self.weight @ blocks.flatten(1)).view(blocks.shape[1:])))

    def scaled(self, summed: Tensor) -> Tensor:
        """Return the mean of matrices by their weighted sum over the ranks, [m, m], symmetric."""
        mean = summed * self.scale * self.scale.unsqueeze(-1)
        return (mean + mean.mT) / 2

    def per_output(self, total: Tensor, size: int) -> Tensor:
        """Return a sum over `size` outputs, divided by the number of those that count."""
        return total / (size if self.outputs is None else self.outputs)

    @property
    def shares(self) -> Tensor:
        """The weights divided by their sum over the ranks, [N]; zero where no sample counts."""
        return self.weight / self.total(self.weight.sum()).clamp(min=1e-300)

    def quantile(self, values: Tensor, share: float) -> Tensor:
        """Return the weighted quantile of [N, r] over the samples of all ranks, [r].

        It is the smallest value such that the samples up to it hold `share` of the weight, so that an integer weight
        equals repetition; zero where no sample counts.
        """
        everyone, _ = self.gather(values)
        weight, _ = self.gather(self.weight)
        if everyone.shape[0] == 0:
            return values.new_zeros(values.shape[1:])
        ordered, order = torch.where((weight > 0).unsqueeze(-1), everyone, torch.inf).sort(0)
        held = weight[order].cumsum(0)
        enough = held >= share * held[-1] * (1 - 1e-12)
        value = torch.where(enough, ordered, torch.inf).amin(0)
        return torch.where(held[-1] > 0, value, 0.0)

    def root_mean_square(self, directions: Tensor) -> Tensor:
        """Return the weighted root mean square of [N, m] over all outputs that count, []."""
        size = directions.shape[1]
        if self.equal and directions.dtype == torch.float32:  # whose squares float64 can hold
            norm: Tensor = torch.linalg.vector_norm(directions, dtype=torch.float64)
            return norm / max(1, directions.numel()) ** 0.5
        outputs = torch.full_like(self.weight, size) if self.keep is None else self.keep.sum(-1)
        largest = self.largest(directions.abs()).clamp(min=torch.finfo(directions.dtype).tiny)
        squares = self.total((self.weight * (directions / largest).square().sum(-1)).sum())
        count = self.total((self.weight * outputs).sum())
        return largest * (squares / torch.where(count > 0, count, 1.0)).sqrt()


@dataclass(frozen=True, slots=True)
class Problem:
    """A loss at a batch of predictions.

    Attributes:
        loss: The loss and its capabilities.
        evaluation: The loss with target, mask, context and random numbers.
        prediction: [N, m], detached, float32 or float64.
        samples: Which samples and outputs count.
        largest_weight: [], the largest weight as it was given, by which the weights were divided; `None` for samples
            that all count the same.
        backend: How derivatives are taken.
        raising: Whether a failure raises, which waits for the device, and does not fall back.
        invalid_weights: [], the number of samples of this process whose weight is negative or not finite, and counts as
            0; `None` where no weights were given, or such a weight raises.
    """

    loss: Capabilities
    evaluation: Evaluation
    prediction: Tensor
    samples: Samples
    largest_weight: Tensor | None = None
    backend: Backend = "auto"
    raising: bool = True
    invalid_weights: Tensor | None = None

    @classmethod
    def of(
        cls,
        loss: Capabilities,
        prediction: Tensor,
        target: Any,
        *,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        context: Any = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        ranks: Ranks | None = None,
        raising: bool = True,
        hold: bool = False,
    ) -> Problem:
        """Validate the arguments of a step; with `hold`, a mask marks outputs held fixed and is not passed to the loss.

        Raises:
            ContractError: Wrong shape, dtype or device; a mask or context that the loss does not take; a weight that
                is negative or not finite, if failures raise.
        """
        evaluation = Evaluation.of(loss, prediction, target, mask=mask, context=context, generator=generator, hold=hold)
        if math.prod(prediction.shape[1:]) == 0:
            raise ShapeError(f"{loss.name}: a prediction of shape {list(prediction.shape)} has no outputs.")
        flat = per_sample(prediction.detach())
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        samples, largest = _samples(loss, prediction, weight, mask, ranks, raising=raising)
        invalid = None if raising or weight is None else (~valid_weights(weight.detach())).sum()
        return cls(loss, evaluation, flat, samples, largest, backend, raising, invalid)

    def at(self, prediction: Tensor) -> Problem:
        """Return the problem at another prediction, [N, m]."""
        return replace(self, prediction=prediction)

    def in_dtype(self, dtype: torch.dtype) -> Problem:
        """Return the problem with its floating-point tensors in another precision."""
        return replace(self, prediction=self.prediction.to(dtype), evaluation=self.evaluation.in_dtype(dtype))

    def take(self, index: Tensor) -> Problem:
        """Return the problem of some of the samples of this process."""
        keep = self.samples.keep
        samples = Samples.of(self.samples.weight[index], None if keep is None else keep[index])
        return replace(self, prediction=self.prediction[index], evaluation=self.evaluation.take(index), samples=samples)


def _samples(
    loss: Capabilities,
    prediction: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    ranks: Ranks | None,
    *,
    raising: bool,
) -> tuple[Samples, Tensor | None]:
    """Return which samples and outputs count, with weights of at most one, and what the weights were divided by."""
    count, device = prediction.shape[0], prediction.device
    if weight is None and mask is None and ranks is None:
        return Samples.uniform(count, device), None
    given = _weights(loss, prediction, weight, raising=raising)
    keep = None if mask is None else ~per_sample(mask)
    if ranks is not None:  # a mask on one rank is a mask on all
        masked = ranks.largest(torch.tensor(int(mask is not None), device=device))
        if keep is None and bool(masked):
            keep = torch.ones(count, math.prod(prediction.shape[1:]), dtype=torch.bool, device=device)
    if keep is not None:
        given = torch.where(keep.any(-1), given, 0.0)
    largest = given.amax() if count else given.sum()
    largest = largest if ranks is None else ranks.largest(largest)
    unit = torch.where((largest > 0) & (largest < torch.inf), largest, 1.0)
    return Samples.of(given / unit, keep, ranks), unit


def _weights(loss: Capabilities, prediction: Tensor, weight: Tensor | None, *, raising: bool) -> Tensor:
    """Return the weights as they were given, [N] float64; an invalid one raises, or is zero."""
    count, device = prediction.shape[0], prediction.device
    if weight is None:
        return torch.ones(count, dtype=torch.float64, device=device)
    if not isinstance(weight, Tensor) or weight.shape != prediction.shape[:1]:
        got = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        each = isinstance(weight, Tensor) and weight.shape == prediction.shape and weight.numel() > count
        advice = " Mark padded outputs by mask=; other weights of single outputs belong in the loss." if each else ""
        raise ShapeError(f"{loss.name}: weight needs one number per sample, shape {[count]}, got {got}.{advice}")
    given = weight.detach().to(device, torch.float64)
    if raising:
        require_valid_weights(loss.name, given)
        return given
    return torch.where(valid_weights(given), given, 0.0)
