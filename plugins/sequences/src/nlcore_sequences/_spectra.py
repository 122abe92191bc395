"""Curvatures AᵀA of linear algorithms by their structure: O(m log m) products and solves, no m×m matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Along",
    "PrefixSums",
    "Spectrum",
    "circular_spectrum",
    "cosine_spectrum",
    "fast_length",
    "singular_spectrum",
]

Rows: TypeAlias = Callable[[Tensor], Tensor]

_LEAST = 4
"""Elements from which a circulant has two separate corners."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """V diag(s)Vᵀ with an orthogonal V that is applied fast; zero along what V leaves out.

    Attributes:
        values: The eigenvalues s.
        to: Maps rows [r, m] to Vᵀ times each.
        back: Maps coefficients to V times them.
        complete: Whether V is square.
        trace: tr C.
        features: F.
    """

    values: Tensor
    to: Rows
    back: Rows
    trace: float
    features: int
    complete: bool = True

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.values.max())

    def matvec(self, rows: Tensor) -> Tensor:
        """Return C times each row of [r, m]."""
        return self.back(self.to(rows) * self.values)

    def solve(self, rows: Tensor, damping: Tensor, power: float) -> Tensor:
        """Return (C + λI)^(−κ) times each row of [r, m]."""
        factors = (self.values + damping) ** -power
        if self.complete:
            return self.back(self.to(rows) * factors)
        rest = damping**-power
        return rest * rows + self.back(self.to(rows) * (factors - rest))

    def supports(self, power: float) -> bool:
        """Return True: every power."""
        return True


@dataclass(frozen=True, slots=True)
class PrefixSums(Spectrum):
    """LᵀL, L the lower triangle of ones: in cosines, and for the Newton step by its inverse T.

    T is the second difference that is free at the first element and zero behind the last. It has the eigenvectors
    cos((j + ½)θ_k), θ_k = (2k + 1)π/(2m + 1), and the eigenvalues 4 sin²(θ_k/2). The matrix of the cosines is
    symmetric, and (2m + 1)/4 times its own inverse. The form (I + λT)⁻¹T of (LᵀL + λI)⁻¹, with I + λT circulant but for
    its corners, is several times as fast.
    """

    @classmethod
    def of(cls, m: int, device: torch.device) -> PrefixSums:
        """Return the matrix for sequences of m elements."""
        place, n, length = torch.arange(m, device=device), 2 * m + 1, fast_length(2 * m)
        chirp = _turned(place.square() % (2 * n), n)  # a transform of length n by two of a fast length (Bluestein)
        before, after = _turned(place, n) * chirp, _turned(2 * place + 1, 2 * n) * chirp * (2 / n**0.5)
        around = torch.cat([chirp, chirp.new_zeros(length - 2 * m + 1), chirp[1:].flip(0)])
        spectrum = torch.fft.fft(around.conj())

        def cosines(rows: Tensor) -> Tensor:
            modes: Tensor = torch.fft.ifft(torch.fft.fft(rows * before, n=length) * spectrum)[..., :m] * after
            return modes.real

        values = (0.5 / torch.sin((place.double() + 0.5) * (math.pi / n))).square()
        return cls(values, cosines, cosines, m * (m + 1) / 2, m)

    def matvec(self, rows: Tensor) -> Tensor:
        """Return LᵀL times each row of [r, m]."""
        return rows.cumsum(-1).flip(-1).cumsum(-1).flip(-1)

    def solve(self, rows: Tensor, damping: Tensor, power: float) -> Tensor:
        """Return (LᵀL + λI)^(−κ) times each row of [r, m]."""
        if power != 1 or rows.shape[-1] < _LEAST:
            return Spectrum.solve(self, rows, damping, power)
        m = rows.shape[-1]
        slope = torch.diff(rows, append=torch.zeros_like(rows[..., :1]))
        bent = -torch.diff(slope, prepend=torch.zeros_like(rows[..., :1]))
        first = rows.new_zeros(m)
        first[0], first[1], first[-1] = 1 + 2 * damping, -damping, -damping
        inverse = torch.fft.rfft(first).real.reciprocal()
        corners = damping * damping.new_tensor([[-1.0, 1.0], [1.0, 0.0]])  # of the circulant matrix, to be changed
        response = torch.fft.irfft(inverse, n=m)
        impulses = torch.stack([response, response.roll(-1)])  # at the first element, and at the last
        around = torch.fft.irfft(torch.fft.rfft(bent) * inverse, n=m)
        unit = torch.eye(2, dtype=rows.dtype, device=rows.device)
        change = torch.linalg.solve(unit + corners @ impulses[:, [0, -1]], corners)
        solved: Tensor = around - around[..., [0, -1]] @ change.mT @ impulses
        return solved


def _turned(count: Tensor, of: int) -> Tensor:
    """Return exp(−iπ·count/of), complex128."""
    angle = count.double() * (-math.pi / of)
    return torch.polar(torch.ones_like(angle), angle)


def fast_length(least: int) -> int:
    """Return the smallest 2^a, 3·2^a or 5·2^a from a length on, of which Fourier transforms are fast."""
    return min(factor << max(0, math.ceil(math.log2(least / factor))) for factor in (1, 3, 5))


def cosine_spectrum(kernel: Tensor, m: int) -> Spectrum:
    """Return AᵀA of a symmetric kernel whose sequence is mirrored at both ends; diagonal in cosines (DCT-II).

    Args:
        kernel: [r + 1] float64, the weights of the lags 0 … r.
        m: Length of the sequence.
    """
    place = torch.arange(m, dtype=torch.float64, device=kernel.device)
    turn = _turned(place, 2 * m)
    norm = torch.full_like(place, (2 / m) ** 0.5)
    norm[0] = (1 / m) ** 0.5
    folded = kernel.new_zeros(2 * m)
    lags = torch.arange(len(kernel), device=kernel.device)
    folded.index_add_(0, lags % (2 * m), kernel)
    folded.index_add_(0, -lags[1:] % (2 * m), kernel[1:])

    def to(rows: Tensor) -> Tensor:
        mirrored = torch.cat([rows, rows.flip(-1)], -1)
        modes: Tensor = torch.fft.rfft(mirrored)[..., :m] * turn
        return modes.real * (norm / 2)

    def back(coefficients: Tensor) -> Tensor:
        spectrum = (2 * coefficients / norm) * turn.conj()
        mirrored: Tensor = torch.fft.irfft(torch.nn.functional.pad(spectrum, (0, 1)), n=2 * m)
        return mirrored[..., :m]

    values = torch.fft.rfft(folded).real[:m].square()
    return Spectrum(values, to, back, float(values.sum()), m)


def circular_spectrum(first: Tensor) -> Spectrum:
    """Return AᵀA of a circulant A.

    Args:
        first: [m] float64, the first column of A.
    """
    m = len(first)
    values = torch.fft.rfft(first).abs().square()
    return Spectrum(values, torch.fft.rfft, lambda one: torch.fft.irfft(one, n=m), m * float(first.square().sum()), m)


def singular_spectrum(matrix: Tensor) -> Spectrum:
    """Return AᵀA of a matrix [k, m] float64 by its singular values."""
    _, sizes, rows = torch.linalg.svd(matrix, full_matrices=False)
    values, complete = sizes.square(), len(matrix) >= matrix.shape[1]
    return Spectrum(
        values, lambda one: one @ rows.mT, lambda one: one @ rows, float(values.sum()), len(matrix), complete
    )


@dataclass(frozen=True, slots=True)
class Along:
    """The matrix that applies another along one dimension of an event, the same for all others.

    Attributes:
        one: The matrix of the dimension.
        event: The sizes of an event.
        dim: The dimension, negative.
    """

    one: Spectrum
    event: torch.Size
    dim: int

    @property
    def trace(self) -> float:
        """The trace."""
        return self._copies * self.one.trace

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return self.one.largest

    @property
    def features(self) -> int:
        """F."""
        return self._copies * self.one.features

    def matvec(self, rows: Tensor) -> Tensor:
        """Return C times each row of [r, m]."""
        return self._applied(rows, self.one.matvec)

    def solve(self, rows: Tensor, damping: Tensor, power: float) -> Tensor:
        """Return (C + λI)^(−κ) times each row of [r, m]."""
        return self._applied(rows, lambda lines: self.one.solve(lines, damping, power))

    def supports(self, power: float) -> bool:
        """Return True: every power."""
        return self.one.supports(power)

    @property
    def _copies(self) -> int:
        return self.event.numel() // self.event[self.dim]

    def _applied(self, rows: Tensor, function: Rows) -> Tensor:
        return function(rows.view(-1, *self.event).movedim(self.dim, -1)).movedim(-1, self.dim).flatten(1)
