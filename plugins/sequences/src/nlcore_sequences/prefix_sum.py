"""Prefix sums: the simplest algorithm whose conditioning slows learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from nlcore.inputs import check_inputs, working
from nlcore.protocol import Traits

__all__ = ["PrefixSum"]

_ID = "sequences/prefix_sum-v1"
_NUMBERS, _MASK, _ADVICE = "[batch, m] floating", "[batch, m] bool or None", "It is True at padded elements."


@final
@dataclass(frozen=True, slots=True)
class PrefixSum:
    r"""Numbers supervised by their running totals.

    With L the lower triangle of ones,

    $$
    \ell(y, t) = \tfrac12 \lVert L y - t \rVert^2 = \tfrac12 \sum_k \left( \sum_{j \le k} y_j - t_k \right)^2.
    $$

    The squares are summed over the m totals and not divided by m. The gradient is $L^\top (L y - t)$ and the Hessian
    $L^\top L$, the same for every sample: $(L^\top L)_{jk} = m - \max(j, k)$, counted from 0.

    A mask removes padded elements from the sequence, wherever they are: the totals are those of the other elements in
    their order, each compared with the target at its own position. Numbers and totals at padded elements are ignored,
    and the Hessian then differs between samples. Half precision is computed in float32.

    Shape:
        - prediction: `[batch, m]`, the numbers.
        - target: `[batch, m]`, their running totals, the dtype of the prediction.
        - mask: `[batch, m]` bool, True at padded elements.
        - value: half the squared distance of the totals to the target, in squared units of the numbers; 0 where they
          agree.

    Cost:
        Time and memory O(m) per sample, O(m²) with the Hessian, which is formed once for all samples without a mask.

    When it fails:
        The loss is steep along the sum of the numbers and flat along alternating ones: the condition number of the
        Hessian grows as m² (113 at m = 8, 438 at m = 16), which slows plain gradients. The outputs are not
        interchangeable, so a Newton step differs from a rescaled gradient.

    References:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon: [Newton Losses](https://arxiv.org/abs/2410.19055), NeurIPS
        2024 (the method). The prefix sum is its definition.

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

    traits: ClassVar[Traits] = Traits(psd_hessian=True, takes_mask=True, constant_curvature=True)

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
            mask: [batch, m] bool, True at padded elements. A sequence of padding only has loss 0.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`; not finite for a sequence that is not.

        Raises:
            ShapeError: `prediction` is not [batch, m] with m ≥ 1, or `target` or `mask` has another shape.
            ContractError: An input is not a tensor.
            DtypeError: `prediction` is not floating point, `target` has another dtype, or `mask` is not bool.
            DeviceError: The tensors are on different devices.
        """
        _check(prediction, target, mask)
        numbers = working(prediction)
        return _distance(_totals(numbers, mask), target.to(numbers.dtype), mask).to(prediction.dtype)

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the running totals of each sequence, [batch, m], 0 at padded elements."""
        check_inputs(_ID, prediction=(prediction, _NUMBERS), mask=(mask, _MASK, _ADVICE))
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
        """Return LᵀL for each sequence, [batch, m, m]: the number of totals with both elements, 0 at padded ones.

        Without a mask it does not depend on the data, and is a view of one matrix.
        """
        _check(prediction, target, mask)
        batch, m = prediction.shape
        position = torch.arange(m, device=prediction.device)
        later = torch.maximum(position[:, None], position)
        if mask is None:
            return (m - later).to(prediction.dtype).expand(batch, m, m)
        totals = (~mask).flip(1).cumsum(dim=1).flip(1)  # from each position on
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
    totals = (target, "[batch, m] same")
    check_inputs(_ID, prediction=(prediction, _NUMBERS), target=totals, mask=(mask, _MASK, _ADVICE))


def _totals(numbers: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return numbers.cumsum(dim=1)
    return numbers.masked_fill(mask, 0.0).cumsum(dim=1).masked_fill(mask, 0.0)


def _distance(totals: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    errors = totals - target
    return 0.5 * (errors if mask is None else errors.masked_fill(mask, 0.0)).square().sum(dim=1)
