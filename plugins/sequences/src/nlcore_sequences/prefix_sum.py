"""Running totals: the simplest algorithm whose conditioning stands in the way of learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from nlcore.inputs import check_inputs
from nlcore.protocol import Traits

__all__ = ["PrefixSum"]

_ID = "sequences/prefix_sum-v1"
_NUMBERS, _TOTALS = "[batch, m] floating", "[batch, m] same"
_TRAITS = Traits(event_ndim=1, order=2, psd_hessian=True)


@final
@dataclass(frozen=True, slots=True)
class PrefixSum:
    """Numbers supervised by their running totals: ℓ(y, t) = ½‖cumsum(y) − t‖².

    The sum runs over the m totals and is not divided by m. With L the lower triangle of ones, the gradient is
    Lᵀ(Ly − t) and the Hessian LᵀL, the same for every sample: (LᵀL)_jk = m − max(j, k), counted from 0. Its condition
    number grows as m² (113 at m = 8, 438 at m = 16), and outputs are not interchangeable, which is why a Newton step
    differs from a rescaled gradient here.

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

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sequence.

        Args:
            prediction: [batch, m], the numbers.
            target: [batch, m], their running totals, dtype and device of `prediction`.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`; not finite where a sequence is not.

        Raises:
            ShapeError: `prediction` is not [batch, m] with m ≥ 1, or `target` has another shape.
            ContractError: Something is no tensor.
            DtypeError: `prediction` is not floating point, or `target` has another dtype.
            DeviceError: The tensors are on different devices.
        """
        return self.outer(self.inner(prediction), target)

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the running totals of each sequence, [batch, m]."""
        check_inputs(_ID, prediction=(prediction, _NUMBERS))
        return prediction.cumsum(dim=1)

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return half the squared distance between two lists of totals, [batch]."""
        check_inputs(_ID, prediction=(features, _NUMBERS), target=(target, _TOTALS))
        return 0.5 * (features - target).square().sum(dim=1)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return LᵀL for each sequence, [batch, m, m]; a view of one matrix, since it depends on no data."""
        check_inputs(_ID, prediction=(prediction, _NUMBERS), target=(target, _TOTALS))
        batch, m = prediction.shape
        place = torch.arange(m, device=prediction.device)
        matrix = (m - torch.maximum(place[:, None], place)).to(prediction.dtype)
        return matrix.expand(batch, m, m)

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
