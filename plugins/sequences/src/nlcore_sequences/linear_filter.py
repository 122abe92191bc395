"""Linear filters: a signal supervised after a moving average, an exponential average, a blur, or any kernel."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from nlcore.config import Configured
from nlcore.errors import ShapeError
from nlcore.protocol import CurvatureOperator, Traits
from nlcore_sequences._linear import LinearLoss
from nlcore_sequences._spectra import circular_spectrum, cosine_spectrum, fast_length, singular_spectrum
from nlcore_sequences._toeplitz import Toeplitz
from nlcore_sequences.config import Boundary, Kernel, LinearFilterConfig

__all__ = ["LinearFilter"]

_NOTHING = 53 * math.log(2)
"""A weight of the Gaussian or exponential kernel below exp of minus this, relative to the largest, is left out."""

_SHORT, _FEW = 16, 256
"""Weights, and elements, up to which a direct convolution is faster than three Fourier transforms."""

_LARGEST_SVD = 1024


@final
class LinearFilter(LinearLoss, Configured, id="sequences/linear_filter-v1", config=LinearFilterConfig):
    r"""A signal supervised after a linear filter.

    With $h_l$ the weight of lag l,

    $$
    \ell(y, t) = \tfrac12 \lVert h * y - t \rVert^2, \qquad (h * y)_k = \sum_l h_l\, y_{k - l}.
    $$

    The kernels, with the width w in elements, are

    - `"gaussian"`: $h_l \propto e^{-l^2 / 2w^2}$;
    - `"moving_average"`: w equal weights, centred or, if causal, of the element and the w − 1 before it;
    - `"exponential"`: $h_l \propto (1 - 1/w)^{|l|}$; if causal, the exponential moving average with α = 1/w that starts
      at zero;
    - weights of your own, used unchanged: from lag 0 on if causal, else with lag 0 in the middle.

    The weights of the named kernels add up to 1, over the lags l ≥ 0 alone if causal.

    Beyond its ends the signal is 0 (`"zero"`), mirrored with the last element repeated (`"reflect"`), or repeated from
    the other end (`"circular"`). A mask removes padded elements: the others are filtered as a shorter signal, each
    compared with the target at its own position. Half precision is computed in float32.

    Shape:
        - prediction: `[batch, m]`, the signal.
        - target: `[batch, m]`, the filtered signal, the dtype of the prediction.
        - mask: `[batch, m]` bool, True at padded elements.
        - value: half the squared distance of the filtered signal to the target, in squared units of the signal.

    Cost:
        Time O(m log m) per sample, O(mw) for short kernels. A Newton step of more than 256 outputs takes O(m log m)
        where an exact solution is known: by cosines for a symmetric kernel with `"reflect"`, by Fourier modes with
        `"circular"`, and with `"zero"`, for kernels of up to m/4 and 512 weights and power 1 only, by a circulant with
        a correction at the ends.

    When it fails:
        A blur removes fine detail, and its condition number grows without bound with the width. Where the outputs are
        wanted, noise in the target is amplified; `Auto(aim="outputs")` chooses its damping by cross-validation.

    Args:
        kernel: `"gaussian"`, `"moving_average"`, `"exponential"`, or the weights.
        width: w, in elements; not used with weights.
        causal: Whether an output depends on its own and earlier elements alone.
        boundary: `"zero"`, `"reflect"` or `"circular"`; `None` is `"zero"` if causal, else `"reflect"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        The filters are their definitions; Oppenheim, Schafer: *Discrete-Time Signal Processing*. Diagonal in cosines:
        Ng, Chan, Tang: [A Fast Algorithm for Deblurring Models with Neumann Boundary
        Conditions](https://doi.org/10.1137/S1064827598341384), SIAM J. Sci. Comput., 1999.

    Example:
        >>> import torch
        >>> loss = LinearFilter(kernel="moving_average", width=3, causal=True)
        >>> loss.inner(torch.tensor([[3.0, 0.0, 3.0, 6.0]]))
        tensor([[1., 1., 2., 3.]])
    """

    traits: ClassVar[Traits] = Traits(psd_hessian=True, takes_mask=True, constant_curvature=True)

    kernel: Kernel | tuple[float, ...] = "gaussian"
    width: float = 2.0
    causal: bool = False
    boundary: Boundary | None = None

    @property
    def _ends(self) -> Boundary:
        return self.boundary or ("zero" if self.causal else "reflect")

    def _image(self, numbers: Tensor, mask: Tensor | None) -> Tensor:
        weights, first = self._weights(numbers.shape[1], numbers.device)
        kernel = weights.flip(0).to(numbers.dtype)
        last = first + len(weights) - 1
        if mask is None:
            return _correlate(_extended(numbers, last, -first, self._ends), kernel, numbers.shape[1])
        order = mask.long().argsort(dim=1, stable=True)
        real = numbers.masked_fill(mask, 0.0).gather(1, order)
        lengths = (~mask).sum(1, keepdim=True)
        found = _correlate(_extended_each(real, lengths, last, -first, self._ends), kernel, numbers.shape[1])
        back = order.argsort(dim=1)
        return found.gather(1, back).masked_fill(mask, 0.0)

    def _weights(self, m: int, device: torch.device) -> tuple[Tensor, int]:
        """Return the weights, and the first lag."""
        weights, first = _kernel(self.kernel, self.width, self.causal)
        finite = not isinstance(self.kernel, str) or self.kernel == "moving_average"
        if finite and len(weights) > m:
            raise ShapeError(
                f"{self.id}: the kernel has {len(weights)} weights, and the sequence {m} elements. Give a shorter "
                f"kernel or longer sequences."
            )
        return torch.tensor(weights, dtype=torch.float64, device=device), first

    def _operator(self, event: torch.Size, device: torch.device) -> CurvatureOperator | None:
        return _structure(self, event[0], device)


@lru_cache(maxsize=32)
def _kernel(kernel: Kernel | tuple[float, ...], width: float, causal: bool) -> tuple[tuple[float, ...], int]:
    """Return weights and the first lag."""
    if not isinstance(kernel, str):
        return kernel, 0 if causal else -(len(kernel) // 2)
    if kernel == "moving_average":
        count = int(width)
        return (1 / count,) * count, 0 if causal else -((count - 1) // 2)
    if kernel == "gaussian":
        reach = math.ceil(width * (2 * _NOTHING) ** 0.5)
        half = [math.exp(-0.5 * (lag / width) ** 2) for lag in range(reach + 1)]
    else:
        decay = 1 - 1 / width
        reach = math.ceil(_NOTHING / -math.log(decay)) if decay else 0
        half = [decay**lag for lag in range(reach + 1)]
    both = half if causal else [*reversed(half[1:]), *half]
    total = math.fsum(both)
    return tuple(one / total for one in both), 0 if causal else -reach


def _extended(numbers: Tensor, before: int, after: int, ends: Boundary) -> Tensor:
    """Return sequences [batch, m] with so many elements more before and after, [batch, before + m + after]."""
    m = numbers.shape[1]
    if ends == "zero":
        return pad(numbers, (before, after))
    if max(before, after) > m:
        return _extended_each(numbers, None, before, after, ends)
    mirrored = numbers.flip(1) if ends == "reflect" else numbers
    return torch.cat([mirrored[:, m - before :], numbers, mirrored[:, :after]], 1)


def _extended_each(numbers: Tensor, lengths: Tensor | None, before: int, after: int, ends: Boundary) -> Tensor:
    """Return the same for sequences of the lengths [batch, 1], with zeros behind each."""
    batch, m = numbers.shape
    place = torch.arange(-before, m + after, device=numbers.device).expand(batch, -1)
    n = torch.full_like(place[:, :1], m) if lengths is None else lengths.clamp(min=1)
    if ends == "zero":
        inside, source = (place >= 0) & (place < n), place.clamp(0, m - 1)
    else:
        turn = place % (2 * n)
        source = torch.minimum(turn, 2 * n - 1 - turn) if ends == "reflect" else place % n
        inside = place < n + after
    return torch.where(inside, numbers.gather(1, source), 0.0)


def _correlate(extended: Tensor, kernel: Tensor, m: int) -> Tensor:
    """Return Σ_k kernel[k]·extended[t + k] for t < m, [batch, m]."""
    if len(kernel) <= _SHORT or m <= _FEW or not len(extended):
        return conv1d(extended.unsqueeze(1), kernel.view(1, 1, -1)).squeeze(1)
    size = fast_length(extended.shape[1])
    spectrum = torch.fft.rfft(extended, n=size) * torch.fft.rfft(kernel, n=size).conj()
    found: Tensor = torch.fft.irfft(spectrum, n=size)
    return found[:, :m]


@lru_cache(maxsize=8)
def _structure(loss: LinearFilter, m: int, device: torch.device) -> CurvatureOperator | None:
    weights, first = loss._weights(m, device)
    ends, symmetric = loss._ends, first == -(len(weights) // 2) and torch.equal(weights, weights.flip(0))
    if ends == "reflect" and symmetric:
        return cosine_spectrum(weights[-first:], m)
    if ends == "circular":
        lags = torch.arange(first, first + len(weights), device=device)
        return circular_spectrum(weights.new_zeros(m).index_add_(0, lags % m, weights))
    found = Toeplitz.of(weights, first, m) if ends == "zero" else None
    if found is None and m <= _LARGEST_SVD:
        return singular_spectrum(loss.inner(torch.eye(m, dtype=torch.float64, device=device)).mT)
    return found
