"""Prefix sums: the simplest algorithm whose conditioning slows learning."""

from __future__ import annotations

from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.protocol import CurvatureOperator, Traits
from nlcore_sequences._linear import LinearLoss
from nlcore_sequences._spectra import Along, PrefixSums, Spectrum, singular_spectrum
from nlcore_sequences.config import PrefixSumConfig

__all__ = ["PrefixSum"]

_LARGEST_SVD = 1024


@final
class PrefixSum(LinearLoss, Configured, id="sequences/prefix_sum-v1", config=PrefixSumConfig):
    r"""Numbers supervised by their running totals.

    Let L be the lower triangular matrix of ones, and p the `order`, by default 1:

    $$
    \ell(y, t) = \tfrac12 \lVert L^p y - t \rVert^2, \qquad (L y)_k = \sum_{j \le k} y_j.
    $$

    The squares are summed over the m totals and not divided by m. The gradient is $L^{p\top} (L^p y - t)$. The Hessian
    is $L^{p\top} L^p$, the same for every sample; for p = 1 its entry (j, k), counted from 0, is $m - \max(j, k)$. With
    p = 2, for instance, accelerations are learned from positions.

    A mask removes padded elements from the sequence, wherever they are. The totals are those of the other elements in
    their order, each compared with the target at its own position. Numbers and totals at padded elements are ignored.
    With a mask, the Hessian differs between samples. Half precision is computed in float32.

    Shape:
        - prediction: `[batch, m]`, the numbers; with `event_ndim=2` and `dim=-2` `[batch, m, channels]`, and so on.
        - target: `[batch, m]`, their running totals, of the shape and dtype of the prediction.
        - mask: `[batch, m]` bool, of the shape of the prediction, True at padded elements.
        - value: half the squared distance of the totals to the target, in squared units of the numbers; 0 where they
          agree.

    Cost:
        Time and memory O(m) per sample. For up to 256 outputs the Hessian takes O(m²), and without a mask it is formed
        once for all samples. For more outputs and order 1, a Newton step takes O(m log m): the eigenvectors are
        cosines.

    When it fails:
        The loss is steep along the sum of the numbers and flat along directions whose signs alternate, so plain
        gradients train slowly. At order p, the condition number of the Hessian grows as $m^{2p}$; at order 1, it is 113
        for m = 8 and 438 for m = 16. The outputs are not interchangeable, so a Newton step differs from a rescaled
        gradient.

    Args:
        order: p, how many times the sum is taken.
        dim: The dimension that is summed, negative.
        event_ndim: Number of dimensions of a sample.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Petersen, Borgelt, Sutter, Kuehne, Deussen, Ermon: [Newton Losses](https://arxiv.org/abs/2410.19055), NeurIPS
        2024 (the method).

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

    order: int = 1
    dim: int = -1
    event_ndim: int = 1

    @property
    def traits(self) -> Traits:
        """Constant curvature; the number of dimensions is an option."""
        return Traits(psd_hessian=True, takes_mask=True, constant_curvature=True, event_ndim=self.event_ndim)

    @property
    def _event_ndim(self) -> int:  # type: ignore[override]
        return self.event_ndim

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the Hessian for each sequence, [batch, m, m], m all outputs of a sample; 0 at padded ones.

        Without a mask it does not depend on the data, and is a view of one matrix.
        """
        self._check(prediction, target=target, mask=mask)
        batch, event = len(prediction), prediction.shape[1:]
        m = event.numel()
        if mask is None and (self.order, len(event)) == (1, 1):
            place = torch.arange(m, device=prediction.device)
            return (m - torch.maximum(place[:, None], place)).to(prediction.dtype).expand(batch, m, m)
        unit = torch.eye(m, dtype=prediction.dtype, device=prediction.device).view(m, *event)
        if mask is None:
            rows = self._image(unit, None).view(m, m)
            return (rows @ rows.mT).expand(batch, m, m)
        every = mask.unsqueeze(1).expand(-1, m, *event).flatten(0, 1)
        rows = self._image(unit.repeat(batch, *[1] * len(event)), every).view(batch, m, m)
        return rows @ rows.mT

    def _image(self, numbers: Tensor, mask: Tensor | None) -> Tensor:
        for _ in range(self.order):
            numbers = (numbers if mask is None else numbers.masked_fill(mask, 0.0)).cumsum(self.dim)
        return numbers if mask is None else numbers.masked_fill(mask, 0.0)

    def _operator(self, event: torch.Size, device: torch.device) -> CurvatureOperator | None:
        return _structure(self.order, self.dim, event, device)

    def _example_event(self) -> tuple[int, ...]:
        return tuple(6 if dim == self.dim else 2 for dim in range(-self.event_ndim, 0))


@lru_cache(maxsize=8)
def _structure(order: int, dim: int, event: torch.Size, device: torch.device) -> CurvatureOperator | None:
    m = event[dim]
    if order > 1 and m > _LARGEST_SVD:
        return None
    spectrum: Spectrum = PrefixSums.of(m, device)
    if order > 1:
        matrix = torch.eye(m, dtype=torch.float64, device=device)
        for _ in range(order):
            matrix = matrix.cumsum(0)
        spectrum = singular_spectrum(matrix)
    return spectrum if len(event) == 1 else Along(spectrum, event, dim)
