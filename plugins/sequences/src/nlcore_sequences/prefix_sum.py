"""Running totals: the simplest algorithm whose conditioning stands in the way of learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from nlcore.inputs import check_inputs, working
from nlcore.protocol import Traits

__all__ = ["PrefixSum"]

_ID = "sequences/prefix_sum-v1"
_NUMBERS, _TOTALS = "[batch, m] floating", "[batch, m] same"
_ADVICE = "It is True at padded elements."
_TRAITS = Traits(event_ndim=1, order=2, psd_hessian=True, takes_mask=True)


@final
@dataclass(frozen=True, slots=True)
class PrefixSum:
    """Numbers supervised by their running totals: ℓ(y, t) = ½‖cumsum(y) − t‖².

    The sum runs over the m totals and is not divided by m. With L the lower triangle of ones, the gradient is
    Lᵀ(Ly − t) and the Hessian LᵀL, the same for every sample: (LᵀL)_jk = m − max(j, k), counted from 0. Its condition
    number grows as m² (113 at m = 8, 438 at m = 16), and outputs are not interchangeable, which is why a Newton step
    differs from a rescaled gradient here.

    A mask [batch, m], True at padded elements, takes them out of the sequence, wherever they stand: the totals are
    those of the other elements in their order, each compared with the target at its own place. What stands at a padded
    element, in the numbers and in the totals, is never looked at. Half precision is computed in float32.

    Example:
        >>> import torch
        >>> loss = PrefixSum()
        >>> loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 4.0]]))
        tensor([2.])
        >>> loss.hessian(torch.zeros(1, 3), torch.zeros(1, 3))[0]
        tensor([[3., 2., 1.],
                [2., 2., 1.],
                [1., 1., 1.]])
    """

    @property
    def traits(self) -> Traits:
        """Convex, twice differentiable, deterministic, one vector per sample."""
        return _TRAITS

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sequence.

        Args:
            prediction: [batch, m], the numbers.
            target: [batch, m], their running totals, dtype and device of `prediction`.
            mask: [batch, m] bool, True at padded elements. A sequence of nothing but padding has loss 0.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`; not finite where a sequence is not.

        Raises:
            ShapeError: `prediction` is not [batch, m] with m ≥ 1, or `target` or `mask` has another shape.
            ContractError: Something is no tensor.
            DtypeError: `prediction` is not floating point, `target` has another dtype, or `mask` is not bool.
            DeviceError: The tensors are on different devices.
        """
        _check(prediction, target, mask)
        numbers = working(prediction)
        return _distance(_totals(numbers, mask), target.to(numbers.dtype), mask).to(prediction.dtype)

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the running totals of each sequence, [batch, m], 0 at padded elements."""
        check_inputs(_ID, prediction=(prediction, _NUMBERS))
        _check_mask(prediction, mask)
        return _totals(prediction, mask)

    def outer(self, features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return half the squared distance between two lists of totals, [batch]."""
        _check(features, target, mask)
        return _distance(features, target, mask)

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return LᵀL for each sequence, [batch, m, m]: how many totals hold both numbers, 0 at padded elements.

        Without a mask it is a view of one matrix, since it depends on no data.
        """
        _check(prediction, target, mask)
        batch, m = prediction.shape
        place = torch.arange(m, device=prediction.device)
        later = torch.maximum(place[:, None], place)
        if mask is None:
            return (m - later).to(prediction.dtype).expand(batch, m, m)
        totals = (~mask).flip(1).cumsum(dim=1).flip(1)  # those from each place on
        real = ~(mask.unsqueeze(1) | mask.unsqueeze(2))
        return (totals[:, later] * real).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return predictions and the noisy totals of other numbers, both [batch_size, 6]."""
        numbers, prediction, noise = (
            torch.randn(batch_size, 6, generator=generator, dtype=dtype, device=device) for _ in range(3)
        )
        return prediction, numbers.cumsum(dim=1) + 0.1 * noise


def _check(prediction: Tensor, target: Tensor, mask: Tensor | None) -> None:
    check_inputs(_ID, prediction=(prediction, _NUMBERS), target=(target, _TOTALS))
    _check_mask(prediction, mask)


def _check_mask(prediction: Tensor, mask: Tensor | None) -> None:
    if mask is not None:
        check_inputs(_ID, prediction=(prediction, _NUMBERS), mask=(mask, "[batch, m] bool", _ADVICE))


def _totals(numbers: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return numbers.cumsum(dim=1)
    return numbers.masked_fill(mask, 0.0).cumsum(dim=1).masked_fill(mask, 0.0)


def _distance(totals: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    errors = totals - target
    return 0.5 * (errors if mask is None else errors.masked_fill(mask, 0.0)).square().sum(dim=1)
