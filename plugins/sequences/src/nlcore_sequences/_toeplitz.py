"""The curvature AᵀA of a filter that is cut off at the ends of the sequence: circulant, with a correction."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlcore_sequences._spectra import Spectrum, circular_spectrum

__all__ = ["Toeplitz"]

_WIDEST = 512
"""Weights of a kernel up to which the correction at the ends is found in a second."""


@dataclass(frozen=True, slots=True)
class Toeplitz:
    """AᵀA of a filter that is cut off at both ends: a circulant matrix but for the elements near the ends.

    C = R⁻¹ + ESEᵀ with R⁻¹ circulant and E the 2b elements at the ends, so that by the formula of Woodbury
    (C + λI)⁻¹ = R − RU(s⁻¹ + UᵀRU)⁻¹UᵀR with R⁻¹ + λI for R⁻¹ and ESEᵀ = U diag(s) Uᵀ: a circular convolution and
    a product with few columns.

    Attributes:
        circulant: The circulant matrix.
        correction: [2b, 2b], S.
        vectors: [2b, r], the eigenvectors of S whose eigenvalues are not zero: few for an exponential kernel.
        values: [r], these eigenvalues.
        size: m.
        features: F.
    """

    circulant: Spectrum
    correction: Tensor
    vectors: Tensor
    values: Tensor
    size: int
    features: int
    _inner: dict[float, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, kernel: Tensor, first_lag: int, m: int) -> Toeplitz | None:
        """Return AᵀA; `None` where the ends are most of the sequence.

        Args:
            kernel: [K] float64, the weights of the lags from `first_lag` on.
            first_lag: The smallest lag.
            m: Length of the sequence.
        """
        width = len(kernel)
        if 4 * width > m or width > _WIDEST:
            return None
        lags = torch.arange(width, device=kernel.device) + first_lag
        short = 4 * width  # as long as it takes for the ends not to meet
        place = torch.arange(short, device=kernel.device)
        lag = place.unsqueeze(1) - place - first_lag
        matrix = torch.where((lag >= 0) & (lag < width), kernel[lag.clamp(0, width - 1)], 0.0)
        round_trip = _column(kernel, lags, short)[(place.unsqueeze(1) - place) % short]
        ends = torch.cat([place[:width], place[-width:]])
        change = (matrix.mT @ matrix - round_trip.mT @ round_trip)[ends.unsqueeze(1), ends]
        values, vectors = torch.linalg.eigh((change + change.mT) / 2)
        kept = values.abs() > 1e-15 * float(round_trip.square().sum(0)[0])
        return cls(circular_spectrum(_column(kernel, lags, m)), change, vectors[:, kept], values[kept], m, m)

    @property
    def trace(self) -> float:
        """Tr C."""
        return self.circulant.trace + float(self.correction.trace())

    @property
    def largest(self) -> float:
        """A bound of the largest eigenvalue: that of the circulant, of which A is a part."""
        return self.circulant.largest

    def matvec(self, rows: Tensor) -> Tensor:
        """Return C times each row of [r, m]."""
        return self.circulant.matvec(rows) + self._spread(self._ends(rows) @ self.correction)

    def solve(self, rows: Tensor, damping: Tensor, power: float) -> Tensor:
        """Return (C + λI)⁻¹ times each row of [r, m]."""
        first = self.circulant.solve(rows, damping, 1.0)
        return first - self._ends(first) @ self.vectors @ self._change(damping)

    def supports(self, power: float) -> bool:
        """Return whether it is the power 1; others are not circulant."""
        return power == 1

    def _change(self, damping: Tensor) -> Tensor:
        """Return [r, m], what the ends take from a solution of the circulant matrix; kept for the last λ."""
        key = float(damping)
        if not len(self.values):
            return self.vectors.new_zeros(0, self.size)
        if key not in self._inner:
            columns = self.circulant.solve(self._spread(self.vectors.mT), damping, 1.0)
            inner = torch.diag(1 / self.values) + self._ends(columns) @ self.vectors
            self._inner.clear()
            self._inner[key] = torch.linalg.solve(inner, columns)
        return self._inner[key]

    def _ends(self, rows: Tensor) -> Tensor:
        half = len(self.correction) // 2
        return torch.cat([rows[..., :half], rows[..., -half:]], -1)

    def _spread(self, ends: Tensor) -> Tensor:
        half = len(self.correction) // 2
        between = ends.new_zeros(*ends.shape[:-1], self.size - 2 * half)
        return torch.cat([ends[..., :half], between, ends[..., half:]], -1)


def _column(kernel: Tensor, lags: Tensor, m: int) -> Tensor:
    """Return the first column of the circulant of a kernel."""
    return kernel.new_zeros(m).index_add_(0, lags % m, kernel)
