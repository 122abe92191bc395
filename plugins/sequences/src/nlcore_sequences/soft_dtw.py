"""Soft-DTW: series compared over all their monotone alignments, with a soft minimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.protocol import Traits
from nlcore_sequences._alignment_loss import AlignmentLoss
from nlcore_sequences._local_costs import CostFunction, cosine_cost
from nlcore_sequences._series import Series, lengths_of
from nlcore_sequences.config import Cost, Curvature, SoftDTWConfig, SoftDTWDivergenceConfig

__all__ = ["SoftDTW", "SoftDTWDivergence", "cosine_cost", "lengths_of"]


@dataclass(frozen=True, kw_only=True, repr=False)
class SoftDTW(AlignmentLoss):
    r"""Soft minimum of the costs of all alignments of two series, predicted and target.

    A cell (i, j) pairs time step i of the prediction x with time step j of the target y, at the local cost $c_{ij}$. An
    alignment A is a path of cells from the first time steps of both series to the last, by steps (1, 0), (0, 1) and
    (1, 1). Its cost c(A) is the sum of the local costs along the path. The loss is the soft minimum of c(A) over all
    alignments,

    $$
    \ell(x, y) = s_\gamma(x, y) = -\gamma \log \sum_A \exp\left(-\frac1\gamma \sum_{(i, j) \in A} c_{ij}\right),
    \qquad c_{ij} = \lVert x_i - y_j \rVert^2 .
    $$

    As γ tends to 0, the loss tends to the cost of the best alignment, which is the cost of dynamic time warping (DTW).
    Soft-DTW is not a distance: it can be negative, for example for equal series, and the prediction that
    minimises it is not the target. `SoftDTWDivergence` corrects this.

    The derivative of the loss with respect to the local costs is the expected alignment E. $E_{ij}$ is the probability
    that an alignment visits the cell (i, j), if alignments are drawn with $\Pr(A) \propto \exp(-c(A)/\gamma)$. The
    second derivative is $-\mathrm{Cov}/\gamma$, with Cov the covariance of the visits to two cells. Both are computed
    by sweeps over the cells, so a Hessian–vector product takes about as long as three gradients. With J the Jacobian of
    the local costs with respect to x, the Hessian of the loss is

    $$
    \nabla^2 \ell = \sum_{ij} E_{ij} \nabla^2 c_{ij} - \tfrac1\gamma J^\top \mathrm{Cov}\, J .
    $$

    With `curvature="fixed_alignment"`, the first term alone serves as the Hessian. For squared distances this is a
    diagonal matrix, with $2 \sum_j E_{ij}$ at time step i. This matrix is the Hessian of a quadratic upper bound on the
    loss that touches the loss at the prediction, since $s_\gamma$ is concave in the local costs. A Newton step with
    each sample's own matrix and without damping therefore never raises the loss: with `max_ratio=None`, it moves every
    time step to the mean of the target's time steps, weighted by E. The value and the gradient of the loss do not
    depend on `curvature`.

    A mask removes padded time steps from the prediction, at any position; single channels of a time step can be padded
    too. Targets of different lengths are given with their lengths or a mask. Inputs in half precision are computed in
    float32. If numba is installed, compiled code is used on the CPU.

    Shape:
        - prediction: `[batch, n]`, the predicted series; `[batch, n, channels]` with `multivariate=True`.
        - target: `[batch, m]`, the target series, of any length m; `[batch, m, channels]` with `multivariate=True`; or
          `{"series": …, "lengths": [batch] int64}`, or `{"series": …, "mask": [batch, m] bool}`.
        - mask: like the prediction, bool, True at padded outputs.
        - value: in units of the local cost, of either sign. It lies below the cost of the best alignment by at most γ
          times the logarithm of the number of alignments; for two series of length n this is less than 1.77·γ·n.

    Cost:
        Time and memory O(n·m) per sample. With compiled code, the value for squared distances takes memory O(n), since
        no matrix is formed.

    When it fails:
        For large γ, all alignments have nearly equal weight, and the best prediction is a blurred target. For small γ,
        a single alignment dominates, and the loss is nearly piecewise quadratic; its exact Hessian has large negative
        eigenvalues where two alignments are equally good. If the series differ in level or scale, the alignment follows
        these differences instead of the shapes: normalise the series first.

    Args:
        gamma: γ > 0, in units of the local cost.
        cost: Name of the local cost, or a function of series `[batch, n, channels]` and `[batch, m, channels]` that
            returns the costs `[batch, n, m]`, such as `cosine_cost`; an infinite cost forbids a cell. A loss with a
            function cannot be written by `nlcore.dump`.
        band: The cells that alignments may visit. `None`: all. `"sakoe_chiba"`: those whose shift j − i lies between 0
            and m − n, or at most `radius` outside. `"itakura"`: the parallelogram of all paths between the two corners
            whose slope, relative to the straight line between them, is at most `slope` and at least 1/`slope`.
        radius: Of the Sakoe–Chiba band, in time steps.
        slope: Of the Itakura parallelogram, above 1.
        multivariate: Whether series have channels.
        curvature: `"exact"` or `"fixed_alignment"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range, or `"fixed_alignment"` with a cost other than
            `"squared_euclidean"`.

    References:
        Cuturi, Blondel: [Soft-DTW: a Differentiable Loss Function for Time-Series](https://arxiv.org/abs/1703.01541),
        ICML 2017. Mensch, Blondel: [Differentiable Dynamic Programming for Structured Prediction and
        Attention](https://arxiv.org/abs/1802.03676), ICML 2018 (the second derivative). Sakoe, Chiba, 1978; Itakura,
        1975 (the bands).

    Example:
        >>> import torch
        >>> loss = SoftDTW(gamma=0.001)
        >>> loss(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 0.0, 1.0, 3.0]])).round(decimals=2)
        tensor([1.])
        >>> loss.alignment(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 0.0, 1.0, 3.0]]))[0].round(decimals=2)
        tensor([[1., 1., 0., 0.],
                [0., 0., 1., 0.],
                [0., 0., 0., 1.]])
    """

    curvature: Curvature = "exact"

    id: ClassVar[str] = "sequences/soft_dtw-v1"
    config = SoftDTWConfig

    def __post_init__(self) -> None:
        """Validate the options, and that the curvature is one of the cost."""
        super().__post_init__()
        if self.curvature == "fixed_alignment" and self.cost != "squared_euclidean":
            raise ConfigError(
                f"SoftDTW(curvature='fixed_alignment', cost={self.cost!r}): the curvature at a fixed alignment is that "
                "of cost='squared_euclidean'. Use curvature='exact'."
            )

    @property
    def traits(self) -> Traits:
        """The assumptions that the engine may make; a fixed alignment supplies a positive semi-definite Hessian."""
        dimensions = 2 if self.multivariate else 1
        if self.curvature == "exact":
            return Traits(event_ndim=dimensions, takes_mask=True, supplies=frozenset())
        return Traits(
            event_ndim=dimensions, order=1, psd_hessian=True, takes_mask=True, supplies=frozenset({"hessian"})
        )

    def _loss(self, x: Series, y: Series) -> Tensor:
        return self._soft_dtw(x, y)[0]

    def alignment(self, prediction: Tensor, target: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the expected alignment of each sample, the derivative of the loss with respect to the local costs.

        Every entry is the probability that an alignment visits the cell; the sums over anti-diagonals are at most 1.
        The result can be differentiated.

        Args:
            prediction: As in the call.
            target: As in the call.
            mask: As in the call.

        Returns:
            [batch, n, m], 0 at padded time steps; the dtype of the prediction.
        """
        x, y = self._read(prediction, target, mask)
        value, alignment = self._soft_dtw(x, y, alignment=True)
        self._check(x, y, value)
        return _in_place(alignment, x, y).to(prediction.dtype)

    def hessian(
        self,
        prediction: Tensor,
        target: Any,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the curvature of each sample, [batch, m, m] with m the outputs of a sample, 0 at padded ones.

        It is the Hessian, or with `curvature="fixed_alignment"` its first term, which is diagonal.
        """
        if self.curvature == "exact":
            return _hessian(lambda y: self(y, target, mask=mask), prediction)
        counts = 2 * self.alignment(prediction, target, mask=mask).sum(-1)
        counts = counts.unsqueeze(-1).expand(*counts.shape, prediction[0, 0].numel() if self.multivariate else 1)
        if mask is not None:
            counts = counts.masked_fill(mask.reshape(counts.shape), 0.0)
        return torch.diag_embed(counts.flatten(1))


@dataclass(frozen=True, kw_only=True, repr=False)
class SoftDTWDivergence(AlignmentLoss):
    r"""Soft-DTW without its bias: 0 for equal series.

    With soft-DTW $s_\gamma$, see `SoftDTW`,

    $$
    \ell(x, y) = D(x, y) = s_\gamma(x, y) - \tfrac12 s_\gamma(x, x) - \tfrac12 s_\gamma(y, y) .
    $$

    D is non-negative if the sum over alignments is a positive definite kernel of series, by the Cauchy–Schwarz
    inequality. A sufficient condition is that $1 / (1 + e^{c(x, y)/\gamma})$ is a positive definite kernel of time
    steps (Cuturi et al., 2007). It holds

    - for the default, `cost="log_augmented"`, where that kernel is half a Gaussian:
      $c = \lVert x - y \rVert^2 + \gamma \log(2 - e^{-\lVert x - y \rVert^2 / \gamma})$;
    - for `cost="absolute"` and series of one channel, where it is a convex function of |x − y| (Pólya's criterion).

    It does not hold for `cost="squared_euclidean"`: there are series of six time steps with D = −0.0025 γ, though none
    were found among random ones. Nor is there a guarantee with a band or with masked channels. Where D is guaranteed to
    be non-negative, negative values that result from rounding are set to 0; otherwise negative values are kept.

    The value and the derivatives are computed in float64 if the device supports it, since D is a small difference of
    large numbers.

    Shape:
        - prediction: `[batch, n]`, the predicted series; `[batch, n, channels]` with `multivariate=True`.
        - target: `[batch, m]`, the target series, of any length m; `[batch, m, channels]` with `multivariate=True`; or
          a dict with lengths or a mask, as for `SoftDTW`.
        - mask: like the prediction, bool, True at padded outputs.
        - value: 0 for equal series, in units of the local cost.

    Cost:
        Three times the cost of `SoftDTW`; O((n + m)²) per sample.

    When it fails:
        As for `SoftDTW`, but without its bias: the divergence is smallest where the series are equal. It is not convex.

    Args:
        gamma: γ > 0, in units of the local cost.
        cost: As for `SoftDTW`.
        band: As for `SoftDTW`.
        radius: Of the Sakoe–Chiba band, in time steps.
        slope: Of the Itakura parallelogram, above 1.
        multivariate: Whether series have channels.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Blondel, Mensch, Vert: [Differentiable Divergences Between Time Series](https://arxiv.org/abs/2010.08354),
        AISTATS 2021. Cuturi, Vert, Birkenes, Matsui: A Kernel for Time Series Based on Global Alignments, ICASSP 2007.

    Example:
        >>> import torch
        >>> series = torch.tensor([[0.0, 1.0, 2.0]])
        >>> SoftDTWDivergence()(series, series), SoftDTW()(series, series).round(decimals=2)
        (tensor([0.]), tensor([-1.1900]))
    """

    cost: Cost | CostFunction = "log_augmented"

    id: ClassVar[str] = "sequences/soft_dtw_divergence-v1"
    config = SoftDTWDivergenceConfig

    def _loss(self, x: Series, y: Series) -> Tensor:
        if x.steps.device.type != "mps":  # which has no float64
            x, y = x.widened(), y.widened()
        between, of_x, of_y = (self._soft_dtw(*pair)[0] for pair in ((x, y), (x, x), (y, y)))
        value = between - (of_x + of_y) / 2
        return value + (value.clamp(min=0.0) - value).detach() if self._never_negative(x) else value

    def _never_negative(self, x: Series) -> bool:
        proven = self.cost == "log_augmented" or (self.cost == "absolute" and not self.multivariate)
        return proven and self.band is None and x.weight is None


def _in_place(alignment: Tensor, x: Series, y: Series) -> Tensor:
    """Return alignments with rows and columns where the time steps of the inputs stand, 0 for empty samples."""
    if x.empty is not None:
        alignment = alignment.masked_fill(x.empty[:, None, None], 0.0)
    if x.position is not None:
        alignment = alignment.gather(1, x.position.unsqueeze(-1).expand_as(alignment))
    if y.position is not None:
        alignment = alignment.gather(2, y.position.unsqueeze(1).expand_as(alignment))
    return alignment


def _hessian(loss: Callable[[Tensor], Tensor], prediction: Tensor) -> Tensor:
    """Return the Hessian of each sample's loss, [batch, m, m], by products with all basis vectors at once."""

    def slope(y: Tensor) -> Tensor:
        value, pull = torch.func.vjp(loss, y)[:2]
        result: Tensor = pull(torch.ones_like(value))[0]
        return result

    pull = torch.func.vjp(slope, prediction)[1]
    size = prediction[0].numel()
    basis = torch.eye(size, dtype=prediction.dtype, device=prediction.device)
    ways = basis.reshape(size, 1, *prediction.shape[1:]).expand(size, *prediction.shape)
    rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(ways)
    return rows.movedim(0, 1).reshape(len(prediction), size, size)
