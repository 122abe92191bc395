"""The naive ranking loss: binary cross-entropy of a rounded permutation matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nlcore
from nlcore.errors import ConfigError
from nlcore_bench.criteria import Criterion, MeanLoss, make_curvature
from nlcore_bench.gradients import Backward, Gradient

__all__ = ["NaiveEntries", "naive_entries"]


class NaiveEntries:
    r"""Binary cross-entropy between a relaxed permutation matrix, rounded to its dtype, and the true one.

    $$
    \ell(s, r) = -\frac{1}{n^2} \sum_{ij} Q_{ij} \log P_{ij} + (1 - Q_{ij}) \log(1 - P_{ij}),
    \qquad Q_{r_j j} = 1,
    $$

    the same function as `objective="entries"` of the relaxation, computed from P in place of log P. An entry of P that
    should be 1 can round to 0, or the reverse. Torch then uses −100 for its logarithm, and 1e-12 for the denominator
    P(1 − P) of the derivative, and the gradient is far too small, or too large by orders of magnitude. This class is
    for measuring that effect, not for training.

    Args:
        sorter: A loss with the method `permutation`, such as those of `nlcore-sorting`.
        dtype: The matrix is computed in it from the scores, and rounded to it; by default that of the scores.

    Raises:
        ConfigError: The loss has no permutation matrix.
    """

    traits = nlcore.Traits()

    def __init__(self, sorter: Any, dtype: torch.dtype | None = None) -> None:
        if not hasattr(sorter, "permutation"):
            raise ConfigError(f"{sorter!r} has no permutation matrix with entries to compare.")
        self.sorter, self.dtype = sorter, dtype

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each list, [batch], of scores and ranks [batch, n]."""
        relaxed = self.sorter.permutation(prediction.to(self.dtype or prediction.dtype))
        true = F.one_hot(target, prediction.shape[-1]).mT.to(relaxed.dtype)
        return F.binary_cross_entropy(relaxed, true, reduction="none").mean((-2, -1)).to(prediction.dtype)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the second derivative by autograd, [batch, n, n], rounding included.

        The loss supplies it, since nlcore refuses a second derivative of autograd that disagrees with differences of
        the gradient.
        """
        with torch.enable_grad():
            scores = prediction.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self(scores, target).sum(), scores, create_graph=True)
            rows = [torch.autograd.grad(one.sum(), scores, retain_graph=True)[0] for one in gradient.unbind(-1)]
        return torch.stack(rows, dim=-2)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return the random scores and ranks of the relaxation's own example."""
        found: tuple[Tensor, Tensor] = self.sorter.example(batch_size, generator=generator, dtype=dtype, device=device)
        return found


def naive_entries(
    loss: Any,
    network: nn.Module,
    *,
    curvature: Mapping[str, Any] | None = None,
    dtype: Literal["float32", "float64"] | None = None,
) -> Gradient:
    """Return the gradient of a method that trains on the naive form of its loss; an `update` of a study.

    Args:
        loss: A loss with a permutation matrix.
        network: The network.
        curvature: A class of nlcore with its options, as `curvature` of a method; `None` for the loss itself.
        dtype: That of the permutation matrix, instead of the network's.

    Raises:
        ConfigError: The loss has no permutation matrix, or the curvature is unknown.
    """
    naive = NaiveEntries(loss, None if dtype is None else getattr(torch, dtype))
    mean = MeanLoss(naive) if curvature is None else nlcore.NewtonLoss(naive, make_curvature(curvature))
    return Backward(network, Criterion(mean))
