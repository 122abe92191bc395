"""The base of the losses that compare a predicted series with another over their alignments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.errors import ContractError, NonFiniteError, ShapeError, shorten
from nlcore.inputs import holds, read
from nlcore.protocol import Traits
from nlcore_sequences._alignment import fused, solve
from nlcore_sequences._bounds import Limits, bounds_of
from nlcore_sequences._local_costs import CostFunction, absolute, log_augmented, squared_euclidean
from nlcore_sequences._series import Series, check_lengths, read_prediction, read_target
from nlcore_sequences.config import Band, Cost

__all__ = ["AlignmentLoss"]


@dataclass(frozen=True, repr=False, kw_only=True)
class AlignmentLoss(Configured, ABC):
    """Base of losses of two series; options are those of `SoftDTW`.

    Objects are immutable, hashable, equal by their options, and serve series of every length.
    """

    gamma: float = 1.0
    cost: Cost | CostFunction = "squared_euclidean"
    band: Band | None = None
    radius: int = 10
    slope: float = 2.0
    multivariate: bool = False

    def __post_init__(self) -> None:
        """Validate the options; a cost function is kept as it is."""
        cost = self.cost
        if not callable(cost):
            super().__post_init__()
            return
        object.__setattr__(self, "cost", "squared_euclidean")
        super().__post_init__()
        object.__setattr__(self, "cost", cost)

    @property
    def traits(self) -> Traits:
        """The assumptions that the engine may make."""
        return Traits(event_ndim=2 if self.multivariate else 1, takes_mask=True, supplies=frozenset())

    def __call__(
        self,
        prediction: Tensor,
        target: Any,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, n], or [batch, n, channels] with `multivariate`.
            target: [batch, m] or [batch, m, channels], the dtype of the prediction; or a dict of it as `series` and
                `lengths`, [batch] int64, or `mask`, [batch, m] bool, True at padded time steps.
            mask: Like the prediction, bool, True at padded outputs. The loss of a sample of padding only is 0.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: An input has the wrong type, shape, dtype or device; a target has no time step; or the band
                leaves no alignment.
            NonFiniteError: A series or a local cost is NaN or infinite.
        """
        x, y = self._read(prediction, target, mask)
        value = self._loss(x, y)
        self._check(x, y, value)
        if x.empty is not None:
            value = torch.where(x.empty, 0.0, value)
        return value.to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return random series of 6 time steps, and targets of 3 to 5, or 6 with "itakura"; of 2 channels if any."""
        channels = (2,) if self.multivariate else ()
        sizes = (6, 6 if self.band == "itakura" else 5)
        prediction, series = (
            torch.randn(batch_size, n, *channels, generator=generator, dtype=dtype, device=device) for n in sizes
        )
        lengths = torch.randint(3, sizes[1] + 1, (batch_size,), generator=generator, device=device)
        if self.band == "itakura":  # of any slope
            lengths = torch.full_like(lengths, 6)
        return prediction, {"series": series, "lengths": lengths}

    @abstractmethod
    def _loss(self, x: Series, y: Series) -> Tensor:
        """Return the losses of validated series, [batch]; not finite where a sample is at fault."""

    def _read(self, prediction: Tensor, target: Any, mask: Tensor | None) -> tuple[Series, Series]:
        x = read_prediction(self.id, prediction, mask, multivariate=self.multivariate)
        y = read_target(self.id, target, prediction, multivariate=self.multivariate)
        partial = x.weight is not None and callable(self.cost) and read((x.weight.amin(-1) < x.weight.amax(-1)).any())
        if partial:
            raise ContractError(
                f"{self.id}: the mask leaves out single channels of a time step, which a cost function cannot. Mask "
                "all channels of a time step, or choose a cost by its name."
            )
        return x, check_lengths(self.id, y, None if x.empty is None else ~x.empty)

    def _soft_dtw(self, x: Series, y: Series, *, alignment: bool = False) -> tuple[Tensor, ...]:
        """Return soft-DTW of validated series, [batch], and the expected alignment if asked for."""
        lengths = torch.stack([x.lengths, y.lengths], -1)
        bounds = bounds_of(lengths, x.steps.shape[1], Limits(self.band, self.radius, self.slope))
        plain = self.cost == "squared_euclidean" and x.weight is None and y.weight is None and not alignment
        if plain and fused(x.steps, y.steps):
            inputs: tuple[Tensor, ...] = (x.steps.mT, y.steps.mT)
        else:
            inputs = (self._costs(x, y),)
        return solve(self.gamma, bounds, lengths, inputs, slopes=alignment)

    def _costs(self, x: Series, y: Series) -> Tensor:
        """Return the local costs, [batch, n, m]."""
        if not callable(self.cost):
            function = absolute if self.cost == "absolute" else squared_euclidean
            costs = function(x.steps, y.steps, x.weight, y.weight)
            return log_augmented(costs, self.gamma) if self.cost == "log_augmented" else costs
        costs = self.cost(x.steps, y.steps)
        needed = [*x.steps.shape[:2], y.steps.shape[1]]
        if not isinstance(costs, Tensor) or list(costs.shape) != needed:
            found = f"shape {list(costs.shape)}" if isinstance(costs, Tensor) else f"a {type(costs).__name__}"
            raise ShapeError(
                f"{self.id}: the cost function returned {found} for series of shapes {list(x.steps.shape)} and "
                f"{list(y.steps.shape)}; it must return [batch, n, m] = {needed}."
            )
        return costs.to(x.steps.dtype)

    def _check(self, x: Series, y: Series, value: Tensor) -> None:
        """Raise where a value is not finite, with the reason."""
        if holds(value.isfinite()):
            return
        samples = (~value.isfinite()).nonzero()[:, 0].tolist()
        for what, series in (("prediction", x), ("target", y)):
            wrong = [s for s in samples if not holds(series.steps[s].isfinite())]
            if wrong:
                raise NonFiniteError(
                    f"{self.id}: the {what} of samples {shorten(wrong)} is NaN or infinite: look at the network's "
                    "output and at the learning rate, or mask the time steps without a value.",
                    wrong,
                )
        lengths = [(int(x.lengths[s]), int(y.lengths[s])) for s in samples]
        if self.band is not None:
            option = f"radius={self.radius}" if self.band == "sakoe_chiba" else f"slope={self.slope:g}"
            raise ContractError(
                f"{self.id}: band={self.band!r} with {option} leaves no alignment in samples {shorten(samples)}, whose "
                f"series have the lengths {shorten(lengths)}. Take a larger {option.partition('=')[0]}, or band=None."
            )
        raise NonFiniteError(
            f"{self.id}: every alignment of samples {shorten(samples)} has a local cost that is NaN, infinite or "
            "larger than the precision resolves: scale the series, or fix the cost function.",
            samples,
        )
